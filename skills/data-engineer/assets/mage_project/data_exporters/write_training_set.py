"""Writes the training set as a CSV, whole or not at all. The same rows give the same bytes."""

import csv
import os
from pathlib import Path

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def export(batch, *args, **kwargs):
    rows = batch["rows"]
    path = Path(os.environ[kwargs["output_variable"]])
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)
    return {"rows": len(rows)}
