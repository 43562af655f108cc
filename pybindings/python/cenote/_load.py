"""Opening a model: whatever names or holds a MOJO, to the bytes of its zip, to a :class:`Model`.

A :class:`Model` carries those bytes, so that a pickle of it needs no file where it is opened.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from typing import IO

from cenote._cenote import Model
from cenote._errors import LimitError, ModelFormatError

__all__ = ["load"]

# The reader's own limits, applied before it can: bytes of an archive, and entries and bytes of a folder.
_ARCHIVE_BYTES = 4 << 30
_ENTRIES = 1_000_000


def load(source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes], /) -> Model:
    """Open a MOJO.

    :param source: the path of a MOJO's zip or of the folder of an unzipped one; or the bytes of the zip; or a binary
        file to read them from.
    :raises ModelFormatError: the bytes are not a MOJO, or are damaged.
    :raises LimitError: the file would cost more memory or time than the limits allow.
    :raises UnsupportedModelError: the algorithm, or its version, is not supported.
    :raises OSError: the file cannot be read.
    """
    if isinstance(source, bytes):
        return Model._from_bytes(source)
    if isinstance(source, (bytearray, memoryview)):
        return Model._from_bytes(bytes(source))
    if isinstance(source, (str, os.PathLike)):
        return Model._from_bytes(_read_path(os.fspath(source)))
    if hasattr(source, "read"):
        return Model._from_bytes(_read_file(source))
    raise TypeError(f"expected a path, bytes or a binary file, found {type(source).__name__}")


def _read_path(path: str) -> bytes:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return _zip_folder(path)
    if not stat.S_ISREG(mode):
        raise ModelFormatError(f"{path}: neither a file nor a folder")
    with open(path, "rb") as file:
        return _read_file(file)


def _read_file(file: IO[bytes]) -> bytes:
    content = file.read(_ARCHIVE_BYTES + 1)
    if not isinstance(content, bytes):
        raise TypeError(f"expected a binary file, its read() gave {type(content).__name__}")
    if len(content) > _ARCHIVE_BYTES:
        raise LimitError(f"bytes of the archive exceed the limit of {_ARCHIVE_BYTES}")
    return content


def _zip_folder(folder: str) -> bytes:
    """The folder as a zip: the same bytes for the same files, whenever and wherever they are read."""
    names = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        names += [os.path.join(parent, name) for name in sorted(files)]
        if len(names) > _ENTRIES:
            raise LimitError(f"entries of the folder exceed the limit of {_ENTRIES}")
    content = io.BytesIO()
    total = 0
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            found = os.lstat(name)
            if not stat.S_ISREG(found.st_mode):
                raise ModelFormatError(f"{name}: not a regular file")
            total += found.st_size
            if total > _ARCHIVE_BYTES:
                raise LimitError(f"bytes of the folder exceed the limit of {_ARCHIVE_BYTES}")
            entry = zipfile.ZipInfo(os.path.relpath(name, folder).replace(os.sep, "/"))
            with open(name, "rb") as file:
                archive.writestr(entry, file.read())
    return content.getvalue()
