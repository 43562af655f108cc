# /// script
# requires-python = ">=3.11"
# dependencies = ["cryptography>=44"]
# ///
"""Signs model files and verifies them: a manifest beside each (sha256, size, facts) with an ed25519 signature over it."""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from _report import Report, Rule, Tool, Unusable, files, main, need

RULES = (
    Rule("SGN001", "error", "the file is not the one that was signed", "Fetch it again; find out who changed it."),
    Rule("SGN002", "error", "the signature does not fit the manifest and the key", "Verify with the release job's public key; do not load the model."),
    Rule("SGN003", "error", "no manifest, or an incomplete one", "Sign it: sign_model.py MODEL --sign private.pem."),
)  # fmt: skip
TOOL = Tool("sign_model", "1.0.0", __doc__ or "", RULES)
FIELDS = ("file", "name", "sha256", "size", "version")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="model.zip", help="model files, or folders of them")
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("--verify", metavar="PUBLIC.pem", help="verify each file against its manifest and this key")
    work.add_argument("--sign", metavar="PRIVATE.pem", help="write <model>.manifest.json")
    work.add_argument(
        "--generate-key", metavar="PREFIX", help="write PREFIX.private.pem (readable by you alone) and PREFIX.public.pem"
    )
    parser.add_argument("--name", help="with --sign: the model's name (default: the file's)")
    parser.add_argument("--model-version", default="1", help="with --sign: its version (default: 1)")


def check(args: argparse.Namespace, report: Report) -> None:
    need("cryptography", "cryptography>=44")
    keys: Any = need("cryptography.hazmat.primitives.asymmetric.ed25519", "cryptography>=44")
    forms: Any = need("cryptography.hazmat.primitives.serialization", "cryptography>=44")
    wrong: Any = need("cryptography.exceptions", "cryptography>=44")
    report.engines.append("cryptography ed25519")
    if args.generate_key:
        generate(report, keys, forms, args.generate_key)
        return
    if not args.paths:
        raise Unusable("no model is named")
    if args.sign:
        key = loaded(Path(args.sign), lambda raw: forms.load_pem_private_key(raw, password=None), keys.Ed25519PrivateKey)
    else:
        key = loaded(Path(args.verify), forms.load_pem_public_key, keys.Ed25519PublicKey)
    for path in files(report, args.paths, ["*.zip", "*.mojo"]):
        try:
            with path.open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            size = path.stat().st_size
        except OSError as error:
            report.skip(path, f"unreadable: {error}")
            continue
        if not size:
            report.skip(path, "empty")
            continue
        report.scanned += 1
        side = path.with_name(path.name + ".manifest.json")
        if args.sign:
            manifest = {
                "file": path.name,
                "name": args.name or path.stem,
                "sha256": digest,
                "size": size,
                "version": args.model_version,
            }
            manifest["signature"] = base64.b64encode(key.sign(message(manifest))).decode()
            side.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        else:
            verify(report, path, side, digest, size, key, wrong.InvalidSignature)


def message(manifest: dict[str, Any]) -> bytes:
    """What is signed: every field but the signature, in one form."""
    return json.dumps({f: manifest[f] for f in FIELDS}, sort_keys=True, separators=(",", ":")).encode()


def verify(report: Report, path: Path, side: Path, digest: str, size: int, key: Any, invalid: type[Exception]) -> None:
    try:
        manifest = json.loads(side.read_text("utf-8"))
        signature = base64.b64decode(manifest["signature"], validate=True)
        signed = message(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.add("SGN003", path, 0, f"{side.name}: {error}.")
        return
    try:
        key.verify(signature, signed)
    except invalid:
        report.add("SGN002", path, 0, f"{side.name} was not signed by this key, or was changed.")
        return
    if (manifest["sha256"], manifest["size"], manifest["file"]) != (digest, size, path.name):
        report.add(
            "SGN001",
            path,
            0,
            f"{path.name} has sha256 {digest[:16]}..., and {str(manifest['sha256'])[:16]}... was signed for {manifest['file']}.",
        )


def loaded(path: Path, load: Any, kind: type) -> Any:
    try:
        key = load(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise Unusable(f"the key {path} cannot be read: {error}") from None
    if not isinstance(key, kind):
        raise Unusable(f"{path} is not an ed25519 key of the right half")
    return key


def generate(report: Report, keys: Any, forms: Any, prefix: str) -> None:
    key = keys.Ed25519PrivateKey.generate()
    private = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    public = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    try:
        handle = os.open(f"{prefix}.private.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(private)
        Path(f"{prefix}.public.pem").write_bytes(public)
    except OSError as error:
        raise Unusable(f"the key cannot be written: {error}") from None
    report.scanned += 1


if __name__ == "__main__":
    raise SystemExit(main(TOOL, arguments, check))
