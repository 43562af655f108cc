"""Score H2O-3 MOJO models natively: no JVM, H2O's own numbers.

>>> import cenote
>>> model = cenote.load("model.zip")                     # doctest: +SKIP
>>> model.predict({"Distance": 733, "Carrier": "UA"})    # doctest: +SKIP
{'predict': 'YES', 'NO': 0.31, 'YES': 0.69}

:meth:`Model.predict` takes a pandas or polars ``DataFrame``, a pyarrow table or any other Arrow table, a 2-D NumPy array,
a dict of columns, a list of dicts, or one dict (a row), and gives back the same kind. The rules are in :class:`Model`.
"""

from __future__ import annotations

from cenote._cenote import (
    ArrowTable,
    Features,
    FeatureSet,
    FeatureStore,
    Model,
    ModelVersion,
    Score,
    ScorePlan,
    Scores,
    Upserted,
    View,
    __version__,
    get_num_threads,
    set_num_threads,
)
from cenote._errors import (
    CellError,
    CenoteError,
    ColumnTypeError,
    InputError,
    LimitError,
    MissingColumnsError,
    ModelFormatError,
    RowError,
    SchemaDriftError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    UnsupportedModelError,
    UnsupportedOperationError,
)
from cenote._load import load

__all__ = [
    "ArrowTable",
    "CellError",
    "CenoteError",
    "ColumnTypeError",
    "FeatureSet",
    "FeatureStore",
    "Features",
    "InputError",
    "LimitError",
    "MissingColumnsError",
    "Model",
    "ModelFormatError",
    "ModelVersion",
    "RowError",
    "SchemaDriftError",
    "Score",
    "ScorePlan",
    "Scores",
    "StoreConnectionError",
    "StoreError",
    "StoreTimeoutError",
    "UnsupportedModelError",
    "UnsupportedOperationError",
    "Upserted",
    "View",
    "__version__",
    "get_num_threads",
    "load",
    "set_num_threads",
]
