"""pgbench: what the server does for one client and for several, asked by its own tool with prepared statements."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from server import binaries

from .results import Results


def pgbench(results: Results, dsn: str, sql: str, keys: int, clients: int | None, seconds: int) -> None:
    """Asks for random keys: so many clients give a rate, and `None`, which is one, its latencies."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.sql"
        script.write_text(f"\\set id random(0, {keys - 1})\n{sql.replace('$1', ':id')};\n")
        words = dict(word.split("=", 1) for word in dsn.split())
        command = [
            str(binaries() / "pgbench"), "-h", words["host"], "-p", words["port"], "-U", words["user"], "-n",
            "-M", "prepared", "-c", str(clients or 1), "-T", str(seconds), "-f", str(script), words["dbname"],
        ]  # fmt: skip
        if clients is None:
            command[1:1] = ["-l", "--log-prefix", str(Path(folder) / "log")]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if clients is None:
            lines = next(Path(folder).glob("log.*")).read_text().splitlines()
            results.sample("get_1x20", "pgbench", [float(line.split()[2]) for line in lines])
            return
        rate = next(line for line in said.splitlines() if line.startswith("tps = "))
        results.value(f"in_flight_{clients}", "pgbench", "calls_per_s", float(rate.split()[2]))
