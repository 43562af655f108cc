"""The extension module: import these names from :mod:`cenote`.

What goes in comes out as its own kind, so each call has an overload a kind of table. pandas, polars, pyarrow and NumPy are
named by protocols here, for none of them needs to be installed.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, final, overload

__all__ = [
    "ArrowTable",
    "AsyncReads",
    "Call",
    "Cancellation",
    "Decision",
    "DecisionBuffer",
    "Document",
    "Erased",
    "Explanation",
    "FeatureSet",
    "FeatureStore",
    "Features",
    "FinishedBatch",
    "Loaded",
    "Mailbox",
    "Maintained",
    "Materialized",
    "Model",
    "ModelVersion",
    "Replay",
    "Score",
    "ScorePlan",
    "Scores",
    "ServedModel",
    "Stored",
    "Upserted",
    "View",
    "WatchState",
    "__version__",
    "get_num_threads",
    "set_num_threads",
]

__version__: Final[str]

_MissingColumns: TypeAlias = Literal["error", "na"] | None

class _Table(Protocol):
    """A pandas or polars ``DataFrame``, a pyarrow ``Table`` or ``RecordBatch``, a NumPy array: all have a shape."""

    @property
    def shape(self) -> tuple[int, ...]: ...

class _ArrowStream(Protocol):
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...

_T = TypeVar("_T", bound=_Table)

def set_num_threads(threads: int | None) -> None:
    """Set how many threads score batches, in this process and from now on; ``None`` is as many as there are processors."""

def get_num_threads() -> int:
    """How many threads score batches."""

@final
class Model:
    """A model ready to score. Make one with :func:`cenote.load`.

    It is immutable, safe to share between threads, and pickles with the bytes of its MOJO, so that Spark, Ray and
    multiprocessing can carry it. A child after ``fork`` may use it too.

    **Tables.** Each call takes a pandas or polars ``DataFrame``, a pyarrow ``Table`` or ``RecordBatch``, any object with
    ``__arrow_c_stream__`` or ``__arrow_c_array__``, a 2-D NumPy array, a dict of columns, a list of dicts, or one dict of
    single values (a row), and gives back the same kind; another Arrow table comes back as an :class:`ArrowTable`. Columns are
    found by name, in any order, and those the model does not read are ignored. A NumPy array of numbers has the columns of
    :attr:`feature_names` in that order, categorical ones as level codes (their place in :attr:`domains`); one of objects or
    text has cells as in a dict. Labels come back as categories (pandas, polars, Arrow), as text (dicts), or as their place in
    :attr:`labels` (NumPy).

    **Cells.** ``None``, null, ``NA`` and ``NaT`` are missing, and so is ``nan`` in a categorical column. As in H2O's
    ``EasyPredictModelWrapper``: an unseen level counts as missing, text in a numeric column is read as Java's
    ``Double.parseDouble`` reads it and is missing where that fails, a whole number in a categorical column is the level of
    that text. Times are milliseconds since 1970-01-01 UTC. ``strict=True`` refuses what does not fit in place of converting
    it (:class:`CellError` names row and column).

    **Rows that H2O refuses**, because its Java scorer throws on them, are missing in every column of the answer (``nan`` in
    NumPy arrays, with a ``RuntimeWarning``), and a last column ``error`` says why; that column is there only if some row was
    refused. A single row raises :class:`RowError`, and so does any table under ``strict=True``.

    **Missing columns.** A table without a column that the model reads raises :class:`MissingColumnsError`; a single row may
    leave cells out, which then are missing. ``missing_columns="na"`` or ``"error"`` chooses for both.

    **Threads.** Batches are scored on a pool that all threads of the process share, with the GIL released: see
    :func:`set_num_threads`. A single row is scored on the caller's thread, with the GIL held: that takes microseconds.
    """

    @staticmethod
    def _from_bytes(bytes: bytes) -> Model: ...
    @overload
    def predict(
        self, data: dict[str, Any], *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> dict[str, Any]: ...
    @overload
    def predict(
        self, data: list[dict[str, Any]], *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> list[dict[str, Any]]: ...
    @overload
    def predict(self, data: _T, *, strict: bool = False, missing_columns: _MissingColumns = None) -> _T: ...
    @overload
    def predict(
        self, data: _ArrowStream, *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> ArrowTable: ...
    @overload
    def predict(self, data: Any, *, strict: bool = False, missing_columns: _MissingColumns = None) -> Any:
        """Predict a table, or the one row that a dict of single values is.

        The columns of the answer are :attr:`output_names`: for a classifier ``predict``, the label, then a probability
        (0..1) a label, and calibrated ones (``cal_`` and the label) where the model has a calibration; for a regression
        ``predict``, in the response's unit.

        :raises InputError: the data do not fit the model; its subclasses say how.
        :raises TypeError: ``data`` is no table.
        """

    @overload
    def predict_leaf_node_assignment(
        self,
        data: dict[str, Any],
        type: Literal["Path", "Node_ID"] = "Path",
        *,
        strict: bool = False,
        missing_columns: _MissingColumns = None,
    ) -> dict[str, Any]: ...
    @overload
    def predict_leaf_node_assignment(
        self,
        data: list[dict[str, Any]],
        type: Literal["Path", "Node_ID"] = "Path",
        *,
        strict: bool = False,
        missing_columns: _MissingColumns = None,
    ) -> list[dict[str, Any]]: ...
    @overload
    def predict_leaf_node_assignment(
        self,
        data: _T,
        type: Literal["Path", "Node_ID"] = "Path",
        *,
        strict: bool = False,
        missing_columns: _MissingColumns = None,
    ) -> _T: ...
    @overload
    def predict_leaf_node_assignment(
        self,
        data: Any,
        type: Literal["Path", "Node_ID"] = "Path",
        *,
        strict: bool = False,
        missing_columns: _MissingColumns = None,
    ) -> Any:
        """Tell the leaf of every tree that each row falls into: ``[rows x trees]``, columns ``T1.C1``, ``T1.C2`` ...

        ``type="Path"`` gives the turns from the root, such as ``LRL``, missing for leaves deeper than 63; ``"Node_ID"`` gives
        H2O's node ids, -1 for such leaves.

        :raises UnsupportedOperationError: the model has no trees, or its file is too old to tell.
        """

    @overload
    def staged_predict_proba(
        self, data: dict[str, Any], *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> dict[str, Any]: ...
    @overload
    def staged_predict_proba(
        self, data: list[dict[str, Any]], *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> list[dict[str, Any]]: ...
    @overload
    def staged_predict_proba(
        self, data: _T, *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> _T: ...
    @overload
    def staged_predict_proba(
        self, data: Any, *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> Any:
        """Predict after each tree: ``[rows x trees]``, columns ``T1.C1``, ``T1.C2`` ...

        For two classes it is the first class's probability. An offset counts as 0, as in H2O.

        :raises UnsupportedOperationError: the model has no trees.
        """

    def predict_contributions(
        self, data: Any, *, strict: bool = False, missing_columns: _MissingColumns = None
    ) -> Any:
        """Tell how much each feature moves a row's prediction. Not in this release.

        :raises UnsupportedOperationError: always, in this release.
        """

    @property
    def algo(self) -> str:
        """The short name of the algorithm, such as ``gbm``."""

    @property
    def algorithm(self) -> str:
        """The long name of the algorithm."""

    @property
    def category(self) -> str:
        """What the model answers, by H2O's name: ``Regression``, ``Binomial``, ``Multinomial`` ..."""

    @property
    def h2o_version(self) -> str:
        """The release of H2O that wrote the file."""

    @property
    def mojo_version(self) -> str:
        """The version of the algorithm's format, such as ``1.40``."""

    @property
    def uuid(self) -> str:
        """The model's uuid, as written."""

    @property
    def n_trees(self) -> int | None:
        """How many trees a class has; ``None`` for models without trees."""

    @property
    def default_threshold(self) -> float | None:
        """The probability at and above which the second of two classes is predicted; ``None`` for other models."""

    @property
    def info(self) -> dict[str, str]:
        """Every key of the file's ``[info]`` section, as written."""

    @property
    def feature_names(self) -> list[str]:
        """The columns that the model reads, in its order: features, then the offset column if it has one."""

    @property
    def feature_types(self) -> dict[str, str]:
        """``numeric`` or ``categorical``, by column."""

    @property
    def domains(self) -> dict[str, list[str] | None]:
        """The levels of each categorical column in code order, and ``None`` for each numeric one."""

    @property
    def response(self) -> str | None:
        """The response column, if the model is supervised."""

    @property
    def labels(self) -> list[str] | None:
        """The labels that ``predict`` may take, in H2O's order, if the model is a classifier."""

    @property
    def offset_column(self) -> str | None:
        """The column that is added on the link scale, if the model was trained with one."""

    @property
    def output_names(self) -> list[str]:
        """The columns of :meth:`predict`'s answer."""

    def to_bytes(self) -> bytes:
        """The bytes of the MOJO's zip."""

    def __reduce__(self) -> tuple[Any, tuple[bytes]]: ...

