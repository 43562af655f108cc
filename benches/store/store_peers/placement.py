"""One processor for the server and all contenders, so that none has better luck with where the system puts it.

A client that waits and a server that answers take turns. Whether they share a processor or wake each other on two makes an
answer take some 25 or some 80 microseconds, for the life of a connection, and for every contender alike.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg


def _parents() -> dict[int, int]:
    """Each process's parent."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    return parents


def _place(dsn: str, processors: set[int]) -> None:
    """Puts this process, the server, and all that they started, on these processors."""
    with psycopg.connect(dsn) as connection:
        parents = _parents()
        family = {os.getpid(), parents[connection.info.backend_pid]}
        while more := {process for process, parent in parents.items() if parent in family} - family:
            family |= more
    for process in family:
        for task in Path(f"/proc/{process}/task").glob("*"):
            # It may have ended meanwhile.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(task.name), processors)


@contextlib.contextmanager
def one_processor(dsn: str) -> Iterator[None]:
    """Has everybody share a processor; does nothing on a system that cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    all_of_them = os.sched_getaffinity(0)
    _place(dsn, {max(all_of_them)})
    try:
        yield
    finally:
        _place(dsn, all_of_them)
