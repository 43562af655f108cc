"""A private PostgreSQL: made in a temporary folder, on a free port, ended with the tests however they end.

PostgreSQL refuses to run as root, so there it runs as `postgres` or `nobody`. A shell ends it when its standard input, of
which the tests hold the other end, closes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = r"""
set -e
if [ "$4" ]; then
    "$1/pg_basebackup" -D "$2/data" -h 127.0.0.1 -p "$4" -U cenote -R -X stream --checkpoint=fast
else
    "$1/initdb" -D "$2/data" -U cenote -A trust -E UTF8 --locale=C.UTF-8 --no-sync
fi >"$2/made.log" 2>&1 || { cat "$2/made.log"; exit 1; }
"$1/postgres" -D "$2/data" -p "$3" -k "" -h 127.0.0.1 -c fsync=off -c log_min_messages=fatal \
    >"$2/server.log" 2>&1 </dev/null &
server=$!
echo started
cat >/dev/null || true
kill -QUIT $server 2>/dev/null || true
wait $server || true
rm -rf "$2"
"""


def binaries() -> Path:
    """The folder of `initdb` and `postgres`."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise RuntimeError("the store's tests start a PostgreSQL of their own and found none (Debian: apt-get install postgresql)")


def _answers(port: int) -> bool:
    """Whether the server has left its start-up phase: it asks for no password and says `R`."""
    parameters = b"user\0cenote\0database\0postgres\0\0"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">IHH", 8 + len(parameters), 3, 0) + parameters)
            return connection.recv(1) == b"R"
    except OSError:
        return False


@contextmanager
def postgres(primary: str | None = None) -> Iterator[str]:
    """Runs a server, or a streaming replica of another; gives its connection string."""
    folder = Path(tempfile.mkdtemp(prefix="cenote-test-"))
    user = None
    if os.geteuid() == 0:
        known = {entry.pw_name: entry for entry in pwd.getpwall()}
        owner = known.get("postgres") or known["nobody"]
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = owner.pw_uid
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    copied = "" if primary is None else primary.split("port=")[1].split()[0]
    shell = subprocess.Popen(
        ["/bin/sh", "-c", SCRIPT, "sh", str(binaries()), str(folder), str(port), copied],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", user=user, extra_groups=[] if user else None,
        start_new_session=True)
    assert shell.stdin is not None
    assert shell.stdout is not None
    try:
        first = shell.stdout.readline()
        if first != b"started\n":
            raise RuntimeError(f"the server cannot be made: {(first + shell.stdout.read()).decode(errors='replace')}")
        deadline = time.monotonic() + 60
        while not _answers(port):
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not answer; its log is in {folder}")
            time.sleep(0.02)
        yield f"host=127.0.0.1 port={port} user=cenote dbname=postgres"
    finally:
        shell.stdin.close()
        shell.wait(timeout=30)
        shell.stdout.close()
