"""Runs the training template in a process of its own (H2O brings a JVM), validates what it made, and where keys and a registry are named
signs and registers it. Fails loudly, leaves nothing half.

`h2o_python` is the interpreter of an environment with h2o; Mage's own need not have it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def export(frame, *args, **kwargs):
    output = Path(kwargs["output"])
    scripts = Path(kwargs["skill"])
    if not (output / "model.zip").exists():  # there it is a retried run: a published model is never overwritten
        train(frame, output, scripts, kwargs)
    golden = ["--golden", output / "golden_input.csv", "--expected", output / "golden_expected.csv", "--tolerance", "1e-6"]
    run(scripts / "scripts/validate_mojo.py", output / "model.zip", *golden)
    if kwargs.get("private_key"):
        run(scripts / "scripts/sign_model.py", output / "model.zip", "--sign", kwargs["private_key"], "--name", kwargs["name"])
    if kwargs.get("public_key"):
        words = ["--name", kwargs["name"], "--view", kwargs["view"], "--public-key", kwargs["public_key"]]
        words += ["--signing-key", kwargs["private_key"]] if kwargs.get("private_key") else []
        run(scripts / "assets/register_model.py", output, *words)
    return str(output / "model.zip")


def run(script, *words):
    subprocess.run([sys.executable, str(script), *map(str, words)], check=True)


def train(frame, output, scripts, kwargs):
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "train.csv"
        frame.to_csv(rows, index=False)
        words = [
            kwargs.get("h2o_python", sys.executable),
            scripts / "assets/h2o_training_template.py",
            "--train",
            rows,
            "--target",
            kwargs["target"],
            "--output",
            output,
        ]
        words += ["--time-column", kwargs.get("time_column", "event_ts"), "--drop", kwargs.get("drop", "")]
        if kwargs.get("classification"):
            words.append("--classification")
        words += ["--max-models", kwargs.get("max_models", 10), "--max-runtime", kwargs.get("max_runtime", 600)]
        subprocess.run([str(word) for word in words], check=True)
