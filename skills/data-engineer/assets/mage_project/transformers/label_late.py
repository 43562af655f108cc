"""The label: whether a flight arrived more than 15 minutes late. The delay itself is left out, for it is not known in time."""

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def transform(batch, *args, **kwargs):
    rows = [
        {**{name: cell for name, cell in row.items() if name != "arr_delay"}, "late": "Yes" if row["arr_delay"] > 15 else "No"}
        for row in batch["rows"]
    ]
    return {"rows": rows}


@test
def test_output(output, *args):
    assert {r["late"] for r in output["rows"]} == {"Yes", "No"}, "one class only"
    assert "arr_delay" not in output["rows"][0], "the label's source is among the features"
