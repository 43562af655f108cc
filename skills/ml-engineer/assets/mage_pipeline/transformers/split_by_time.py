"""Orders the rows by event time, so that the test set of the training step is the most recent part."""

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def transform(frame, *args, **kwargs):
    column = kwargs.get("time_column", "event_ts")
    return frame.sort_values(column, kind="stable").reset_index(drop=True)


@test
def test_output(output, *args):
    assert output is not None and len(output) > 0, "no rows"
