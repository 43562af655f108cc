"""The exceptions of the package: each derives from :class:`CenoteError` and from the built-in a caller would expect."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "CellError",
    "CenoteError",
    "ColumnTypeError",
    "InputError",
    "LimitError",
    "MissingColumnsError",
    "ModelFormatError",
    "RowError",
    "SchemaDriftError",
    "StoreConnectionError",
    "StoreError",
    "StoreTimeoutError",
    "UnsupportedModelError",
    "UnsupportedOperationError",
]


class CenoteError(Exception):
    """Any error of this package that is not a plain misuse of a Python call."""

    # KeyError shows the repr of its message; every error here shows the message.
    __str__ = Exception.__str__


class ModelFormatError(CenoteError, ValueError):
    """The bytes are not a MOJO, or are damaged, or contradict themselves."""


class LimitError(ModelFormatError):
    """The file would cost more memory or time than the limits allow, as a decompression bomb would."""


class UnsupportedModelError(CenoteError, NotImplementedError):
    """The algorithm of the MOJO, or its version, is not supported."""


class UnsupportedOperationError(CenoteError, NotImplementedError):
    """The call does not fit the model, such as leaf assignments of a linear model."""


class InputError(CenoteError, ValueError):
    """The data given do not fit the model."""


class MissingColumnsError(InputError, KeyError):
    """The data lack columns that the model reads.

    :ivar missing: the columns that the model needs and the data lack.
    :ivar found: the columns that came.
    """

    missing: Sequence[str] = ()
    found: Sequence[str] = ()


class ColumnTypeError(InputError, TypeError):
    """A column has a type that is neither number, boolean, text nor category, such as a date.

    :ivar column: the column's name.
    """

    column: str | None = None


class CellError(InputError):
    """A cell does not fit its column, under ``strict=True``.

    :ivar row: the zero-based row.
    :ivar column: the column's name.
    """

    row: int | None = None
    column: str | None = None


class RowError(InputError):
    """H2O refuses the row: its Java scorer throws on it.

    :ivar row: the zero-based row.
    """

    row: int | None = None


class StoreError(CenoteError):
    """The feature store refused or failed. No message holds a connection string, a password or a feature's value."""


class StoreTimeoutError(StoreError, TimeoutError):
    """A deadline passed; the message names the step that was under way."""


class StoreConnectionError(StoreError, ConnectionError):
    """The server cannot be reached, or the connection broke."""


class SchemaDriftError(StoreError):
    """The tables are not what the view says, or the model's inputs do not fit the view.

    :ivar differences: one line each.
    """

    differences: Sequence[str] = ()