@final
class ArrowTable:
    """A table of predictions for any library that speaks the Arrow PyCapsule interface.

    Give it to ``pyarrow.table``, ``polars.DataFrame``, ``duckdb`` or another consumer; nothing is copied.
    """

    @property
    def num_rows(self) -> int:
        """How many rows there are."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""

    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object:
        """The schema as an Arrow PyCapsule."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """The table as one Arrow struct array."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The table as an Arrow stream of one record batch."""

_Key: TypeAlias = Any
_Status: TypeAlias = Literal["fresh", "stale", "missing"]

@final
class View:
    """A feature view: the keys that name an entity, and its typed features. Immutable; equal views are equal.

    ``definition`` is a dict, or the same as JSON::

        View({
            "name": "customer_stats",
            "keys": [{"name": "customer", "type": "i64"}],
            "features": [{"name": "age", "type": "f64"},
                         {"name": "segment", "type": "text", "levels": ["a", "b"]}],
            "ttl_seconds": 86400,
        })

    Types are ``bool``, ``i16``, ``i32``, ``i64``, ``f32``, ``f64``, ``text``, ``timestamp``, ``date``, ``numeric``, ``uuid``,
    ``json``, lists such as ``f32[]``, and pgvector's ``vector``; a key is none of the floating, ``numeric``, ``json`` and lists.
    May be left out: ``version`` (1), ``ttl_seconds``, ``history`` (``{"retention_days": 730}`` or ``{}``), ``raw`` (``{"gin": True,
    "paths": [["a", "b"]]}``), ``event_time``, ``description``, ``owner``, ``tags``; of a key ``entity``; of a feature ``levels``,
    ``default``, ``description``. :meth:`json_schema` has the whole form.

    :raises InputError: the definition contradicts itself; the message says how.
    """

    def __new__(cls, definition: str | Mapping[str, Any], /) -> View: ...
    @property
    def name(self) -> str:
        """The name."""

    @property
    def version(self) -> int:
        """The version: two versions have tables side by side."""

    @property
    def keys(self) -> list[str]:
        """The key columns' names in order."""

    @property
    def features(self) -> list[str]:
        """The features' names in order."""

    @property
    def event_time(self) -> str:
        """What tables call the time at which a row holds true: ``event_ts``, if the view has no other name for it."""

    @staticmethod
    def json_schema() -> str:
        """The JSON Schema of a definition, as JSON. What it cannot say, such as that no two columns have one name, is checked
        when a view is made."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the JSON form, in hexadecimal."""

    def to_json(self) -> str:
        """The definition as JSON, the same text for the same view."""

    def to_dict(self) -> dict[str, Any]:
        """The definition as a dict."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, tuple[str]]: ...

@final
class FeatureStore:
    """A store of features in PostgreSQL. Make one with :meth:`connect` or :meth:`shared`.

    Safe to share between threads, each of which has its own connection, and usable in a child after ``fork``. The GIL is
    released while a call waits. As a context manager it closes at the end.

    A key is the value of its column, or for several columns a tuple in their order or a dict by name. Every error is a
    :class:`StoreError` or, where the data are wrong, an :class:`InputError`.
    """

    @staticmethod
    def connect(
        dsn: str,
        *,
        schema: str | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        root_certificates: str | os.PathLike[str] | None = None,
        replicas: Sequence[str] | None = None,
        max_replica_lag: float | None = None,
        cache_bytes: int | None = None,
        cache_ttl: float | None = None,
        cache_redis: str | None = None,
    ) -> FeatureStore:
        """Connect to a database.

        :param dsn: a connection string as libpq reads it: a URL, or ``host=... user=...``.
        :param schema: the PostgreSQL schema that holds the store's tables: ``cenote`` if not given.
        :param read_timeout: seconds from a read's call to its answer.
        :param write_timeout: seconds for each statement of a write.
        :param root_certificates: a PEM file of the authorities to trust in place of the machine's own.
        :param replicas: connection strings of read replicas: reads by key go to one of them while it is known to be no further
            behind than ``max_replica_lag``, else to the primary.
        :param max_replica_lag: seconds that a replica may be behind the primary and still answer: 1 if not given.
        :param cache_bytes: keep so many bytes of rows in this process, of views that :meth:`notify_changes` was called for;
            64 MiB if another of the cache's parameters is given.
        :param cache_ttl: seconds that a row is kept: 60 if not given, never more than the view's ttl.
        :param cache_redis: keep rows in Redis as well: ``redis://host:port/db``. One that is not there is a miss.
        :raises StoreConnectionError: the server cannot be reached, or refuses.
        """

    @staticmethod
    def shared(dsn: str) -> FeatureStore:
        """The process's one store of this connection string, connected at the first call, with default settings."""

    @property
    def schema(self) -> str:
        """The PostgreSQL schema that holds the store's tables."""

    @property
    def replicas(self) -> list[dict[str, Any]]:
        """How each replica fares for this thread, which has connections of its own: ``fresh``, whether it may answer now, and
        ``reads``, how many it has answered."""

    def plan_view(self, view: View) -> list[str]:
        """The SQL that :meth:`apply` would run; none if the tables are as the view says."""

    def apply(self, view: View) -> None:
        """Make the tables of a view.

        :raises SchemaDriftError: there are tables that differ from the view.
        """

    def verify(self, view: View) -> None:
        """Compare the tables with a view.

        :raises SchemaDriftError: its ``differences`` list every one.
        """

    def upsert(
        self,
        view: View,
        data: Any,
        *,
        written_at: datetime | Literal["event"] | None = None,
        history_only: bool = False,
    ) -> Upserted:
        """Write rows of a view; of a key's rows the newest event time wins, whatever the order in which they come.

        :param data: any table that :meth:`Model.predict` takes by name, with the view's keys, features and event time,
            when the features held true (a ``datetime``; one without a zone is taken as UTC). ``nan`` is a missing cell. Each
            record batch of an Arrow stream is a transaction, any other table is one. A column that is not there has the
            feature's default, if it has one.
        :param written_at: when the values became known: now if not given, ``"event"`` for each at its event time.
        :param history_only: leave the online table alone; :meth:`materialize` brings it up.
        :raises InputError: a column is missing or not the view's, or a cell does not fit its column; nothing is written.
        """

    def get_views(
        self,
        views: Sequence[View],
        keys: Iterable[_Key],
        *,
        roles: Sequence[Mapping[str, str] | None] | None = None,
    ) -> list[FeatureSet]:
        """The features of entities from several views: one set a view, each with one row an entity, in order.

        Views of one key are read by one query, the others side by side on one connection.

        :param keys: entities: dicts by the names of the views' key columns, or tuples of them in the order in which the views
            first name them.
        :param roles: for each view the entity's columns by key column, where they have other names: ``{"airport": "origin"}``.
            A view may stand twice, in two roles.
        """

    def load(
        self,
        view: View,
        data: Any,
        *,
        name: str,
        written_at: datetime | Literal["event"] | None = None,
        history_only: bool = False,
    ) -> Loaded:
        """Write rows as :meth:`upsert`, each record batch with a record under the load's name in the same transaction.

        A load that was killed is called again with the same data in the same batches: what is recorded is passed over. Give a
        ``pyarrow.RecordBatchReader`` to load more than fits into memory.

        :raises InputError: a recorded batch had other rows: the data have changed; else as :meth:`upsert`.
        """

    def materialize(
        self,
        view: View,
        *,
        full: bool = False,
        batch_rows: int = 200_000,
        progress: Callable[[int, int], object] | None = None,
    ) -> Materialized:
        """Bring online what came into the history since the last run, by the order in which rows came in: late rows are not missed.

        :param full: take the whole history.
        :param batch_rows: about how many rows of the history one transaction takes.
        :param progress: called with the batches done and all batches, before the first and after each.
        :raises InputError: the view keeps no history.
        """

    def finished_batches(self, view: View, job: str | None = None) -> list[FinishedBatch]:
        """The finished batches of a load of a view, or of all its loads and materialisations."""

    def forget_batches(self, view: View, *, days: int = 30) -> int:
        """Forget the finished batches of a view that are older than some days, and give how many."""

    def maintain(self, view: View) -> Maintained:
        """Make the history's partitions of the months to come, and drop those that are older than the view's retention.

        :raises InputError: the view keeps no history.
        """

    def erase(self, view: View, keys: Iterable[_Key]) -> Erased:
        """Erase every row of keys, in one transaction: online, in the history and among the raw documents."""

    def as_of(
        self,
        view: View,
        key: _Key,
        at: datetime,
        *,
        known_at: datetime | Literal["label", "any"] | None = None,
        features: Sequence[str] | None = None,
    ) -> Features:
        """The features of a key as they were known at a time; missing where there were none, or only stale ones.

        :param known_at: by when a value must have become known: by ``at`` if not given, by a moment, or at ``"any"`` time.
        :raises InputError: the view keeps no history.
        """

    def join(
        self,
        view: View,
        entities: Any,
        *,
        known_at: datetime | Literal["label", "any"] | None = None,
        features: Sequence[str] | None = None,
    ) -> FeatureSet:
        """The features of entities as they were known at each one's time: exactly one row an entity, in their order.

        :param entities: any table with the view's keys and event time; its other columns are not looked at.
        :param known_at: by when a value must have become known: by the entity's own time if not given.
        :raises InputError: the view keeps no history, a column is missing, or a cell does not fit.
        """

    def put_documents(self, view: View, documents: Sequence[Document]) -> Stored:
        """Keep raw documents of a view, in one transaction. The same again changes nothing; another one of the same key and
        event time is kept beside, as a correction."""

    def get_document(
        self,
        view: View,
        key: _Key,
        *,
        at: datetime | None = None,
        known_at: datetime | Literal["label", "any"] | None = None,
    ) -> Document | None:
        """The newest raw document of a key; with ``at`` the one that was known then, or as ``known_at`` says."""

    def find_documents(
        self,
        view: View,
        *,
        containing: Any | None = None,
        path: Sequence[str] | None = None,
        text: str | None = None,
        limit: int = 100,
    ) -> list[Document]:
        """Raw documents that contain ``containing``, or whose member at ``path`` has the text ``text``; the newest first."""

    def get(self, view: View, key: _Key, *, features: Sequence[str] | None = None) -> Features:
        """The features of one key, all or those named."""

    def get_many(self, view: View, keys: Iterable[_Key], *, features: Sequence[str] | None = None) -> FeatureSet:
        """The features of many keys by one query, in the keys' order, also where a key is unknown or comes twice."""

    def plan(
        self,
        model: Model,
        view: View,
        *,
        columns: Mapping[str, str] | None = None,
        request: Sequence[str] | None = None,
        absent: Sequence[str] | None = None,
        on_missing: Literal["na", "error"] = "na",
        on_stale: Literal["na", "use", "error"] = "na",
        unseen_levels: Literal["na", "error"] = "error",
        version: ModelVersion | None = None,
    ) -> ScorePlan:
        """Bind a model to a view: each input of the model to the feature or key column of its name, proved here and now.

        :param columns: the view's column by input, where the names differ.
        :param request: inputs that come with each call, by ``request`` of :meth:`ScorePlan.score`.
        :param absent: inputs that are always missing.
        :param on_missing: what happens to a key without a row: its features are missing, or the call is refused.
        :param on_stale: what happens to a row older than the view's ttl: its features are missing, or used, or the call is
            refused.
        :param unseen_levels: what happens if the view declares levels that the model has not seen: they count as missing, or
            the plan is refused.
        :param version: which registered version the model is; scores then carry it, and can be recorded.
        :raises SchemaDriftError: inputs do not fit the view; its ``differences`` list each.
        """

    def apply_registry(self) -> None:
        """Make the model registry's tables, if they are not there."""

    def register_model(
        self,
        name: str,
        model: Model,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        golden_rows: Sequence[Mapping[str, Any]] | None = None,
        signing_key: str | None = None,
    ) -> ModelVersion:
        """Register a model as the next version of a name; the same bytes again give the version that they have.

        :param metrics: the metrics by which it was judged.
        :param tags: texts by name.
        :param golden_rows: rows whose answers are stored, to be given again bit for bit wherever the model is put to work.
        :param signing_key: an ed25519 key in PEM, as ``openssl genpkey -algorithm ed25519`` writes it.
        :raises StoreError: the same bytes are registered with something else beside them.
        """

    def promote_model(self, name: str, alias: str, version: int) -> None:
        """Point an alias of a name at a version.

        :raises StoreError: there is no such version.
        """

    def route_model(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        canary: int | None = None,
        share: float | None = None,
        shadow: int | None = None,
    ) -> None:
        """Point an alias of a name at a version, a canary and a shadow.

        :param canary: a version that answers in its place for a share of the keys, always the same ones.
        :param share: the canary's share of the keys, 0..1.
        :param shadow: a version that is scored as well and never answers.
        :raises StoreError: there is no such version, or one is archived.
        """

    def find_route(self, name: str, alias: str) -> dict[str, Any]:
        """The versions behind an alias: ``version``, ``canary``, ``share`` and ``shadow``."""

    def find_model(self, reference: str) -> ModelVersion:
        """What the registry knows of ``name``, ``name:version``, ``name@alias`` or ``name#sha256``."""

    def set_model_stage(
        self, name: str, version: int, stage: Literal["none", "staging", "production", "archived"]
    ) -> None:
        """Say where a version is in its life. No alias may point at one that is archived."""

    def verify_model(self, reference: str, *, trusted_keys: Sequence[str] | None = None) -> ModelVersion:
        """Verify a version whole: signature, digest, that it opens, and its golden rows.

        :param trusted_keys: ed25519 keys, in PEM or hexadecimal, one of which must have signed it.
        """

    def watch_model(
        self,
        reference: str,
        view: View,
        *,
        columns: Mapping[str, str] | None = None,
        request: Sequence[str] | None = None,
        absent: Sequence[str] | None = None,
        on_missing: Literal["na", "error"] = "na",
        on_stale: Literal["na", "use", "error"] = "na",
        unseen_levels: Literal["na", "error"] = "error",
        trusted_keys: Sequence[str] | None = None,
    ) -> ServedModel:
        """Watch an alias (``churn@production``) and score a view's keys by what it points at, swapped when it moves.

        The arguments are those of :meth:`plan`, for each model that is put to work.

        :param trusted_keys: ed25519 keys, in PEM or hexadecimal; nothing is put to work that none of them signed.
        :raises SchemaDriftError: inputs do not fit the view.
        :raises StoreError: there is no such alias, or its model cannot be verified.
        """

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """All versions of a name, or of every model."""

    def load_model(self, reference: str) -> Model:
        """Load a model by ``name``, ``name:version``, ``name@alias`` or ``name#sha256``, its digest verified.

        :raises StoreError: there is no such model, or its bytes are not those that were registered.
        """

    def apply_decisions(self) -> None:
        """Make the decision log's table, if it is not there."""

    def record(self, view: View, key: _Key, score: Score) -> str:
        """Record the decision that a score of a key is, and give its id; when this returns, it is committed.

        :raises InputError: the score does not carry a registered version.
        """

    def buffered_decisions(self, *, capacity: int = 10_000) -> DecisionBuffer:
        """A queue before the decision log, written behind by a thread on a connection of its own.

        :param capacity: how many decisions it holds; what finds no place is dropped and counted.
        """

    def find_decision(self, id: str) -> Decision:
        """A decision.

        :raises StoreError: there is none of that id.
        """

    def replay(self, id: str) -> Replay:
        """Make a decision again: the model of its digest, verified, on the very row that it saw."""

    def parity(self, view: View, *, sample: int = 1000) -> dict[str, Any]:
        """Compare the online rows of some keys, chosen at random, with the newest of their history as of now, feature by feature
        as bits.

        Gives the number of keys ``checked`` and ``differing``, and the first 100 ``differences``: each a ``key`` and ``what``
        differs: ``no history``, ``event`` (with ``online`` and ``history``) or ``features`` (which ``features`` names).

        :raises InputError: the view keeps no history.
        """

    def notify_changes(self, view: View) -> None:
        """Make a view's table tell of its changes, which is what a cache needs to keep its rows: call it once, beforehand."""

    @property
    def cache_counters(self) -> dict[str, int]:
        """What the cache has done: ``hits``, ``redis_hits``, ``misses``, ``bypassed``, ``redis_errors`` and ``invalidated``."""

    def close(self) -> None:
        """Close the store for all that share it: new calls are refused."""

    def __enter__(self) -> FeatureStore: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class ScorePlan:
    """A model bound to a view: keys in, predictions out, by one query. Safe to share between threads."""

    @property
    def model(self) -> Model:
        """The model that is bound."""

    @property
    def view(self) -> View:
        """The view that it is bound to."""

    def explain(self) -> Explanation:
        """Say what the plan will do, with a warning where a key's row is not found by an index."""

    @property
    def counters(self) -> dict[str, Any]:
        """What the plan has seen: ``keys``, ``missing``, ``stale``, and by input in ``inputs`` the cells that were ``absent`` or
        of a level ``unseen`` in training."""

    def score(self, key: _Key, request: dict[str, Any] | None = None) -> Score:
        """Fetch the features of a key and score them.

        :param request: the inputs that come with the request, if the plan has any.
        :raises RowError: H2O refuses the row.
        :raises StoreError: the plan refuses the key's status, or the store fails.
        """

    def score_many(self, keys: Iterable[_Key], request: Any | None = None) -> Scores:
        """Fetch the features of many keys by one query and score them, in the keys' order.

        :param request: the inputs that come with the request, if the plan has any: a dict of columns, a list of dicts or a
            pandas frame, a row a key.
        """

