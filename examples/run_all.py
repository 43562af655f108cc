"""Runs every example as a user would, on the demo's model and rows and one embedded PostgreSQL; fails if any does.

`make test-examples` builds and installs what this needs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "demo"))

from demo import DATA, database  # noqa: E402

MODEL, ROWS, VIEW = DATA / "model.zip", DATA / "flights.csv", HERE / "demo" / "view.json"


def run(*command: str | Path, expect: str, **environment: str) -> None:
    """Runs a program, which must end with 0 and print `expect`."""
    name = Path(command[-1] if command[0] != sys.executable else command[1]).name
    done = subprocess.run([str(part) for part in command], env={**os.environ, **environment},
                          capture_output=True, text=True, timeout=120)
    if done.returncode != 0 or expect not in done.stdout:
        raise SystemExit(f"{name} ended with {done.returncode}, expected {expect!r} in:\n{done.stdout}\n{done.stderr}")
    print(f"  {Path(command[0]).name if command[0] != sys.executable else Path(command[1]).name}", flush=True)


def fetch(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def service(url: str) -> None:
    """Starts the FastAPI service, asks for rows and for a key, and stops it."""
    port = free_port()
    environment = {**os.environ, "CENOTE_MODEL": str(MODEL), "CENOTE_DATABASE_URL": url, "CENOTE_VIEW": str(VIEW)}
    server = subprocess.Popen([sys.executable, "-m", "uvicorn", "fastapi_service:app", "--port", str(port)],
                              cwd=HERE / "python", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(150):
            try:
                fetch(f"{base}/model")
                break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None:
                    raise SystemExit(f"fastapi_service ended:\n{server.stderr.read().decode() if server.stderr else ''}")
                time.sleep(0.1)
        rows = fetch(f"{base}/predict", {"rows": [{"carrier": "UA", "distance": 1400}, {}]})
        scored = fetch(f"{base}/score/1001")
    finally:
        server.terminate()
        server.wait(timeout=10)
    if len(rows) != 2 or set(rows[0]) != {"predict", "No", "Yes"}:
        raise SystemExit(f"fastapi_service answered {rows}")
    if scored["status"] != "fresh" or scored["prediction"]["predict"] != "No":
        raise SystemExit(f"fastapi_service answered {scored}")
    print("  fastapi_service.py", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rust", type=Path, required=True, help="the folder of the built Rust examples")
    options = parser.parse_args()
    built = options.rust.resolve()
    print("Examples", flush=True)
    run(built / "score_csv", MODEL, ROWS, expect="No")
    run(built / "score_rows", expect="Yes")
    run(built / "arrow_batch", expect="Yes")
    python = HERE / "python"
    run(sys.executable, python / "pandas_frame.py", MODEL, ROWS, expect="Yes")
    with database() as url:
        run(built / "demo", expect="200 flights: every label is H2O's", CENOTE_DATABASE_URL=url)
        run(built / "keys", expect="flight 3: late with probability", CENOTE_DATABASE_URL=url)
        run(sys.executable, python / "keys_from_store.py", MODEL, ROWS, "flight_id", url, expect="No")
        service(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
