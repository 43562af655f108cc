"""The training set: a CSV that the feature pipeline has joined as of each label's time."""

import pandas as pd

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def load(*args, **kwargs):
    return pd.read_csv(kwargs["training_set"])


@test
def test_output(output, *args):
    assert output is not None and len(output) > 100, "too few rows to train on"
    assert output.columns.is_unique, "a column stands twice"
