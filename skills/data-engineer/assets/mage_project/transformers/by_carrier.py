"""A dynamic block: one child a carrier. It returns [items, metadata], and each child has a name of its own."""

from itertools import groupby

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def transform(batch, *args, **kwargs):
    ordered = sorted(batch["flights"], key=lambda r: r["carrier"])
    groups = [(carrier, list(rows)) for carrier, rows in groupby(ordered, key=lambda r: r["carrier"])]
    items = [{"carrier": carrier, "flights": rows} for carrier, rows in groups]
    metadata = [{"block_uuid": f"carrier_{carrier}"} for carrier, _ in groups]
    return [items, metadata]


@test
def test_output(output, *args):
    assert output, "no carriers"