@final
class ServedModel:
    """An alias of the model registry at work on a view. Make one with :meth:`FeatureStore.watch_model`.

    When the alias moves, the versions that it then points at are verified, asked for their golden answers and bound to the
    view, and put in place between two calls; if that fails, what answered before goes on and :attr:`state` says why. Safe to
    share between threads; a child after ``fork`` watches on its own.
    """

    @property
    def view(self) -> View:
        """The view whose keys are scored."""

    @property
    def version(self) -> ModelVersion:
        """The version that answers for most keys now."""

    @property
    def model(self) -> Model:
        """The model that answers for most keys now."""

    @property
    def route(self) -> dict[str, Any]:
        """Which versions are at work now: ``version``, ``canary``, ``share`` and ``shadow``."""

    @property
    def state(self) -> WatchState:
        """How the watch fares."""

    @property
    def counters(self) -> dict[str, Any]:
        """As :attr:`ScorePlan.counters`, of the version that answers for most keys, since it was put to work."""

    @property
    def shadow(self) -> dict[str, Any] | None:
        """In what the shadow has differed since it was put to work: rows ``scored`` and ``failed``, rows with other ``labels``
        or ``numbers``, and the ``largest`` difference of a number; ``None`` where there is no shadow."""

    def score(self, key: _Key, request: dict[str, Any] | None = None) -> Score:
        """As :meth:`ScorePlan.score`, by the version that the key has."""

    def score_many(self, keys: Iterable[_Key], request: Any | None = None) -> Scores:
        """As :meth:`ScorePlan.score_many`, each key by the version that it has."""

