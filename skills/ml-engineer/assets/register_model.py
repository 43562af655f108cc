# /// script
# requires-python = ">=3.11"
# dependencies = ["cenote", "cryptography>=44"]
# ///
"""Register what the training template left, after everything that can be proved of it has been: signature, golden rows, feature view.

    REGISTRY_DSN=postgresql://... python register_model.py OUTPUT --name late --view view.json --public-key release.public.pem \\
        --signing-key release.private.pem --alias staging

The connection string comes from the environment, for a command line is seen by everyone. In this order, each step refusing what it
does not like: the signature beside model.zip is verified with the public key; the MOJO is read whole and scores its golden rows as H2O
did; each input of the model is found in the view; the bytes become the next version of the name (the same bytes keep the version that
they have), with their metrics, signed for those who serve, and with golden rows that every server asks for before it puts the model to
work; the alias, if one is given, moves. Prints the version as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cenote

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def refused(script: str, *words: str | Path) -> None:
    """Run a check of this skill; end here if it does not pass."""
    done = subprocess.run([sys.executable, SCRIPTS / script, *map(str, words)], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"not registered, {script} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def golden_rows(path: Path, model: cenote.Model, most: int = 20) -> list[dict[str, float | str | None]]:
    """The first rows of a CSV, with numbers where the model reads numbers."""
    kinds = model.feature_types
    with path.open(newline="", encoding="utf-8") as handle:
        rows = [row for row, _ in zip(csv.DictReader(handle), range(most), strict=False)]
    return [
        {name: None if row[name] == "" else float(row[name]) if kind == "numeric" else row[name] for name, kind in kinds.items()}
        for row in rows
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="the folder that h2o_training_template.py made")
    parser.add_argument("--name", required=True, help="the model's name in the registry")
    parser.add_argument("--view", required=True, type=Path, help="the JSON of the feature view that will feed it")
    parser.add_argument("--public-key", required=True, type=Path, help="of the job that signs releases (sign_model.py)")
    parser.add_argument("--signing-key", type=Path, help="the same job's private key: servers that trust it serve nothing else")
    parser.add_argument("--alias", help="to point at the new version, such as canary or production")
    args = parser.parse_args()
    if "REGISTRY_DSN" not in os.environ:
        parser.error("REGISTRY_DSN is not set")

    mojo = args.output / "model.zip"
    refused("sign_model.py", mojo, "--verify", args.public_key)
    refused("validate_mojo.py", mojo, "--schema", args.view, "--golden", args.output / "golden_input.csv", "--expected",
            args.output / "golden_expected.csv", "--tolerance", "1e-6")  # fmt: skip
    model = cenote.load(mojo)
    with cenote.FeatureStore.connect(os.environ["REGISTRY_DSN"], write_timeout=60) as store:
        store.plan(model, cenote.View(args.view.read_text(encoding="utf-8")), unseen_levels="na")
        store.apply_registry()
        metrics = json.loads((args.output / "metrics.json").read_text(encoding="utf-8"))["metrics"]
        key = args.signing_key.read_text() if args.signing_key else None
        rows = golden_rows(args.output / "golden_input.csv", model)
        version = store.register_model(args.name, model, metrics=metrics, golden_rows=rows, signing_key=key)
        if args.alias:
            store.promote_model(args.name, args.alias, version.version)
    print(json.dumps({"name": version.name, "version": version.version, "sha256": version.sha256, "algo": version.algo}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
