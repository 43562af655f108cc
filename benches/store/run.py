#!/usr/bin/env python3
"""`make peers-store`: gets the peers from PyPI into `target/peers-store-venv`, builds cenote, and runs the comparison.

Needs Python 3.11, a Rust toolchain, and PostgreSQL's server with pgbench; the server is installed by apt-get where it is missing
and we are root. Options are those of `store_peers.bench`: see `--help`; besides, `--no-build` takes cenote as it was built last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VENV = ROOT / "target" / "peers-store-venv"
PYTHON = VENV / "bin" / "python"


def call(*command: str | Path) -> None:
    """Runs a command, showing it; ends the program if it fails."""
    print("+", *command, file=sys.stderr)
    if subprocess.run([str(word) for word in command], cwd=ROOT).returncode:
        raise SystemExit(f"failed: {command[0]}")


def need_packages() -> None:
    """The venv with the pinned packages; brought up to date when the pins change."""
    pins = (HERE / "requirements.txt").read_bytes()
    stamp = VENV / "pins"
    digest = hashlib.sha256(pins).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    call(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / "requirements.txt")
    stamp.write_text(digest)


def need_cenote() -> None:
    """cenote's Rust worker and its wheel, from this checkout."""
    call("cargo", "build", "--release", "-p", "cenote-bench", "--features", "store", "--bin", "peers-store")
    wheels = ROOT / "target" / "peers-store" / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    call(
        VENV / "bin" / "maturin", "build", "-q", "--release", "--manifest-path", "pybindings/Cargo.toml",
        "--out", wheels, "--interpreter", PYTHON,
    )  # fmt: skip
    wheel = next(wheels.glob("cenote-*.whl"))
    call(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--force-reinstall", "--no-deps", wheel)


def main() -> None:
    """Sets up, then becomes `store_peers.bench` in the venv."""
    arguments = sys.argv[1:]
    need_packages()
    if not {"-h", "--help", "--plots-only", "--no-build"} & set(arguments):
        need_cenote()
    arguments = [word for word in arguments if word != "--no-build"]
    # The private PostgreSQL is that of the wheel's tests.
    path = os.pathsep.join([str(HERE), str(ROOT / "pybindings" / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "FEAST_USAGE": "False"}
    os.execve(PYTHON, [str(PYTHON), "-W", "ignore", "-m", "store_peers.bench", *arguments], environment)


if __name__ == "__main__":
    main()