@final
class Explanation:
    """What a plan will do."""

    @property
    def sql(self) -> str:
        """The statement that fetches a key."""

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """Each input of the model and where it comes from."""

    @property
    def unread(self) -> list[str]:
        """Features of the view that the model does not read, and that are not fetched."""

    @property
    def query_plan(self) -> str:
        """How the server would run the statement, as its ``EXPLAIN`` says."""

    @property
    def warnings(self) -> list[str]:
        """What makes it slow or may soon; none if all is well."""

@final
class DecisionBuffer:
    """A queue before the decision log: :meth:`record` never waits for the database. Make one with
    :meth:`FeatureStore.buffered_decisions`.

    What cannot be written is tried again until it can; meanwhile the queue fills, and then new decisions are dropped and counted.
    What is still queued when the process ends is lost: as a context manager it waits at the end, as :meth:`flush` does. It goes on
    when the store is closed. A child after ``fork`` has an empty queue and a thread of its own. Safe to share between threads.
    """

    def record(self, view: View, key: _Key, score: Score) -> str | None:
        """Queue the decision that a score of a key is, and give its id; ``None`` where the queue is full.

        :raises InputError: the score does not carry a registered version.
        """

    def flush(self, timeout: float = 30.0) -> None:
        """Wait until all that was queued before is written; under asyncio by ``asyncio.to_thread``.

        :raises StoreTimeoutError: it was not within so many seconds; it is still tried.
        """

    @property
    def counters(self) -> dict[str, int]:
        """What became of the decisions that were recorded in this process: ``pushed``, of which ``written`` are committed and
        ``dropped`` found no place; ``failures``, how often a batch could not be written and went again."""

    def __enter__(self) -> DecisionBuffer: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class Decision:
    """One answer, and all that it was made of."""

    @property
    def id(self) -> str:
        """What names it: a UUID."""

    @property
    def decided_at(self) -> datetime:
        """When it was made, in UTC."""

    @property
    def view(self) -> str:
        """The view that was read."""

    @property
    def key(self) -> list[Any]:
        """The key, a value a column: moments as microseconds since 1970, days as days since 1970."""

    @property
    def model(self) -> str:
        """The model."""

    @property
    def version(self) -> int:
        """Its version."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its bytes, in lower-case hexadecimal."""

    @property
    def status(self) -> str:
        """``fresh``, ``stale`` or ``missing``."""

    @property
    def event_ts(self) -> datetime | None:
        """When the features held true; ``None`` where there was no row."""

    @property
    def numbers(self) -> list[float]:
        """The numbers of the prediction, in the order of H2O's columns."""

