"""The platform's processes: PostgreSQL, Redis, the service and the load generator, each on its cores; what starts here ends here.

The service is the template of the skill fastapi-pro as it stands, the servers and the load test are those of the skill qa.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SKILLS = ROOT / "skills"
TEMPLATE = SKILLS / "fastapi-pro" / "assets"
sys.path.insert(0, str(SKILLS / "qa" / "assets"))

import servers  # the skill's own file

DRAIN = 1.0


class Failed(SystemExit):
    """A step of the platform did not do what it must; the message says which and why."""


def cores() -> tuple[set[int], set[int]]:
    """The cores of the servers and those of the load generator: halves where there are two or more."""
    all_of_them = sorted(os.sched_getaffinity(0))
    half = len(all_of_them) // 2
    return (set(all_of_them[half:]), set(all_of_them[:half])) if half else (set(all_of_them), set(all_of_them))


def run(*command: str | Path, expect: int = 0, log: Path | None = None, on: set[int] | None = None, **environment: str) -> str:
    """Run a program to its end; its output. Raises Failed with the output's tail."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1_800,
        preexec_fn=(lambda: os.sched_setaffinity(0, on)) if on else None,
    )
    if log is not None:
        log.write_text(done.stdout + done.stderr)
    if done.returncode != expect:
        raise Failed(
            f"{Path(command[1]).name if len(command) > 1 else command[0]} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}"
        )
    return done.stdout


class Service:
    """The template under `python -m app`, stopped as Kubernetes would stop it."""

    def __init__(self, log: Path, **settings: str) -> None:
        self.port = servers.free_port()
        self.url, self._log = f"http://127.0.0.1:{self.port}", log
        environment = {**os.environ, "PORT": str(self.port), "APP_DRAIN_SECONDS": str(DRAIN), **settings}
        with log.open("w") as out:
            self._process = subprocess.Popen([sys.executable, "-m", "app"], cwd=TEMPLATE, env=environment, stdout=out, stderr=out)

    def wait_until_ready(self) -> None:
        for _ in range(600):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health/ready", timeout=2):
                return
            time.sleep(0.1)
        raise Failed(f"the service does not become ready:\n{self._log.read_text()[-4000:]}")

    def has_jvm(self) -> bool:
        """Whether a Java virtual machine is loaded into the service, or is a child of it."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return any("libjvm" in Path(f"/proc/{one}/maps").read_text() for one in (pid, *children))

    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """Processor time of the service so far: a figure that a busy machine does not change."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> float:
        """SIGTERM, and the seconds until it had ended well. Raises Failed if it did not."""
        begun = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("the service did not end within 30 s of SIGTERM") from None
        if code != 0:
            raise Failed(f"the service ended with {code}:\n{self._log.read_text()[-4000:]}")
        return time.perf_counter() - begun

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


@contextlib.contextmanager
def databases() -> Iterator[tuple[servers.Postgres, servers.Redis]]:
    try:
        with servers.postgres(shared_buffers="256MB") as postgres, servers.redis() as redis:
            yield postgres, redis
    except servers.NotInstalled as error:
        raise Failed(str(error)) from None
