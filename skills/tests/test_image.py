"""The Dockerfile template really built, by buildah on a base made from Debian's packages, and the service really run in what came out.

No registry and no Docker: the base has the tag that the template's ARG names, made by mmdebstrap. Python packages are downloaded as
wheels beforehand, so that the build itself needs no network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support import SKILLS

REPO = SKILLS.parent
ASSETS = SKILLS / "deployment-engineer/assets"
TAG = "localhost/python:bookworm"
PACKAGES = "python3,python3-venv,python-is-python3"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="buildah's chroot isolation and mmdebstrap run as root here"),
    pytest.mark.skipif(not shutil.which("buildah") or not shutil.which("mmdebstrap"), reason="no buildah or no mmdebstrap"),
]


def call(*words: str | Path, timeout: float = 900, **more: Any) -> str:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=timeout, **more)
    assert done.returncode == 0, f"{' '.join(map(str, words))[:200]}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that begin every call of buildah: its images are in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("images")
    return ["buildah", "--storage-driver", "vfs", "--root", str(folder / "root"), "--runroot", str(folder / "run")]


@pytest.fixture(scope="module")
def image(storage: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    work = tmp_path_factory.mktemp("image")
    call("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", work / "base.tar")
    container = call(*storage, "from", "scratch")
    call(*storage, "add", container, work / "base.tar", "/")
    call(*storage, "commit", "--rm", container, TAG)
    (work / "base.tar").unlink()

    context = work / "context"
    shutil.copytree(SKILLS / "fastapi-pro/assets/fastapi_project_template", context)
    shutil.copytree(SKILLS / "fastapi-pro/assets/app", context / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ASSETS / "Dockerfile.template", context / "Dockerfile")
    wheels = context / "wheels"
    wheels.mkdir()
    for wheel in (REPO / "target/wheels").glob("cenote-*.whl"):
        shutil.copy(wheel, wheels)
    call(sys.executable, "-m", "pip", "download", "-q", "-d", wheels, "--find-links", wheels, "-r", context / "requirements.txt",
         "async-timeout>=4.0.3")  # fmt: skip  # redis asks for it on Debian's 3.11.2, and pip asks this interpreter
    call(*storage, "build", "--isolation", "chroot", "--pull-never", "--build-arg", f"PYTHON_IMAGE={TAG}", "--build-arg",
         "PIP_OPTIONS=--no-index", "-t", "scoring-api:test", "-f", context / "Dockerfile", context, timeout=1800)  # fmt: skip
    return "scoring-api:test"


def test_what_the_image_says_of_itself(storage: list[str], image: str) -> None:
    config = json.loads(call(*storage, "inspect", "--type", "image", image))["Docker"]["config"]
    assert config["User"] == "10001:10001" and config["StopSignal"] == "SIGTERM" and "8000/tcp" in config["ExposedPorts"]
    assert config["Cmd"] == ["python", "-m", "app"]
    assert not [e for e in config["Env"] if "KEY" in e or "PASSWORD" in e or "DATABASE_URL" in e]


def test_the_service_scores_inside_it_as_nobody_in_particular_and_without_java(storage: list[str], image: str) -> None:
    container = call(*storage, "from", "--pull-never", image)
    try:
        call(*storage, "copy", container, REPO / "fixtures/demo/model.zip", "/srv/model.zip")
        inside = [*storage, "run", "--isolation", "chroot", "--user", "10001:10001"]
        assert call(*inside, container, "--", "id", "-u") == "10001"
        assert (
            call(
                *inside,
                container,
                "--",
                "sh",
                "-c",
                "find / -xdev \\( -name 'libjvm*' -o -name java \\) 2>/dev/null | head -1 || true",
            )
            == ""
        )
        assert "denied" in call(*inside, container, "--", "sh", "-c", "touch /srv/x 2>&1 || true"), (
            "the application's folder is not its own"
        )
        port = "18765"
        process = subprocess.Popen(
            [*inside, "--env", "APP_MODEL_PATH=/srv/model.zip", "--env", f"APP_JWT_KEY={'k' * 40}", "--env", f"PORT={port}",
             container, "--", "python", "-m", "app"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        try:
            assert score(port)["predict"] in ("Yes", "No")
        finally:
            process.terminate()
            process.wait(30)
    finally:
        call(*storage, "rm", container)


def score(port: str) -> dict[str, Any]:
    """What the service says of a flight, when it has started."""
    import jwt

    claims = {
        "sub": "t",
        "iss": "https://auth.example.com/",
        "aud": "scoring-api",
        "exp": time.time() + 600,
        "scope": "score:read",
    }
    headers = {"Authorization": "Bearer " + jwt.encode(claims, "k" * 40, algorithm="HS256"), "content-type": "application/json"}
    columns = [
        "carrier",
        "origin",
        "dest",
        "hour",
        "distance",
        "temp",
        "wind_speed",
        "wind_gust",
        "precip",
        "visib",
        "plane_year",
        "seats",
    ]
    row = {**dict.fromkeys(columns), "carrier": "UA", "origin": "EWR", "distance": 1400, "hour": 8}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/score", json.dumps({"rows": [row]}).encode(), headers)
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)["predictions"][0]
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the service in the image does not answer")
