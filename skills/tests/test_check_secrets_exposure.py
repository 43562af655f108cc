"""Secrets are planted by the test as it runs, in pieces, so that this repository holds none."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support import run

PLANTED = {
    "KEY001": "aws = '" + "AKIA" + "Q3EGRIX7JT5ZLM2P" + "'",
    "KEY002": "t = '" + "ghp_" + "x9K2mQ7vLw3ZtR8bYc5NdF1gHj6PsA4eU0iO" + "'",
    "KEY003": "s = '" + "xoxb-" + "263594206564-" + "FGqddMF8t08v8N7Oq4i57vs1" + "'",
    "KEY004": "p = '" + "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc" + "'",
    "KEY005": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "KEY006": "u = 'https://ada:" + "k7Gq2Zp9Lw" + "@api.corp.net/x'",
    "KEY007": "j = '" + "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U" + "'",
    "KEY008": "db_password = '" + "k7Gq2Zp9LwVx41" + "'",
}  # fmt: skip


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=folder, check=True, capture_output=True)


def test_each_kind_is_found_and_its_value_never_shown(tmp_path: Path) -> None:
    folder = tmp_path.parent / "src"
    folder.mkdir()
    for rule, line in PLANTED.items():
        (folder / f"{rule.lower()}.py").write_text(f"\n{line}\n")
    result = run("check_secrets_exposure", folder, "--fail-on", "info")
    found = {(Path(f["path"]).stem.upper(), f["rule_id"], f["line"]) for f in result.json["findings"]}
    assert {(rule, rule, 2) for rule in PLANTED} <= found
    assert {r for _, r, _ in found} == set(PLANTED)
    for secret in ("Q3EGRIX7JT5ZLM2P", "k7Gq2Zp9Lw", "FGqddMF8t08v8N7Oq4i57vs1"):
        assert secret not in result.out
        assert secret not in run("check_secrets_exposure", folder, form="sarif").out


def test_a_secret_in_a_manifest_has_a_rule_of_its_own_and_a_reference_none(tmp_path: Path) -> None:
    folder = tmp_path.parent / "deploy"
    folder.mkdir()
    body = "services:\n  api:\n    environment:\n      API_SECRET: "
    (folder / "compose.yaml").write_text(body + "k7Gq2" + "Zp9LwVx41\n")
    result = run("check_secrets_exposure", folder, "--fail-on", "info")
    assert {(f["rule_id"], f["line"]) for f in result.json["findings"]} == {("KEY010", 4)}
    (folder / "compose.yaml").write_text(body + "${API_SECRET}\n")
    assert run("check_secrets_exposure", folder, "--fail-on", "info").code == 0


def test_environment_files_and_credential_files(tmp_path: Path) -> None:
    folder = tmp_path.parent / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text("x = 1\n")
    (folder / ".env").write_text("DATABASE_URL=postgresql://ada:k7Gq2Zp9Lw41@prod.corp.net/x\n")
    assert "KEY012" in run("check_secrets_exposure", folder).rules()
    (folder / ".gitignore").write_text(".env\n")
    assert "KEY012" not in run("check_secrets_exposure", folder).rules()
    git(folder, "add", "-f", ".env")
    assert "KEY009" in run("check_secrets_exposure", folder).rules()
    (folder / ".pgpass").write_text("prod:5432:x:ada:k7Gq2Zp9Lw41\n")
    assert "KEY011" in run("check_secrets_exposure", folder).rules()


def test_history_finds_what_was_removed(tmp_path: Path) -> None:
    folder = tmp_path.parent / "removed"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a.py").write_text(PLANTED["KEY002"] + "\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a")
    (folder / "a.py").write_text("x = 1\n")
    git(folder, "commit", "-qam", "b")
    assert run("check_secrets_exposure", folder).code == 0
    assert run("check_secrets_exposure", folder, "--history").rules() == {"KEY013"}
    plain = tmp_path.parent / "plain"
    plain.mkdir()
    (plain / "a.py").write_text("x = 1\n")
    assert run("check_secrets_exposure", plain, "--history").code == 2
