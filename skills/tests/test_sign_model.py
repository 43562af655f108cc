"""Keys, manifests and tampering, each way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import run


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    assert run("sign_model", "--generate-key", tmp_path / "k").code == 0
    assert (tmp_path / "k.private.pem").stat().st_mode & 0o077 == 0
    model = tmp_path / "m.zip"
    model.write_bytes(b"PK model")
    assert run("sign_model", model, "--sign", tmp_path / "k.private.pem", "--name", "flight", "--model-version", "3").code == 0
    return model


def verify(model: Path, key: str = "k") -> set[str]:
    result = run("sign_model", model, "--verify", model.parent / f"{key}.public.pem")
    assert result.code == (1 if result.rules() else 0)
    return result.rules()


def test_good_and_tampered(signed: Path) -> None:
    assert verify(signed) == set()
    signed.write_bytes(b"PK other")
    assert verify(signed) == {"SGN001"}


def test_a_changed_manifest_or_another_key(signed: Path) -> None:
    side = signed.with_name("m.zip.manifest.json")
    manifest = json.loads(side.read_text())
    side.write_text(json.dumps({**manifest, "version": "4"}))
    assert verify(signed) == {"SGN002"}
    side.write_text(json.dumps(manifest))
    assert run("sign_model", "--generate-key", signed.parent / "other").code == 0
    assert verify(signed, "other") == {"SGN002"}
    for broken in ("{}", "[", json.dumps({**manifest, "signature": "%%"})):
        side.write_text(broken)
        assert verify(signed) == {"SGN003"}
    side.unlink()
    assert verify(signed) == {"SGN003"}


def test_bad_keys_are_bad_usage(signed: Path) -> None:
    assert run("sign_model", signed, "--verify", signed).code == 2
    assert run("sign_model", signed, "--sign", signed.parent / "k.public.pem").code == 2
    assert run("sign_model", "--generate-key", signed.parent / "k").code == 2, "an existing key is never overwritten"
    assert run("sign_model", "--verify", signed.parent / "k.public.pem").code == 2