@final
class Replay:
    """A decision made again."""

    @property
    def decision(self) -> Decision:
        """The decision as it was recorded."""

    @property
    def identical(self) -> bool:
        """Whether the answer is the same, to the last bit."""

    @property
    def features(self) -> dict[str, Any]:
        """What the model saw, by name; ``None`` where it was missing."""

    @property
    def label(self) -> str | None:
        """The label now; ``None`` for a regression."""

    @property
    def numbers(self) -> list[float]:
        """The numbers now."""

@final
class WatchState:
    """How a watch fares."""

    @property
    def listening(self) -> bool:
        """Whether changes are heard of as they happen; else they are seen when the alias is next read."""

    @property
    def swaps(self) -> int:
        """How often other models were put in place."""

    @property
    def refused(self) -> str | None:
        """Why the newest change was not made; ``None`` where the alias and what answers are one."""

@final
class ModelVersion:
    """What the registry knows of one version of a model."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> int:
        """Its version, from 1."""

    @property
    def sha256(self) -> str:
        """SHA-256 of its bytes, in lower-case hexadecimal."""

    @property
    def bytes(self) -> int:
        """How many bytes the MOJO has."""

    @property
    def algo(self) -> str:
        """H2O's short name of the algorithm, such as ``gbm``."""

    @property
    def h2o_version(self) -> str:
        """The release of H2O that trained it."""

    @property
    def inputs(self) -> list[str]:
        """The columns it reads, in its order."""

    @property
    def input_types(self) -> list[str]:
        """What each of them is: ``numeric`` or ``categorical``."""

    @property
    def outputs(self) -> list[str]:
        """The columns of its predictions."""

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics by which it was judged."""

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""

    @property
    def stage(self) -> str:
        """Where it is in its life: ``none``, ``staging``, ``production`` or ``archived``."""

    @property
    def signed_by(self) -> str | None:
        """The ed25519 key that signed it, in hexadecimal."""

    @property
    def golden_rows(self) -> int:
        """How many golden rows it has."""

    @property
    def created_at(self) -> datetime:
        """When it was registered, in UTC."""

    @property
    def aliases(self) -> list[str]:
        """The aliases that point at it, ascending."""

@final
class Loaded:
    """What became of the batches of a load, when they were written."""

    @property
    def batches(self) -> int:
        """Batches that were given."""

    @property
    def passed(self) -> int:
        """Those of them that had been written before, and were passed over."""

    @property
    def rows(self) -> int:
        """Rows of all batches."""

    @property
    def inserted(self) -> int:
        """Rows whose key was not there."""

    @property
    def updated(self) -> int:
        """Rows that took the place of an older one."""

    @property
    def stale(self) -> int:
        """Rows that changed nothing online."""

    @property
    def appended(self) -> int:
        """Rows that the history did not have."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Materialized:
    """What a materialisation has done."""

    @property
    def rows(self) -> int:
        """The rows of the history that it took."""

    @property
    def inserted(self) -> int:
        """Keys that were not online."""

    @property
    def updated(self) -> int:
        """Keys whose row online was older."""

    @property
    def batches(self) -> int:
        """Batches of the run."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Maintained:
    """What became of a view's partitions."""

    @property
    def made(self) -> list[str]:
        """Partitions that were made."""

    @property
    def dropped(self) -> list[str]:
        """Partitions that were dropped, with all their rows."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Erased:
    """What was erased."""

    @property
    def online(self) -> int:
        """Rows of the online table."""

    @property
    def history(self) -> int:
        """Rows of the history."""

    @property
    def raw(self) -> int:
        """Raw documents."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Stored:
    """What became of raw documents that were put. The two add up to the documents given."""

    @property
    def stored(self) -> int:
        """Documents that are kept from now on."""

    @property
    def known(self) -> int:
        """Documents that were known, or stood twice."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class FinishedBatch:
    """A finished batch of a load or a materialisation."""

    @property
    def job(self) -> str:
        """The load's name, or ``materialize`` and the transactions that it covers."""

    @property
    def batch(self) -> int:
        """Its number, from 0."""

    @property
    def rows(self) -> int:
        """How many rows it had."""

    @property
    def finished_at(self) -> datetime:
        """When it was committed, in UTC."""

