"""Makes fuzzing corpora of MOJOs: `python corpus.py model.zip ...` writes corpus/archive and corpus/entries here."""

import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    for kind in ("archive", "entries"):
        (HERE / "corpus" / kind).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(map(Path, sys.argv[1:])):
        name = f"{number:03d}_{path.parent.name}"
        (HERE / "corpus/archive" / name).write_bytes(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            parts = [b"@" + entry.encode() + b"\n" + archive.read(entry) for entry in archive.namelist()]
        (HERE / "corpus/entries" / name).write_bytes(b"\n".join(parts))


if __name__ == "__main__":
    main()
