"""Runs the training template in a process of its own (H2O brings a JVM), then validates what it made. Fails loudly, leaves nothing half."""

import subprocess
import sys
import tempfile
from pathlib import Path

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def export(frame, *args, **kwargs):
    output = Path(kwargs["output"])
    if (output / "model.zip").exists():
        return str(output / "model.zip")  # a retried run: a published model is never overwritten
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "train.csv"
        frame.to_csv(rows, index=False)
        scripts = Path(kwargs["skill"])
        train = [
            sys.executable,
            scripts / "assets/h2o_training_template.py",
            "--train",
            rows,
            "--target",
            kwargs["target"],
            "--output",
            output,
        ]
        train += ["--time-column", kwargs.get("time_column", "event_ts"), "--drop", kwargs.get("drop", "")]
        if kwargs.get("classification"):
            train.append("--classification")
        subprocess.run([str(word) for word in train], check=True)
    golden = ["--golden", output / "golden_input.csv", "--expected", output / "golden_expected.csv"]
    check = [sys.executable, scripts / "scripts/validate_mojo.py", output / "model.zip", *golden]
    subprocess.run([str(word) for word in check], check=True)
    return str(output / "model.zip")
