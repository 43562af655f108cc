"""Score H2O-3 MOJO models natively: no JVM, H2O's own numbers.

>>> import cenote
>>> model = cenote.load(path)
>>> model
<cenote.Model gbm Binomial: 12 features, 15 trees, H2O 3.46.0.11>
>>> model.output_names
['predict', 'No', 'Yes']
>>> model.predict({"carrier": "UA", "origin": "EWR", "hour": 8, "distance": 1372})["predict"]
'No'
>>> model.predict({**dict.fromkeys(model.feature_names, [None, None]), "hour": [8, 20]})["predict"]
['No', 'Yes']

:meth:`Model.predict` takes a pandas or polars ``DataFrame``, a pyarrow table or any other Arrow table, a 2-D NumPy array,
a dict of columns, a list of dicts, or one dict (a row), and gives back the same kind. The rules are in :class:`Model`.
"""

from __future__ import annotations

from cenote._aio import AsyncFeatureStore, AsyncScorePlan, AsyncServedModel
from cenote._cenote import (
    ArrowTable,
    Document,
    Erased,
    Decision,
    DecisionBuffer,
    Explanation,
    Features,
    FeatureSet,
    FeatureStore,
    FinishedBatch,
    Loaded,
    Maintained,
    Materialized,
    Model,
    ModelVersion,
    Replay,
    Score,
    ScorePlan,
    Scores,
    Stored,
    ServedModel,
    Upserted,
    View,
    WatchState,
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
    "AsyncFeatureStore",
    "AsyncScorePlan",
    "AsyncServedModel",
    "CellError",
    "CenoteError",
    "ColumnTypeError",
    "Document",
    "Erased",
    "Decision",
    "DecisionBuffer",
    "Explanation",
    "FeatureSet",
    "FeatureStore",
    "Features",
    "FinishedBatch",
    "InputError",
    "LimitError",
    "Loaded",
    "Maintained",
    "Materialized",
    "MissingColumnsError",
    "Model",
    "ModelFormatError",
    "ModelVersion",
    "Replay",
    "RowError",
    "SchemaDriftError",
    "Score",
    "ScorePlan",
    "Scores",
    "ServedModel",
    "StoreConnectionError",
    "StoreError",
    "StoreTimeoutError",
    "Stored",
    "UnsupportedModelError",
    "UnsupportedOperationError",
    "Upserted",
    "View",
    "WatchState",
    "__version__",
    "get_num_threads",
    "load",
    "set_num_threads",
]