@final
class Document:
    """A raw document of a view: JSON about an entity.

    :param key: the entity, as keys are given.
    :param event_ts: when it held true.
    :param document: what ``json.dumps`` takes.
    :param written_at: when it became known; now if not given.
    """

    def __new__(cls, key: _Key, event_ts: datetime, document: Any, *, written_at: datetime | None = None) -> Document: ...
    @property
    def key(self) -> Any:
        """The entity: the value of its key column, or a tuple of several."""

    @property
    def event_ts(self) -> datetime:
        """When it held true."""

    @property
    def document(self) -> Any:
        """What it says, as ``json.loads`` reads it."""

    @property
    def written_at(self) -> datetime | None:
        """When it became known; ``None`` for now, where it is to be put."""

@final
class Upserted:
    """What became of the rows of a write. The three add up to the rows given."""

    @property
    def inserted(self) -> int:
        """Rows whose key was not there."""

    @property
    def updated(self) -> int:
        """Rows that took the place of an older one."""

    @property
    def stale(self) -> int:
        """Rows that changed nothing: the store had a newer one or the same."""

    def __eq__(self, other: object, /) -> bool: ...

@final
class Features:
    """The features of one key."""

    @property
    def status(self) -> _Status:
        """``fresh``, ``stale`` or ``missing``."""

    @property
    def age(self) -> timedelta | None:
        """How old a stale row is; ``None`` where it is not stale."""

    @property
    def event_ts(self) -> datetime | None:
        """When the features held true, in UTC; ``None`` where there is no row."""

    @property
    def values(self) -> dict[str, Any]:
        """Each feature's value by name, ``None`` where it is missing."""

    def __getitem__(self, feature: str, /) -> Any: ...

@final
class FeatureSet:
    """The features of many keys by column, in the order of the keys."""

    @property
    def status(self) -> list[_Status]:
        """``fresh``, ``stale`` or ``missing``, by key."""

    @property
    def event_ts(self) -> list[datetime | None]:
        """When each key's features held true; ``None`` where there is no row."""

    def to_dict(self) -> dict[str, list[Any]]:
        """The features as a dict of lists, ``None`` where one is missing."""

    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """``status``, ``event_ts`` and the features as an Arrow stream, for ``pyarrow.table``, ``polars.DataFrame`` ..."""

@final
class Score:
    """The score of one key."""

    @property
    def status(self) -> _Status:
        """``fresh``, ``stale`` or ``missing``."""

    @property
    def age(self) -> timedelta | None:
        """How old a stale row is; ``None`` where it is not stale."""

    @property
    def event_ts(self) -> datetime | None:
        """When the features held true, in UTC; ``None`` where there is no row."""

    @property
    def prediction(self) -> dict[str, Any]:
        """The prediction, as :meth:`Model.predict` gives it for one row."""

    @property
    def version(self) -> int | None:
        """The registered version that answered, where one is known."""

@final
class Scores:
    """The scores of many keys, in their order."""

    @property
    def status(self) -> list[_Status]:
        """``fresh``, ``stale`` or ``missing``, by key."""

    @property
    def event_ts(self) -> list[datetime | None]:
        """When each key's features held true; ``None`` where there is no row."""

    @property
    def versions(self) -> list[int | None]:
        """The registered version that answered for each key, ``None`` where none is known."""

    def to_dict(self) -> dict[str, list[Any]]:
        """The predictions as a dict of lists, as :meth:`Model.predict` gives them."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """The predictions as a list of dicts, as :meth:`Model.predict` gives them."""

    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """``status``, ``event_ts`` and the predictions as an Arrow stream, for ``pyarrow.table``, ``polars.DataFrame`` ..."""

@final
class Cancellation:
    """Ends calls that run on another thread: their queries are cancelled at the server."""

    def __new__(cls) -> Cancellation: ...
    def cancel(self) -> None:
        """End the call that is under way in :meth:`run`."""

    def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function on this thread."""

@final
class Mailbox:
    """What an event loop has under way: its futures, and the pipe that says that some of them have their answer."""

    def __new__(cls) -> Mailbox: ...
    def fileno(self) -> int:
        """What an event loop watches for reading."""

    def deliver(self) -> None:
        """Hand out the answers that have come. To be called when there is something to read."""

@final
class Call:
    """A read that is under way."""

    def cancel(self) -> None:
        """Give it up: the server is asked to cancel the query."""

@final
class AsyncReads:
    """Reads on a pool of connections of their own."""

    def __new__(cls, store: FeatureStore, connections: int, own_thread: bool = False) -> AsyncReads: ...
    def fileno(self) -> int | None:
        """What an event loop watches to know when :meth:`turn` is due; ``None`` if a thread does the work, or none is left."""

    def turn(self, mailbox: Mailbox) -> None:
        """Get on with all calls, and hand out the answers of ``mailbox``."""

    def begin_to_beat(self, mailbox: Mailbox) -> bool:
        """Whether the event loop of ``mailbox`` is to :meth:`beat` from now on."""

    def beat(self, mailbox: Mailbox) -> bool:
        """Take the turn that is due for the time alone; ``False`` if it was the last for now."""

    def get(self, mailbox: Mailbox, future: Any, view: View, key: Any, features: Sequence[str] | None) -> Call:
        """Begin :meth:`FeatureStore.get`; ``future`` gets the answer by way of ``mailbox``."""

    def get_many(
        self, mailbox: Mailbox, future: Any, view: View, keys: Iterable[Any], features: Sequence[str] | None
    ) -> Call:
        """Begin :meth:`FeatureStore.get_many`."""

    def score(
        self, mailbox: Mailbox, future: Any, plan: ScorePlan, key: Any, request: dict[str, Any] | None
    ) -> Call:
        """Begin :meth:`ScorePlan.score`."""

    def score_served(
        self, mailbox: Mailbox, future: Any, served: ServedModel, key: Any, request: dict[str, Any] | None
    ) -> Call:
        """Begin :meth:`ServedModel.score`."""

    def settle(self, mailbox: Mailbox, future: Any) -> Call:
        """Begin to close the connections, once what was given up is cancelled."""

    def close(self) -> None:
        """Close the connections and end what drives them."""
