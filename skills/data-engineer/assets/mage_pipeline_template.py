"""Write the skeleton of a Mage pipeline: its metadata.yaml and a file for each block, ready to be filled in.

    python mage_pipeline_template.py PROJECT NAME load_raw:data_loader clean:transformer publish:data_exporter

Blocks are chained in the order given; existing files are never overwritten.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

FOLDERS = {
    "data_loader": "data_loaders",
    "transformer": "transformers",
    "data_exporter": "data_exporters",
    "sensor": "sensors",
    "custom": "custom",
}
TEMPLATE = Path(__file__).with_name("mage_block_template.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("name", help="lower-case letters, digits and _")
    parser.add_argument("blocks", nargs="+", metavar="UUID:TYPE", help=f"types: {', '.join(FOLDERS)}")
    args = parser.parse_args()
    blocks = [tuple(b.partition(":")[::2]) for b in args.blocks]
    bad = [b for b in blocks if b[1] not in FOLDERS or not re.fullmatch(r"[a-z][a-z0-9_]*", b[0])]
    if bad or not re.fullmatch(r"[a-z][a-z0-9_]*", args.name) or len({b[0] for b in blocks}) < len(blocks):
        parser.error(f"bad or repeated name or type: {bad or args.name}")
    folder = args.project / "pipelines" / args.name
    if (folder / "metadata.yaml").exists():
        parser.error(f"{folder} exists")
    folder.mkdir(parents=True)
    lines = [
        f"uuid: {args.name}",
        f"name: {args.name}",
        "type: python",
        "retry_config: {retries: 3, delay: 10, exponential_backoff: true}",
        "blocks:",
    ]
    for number, (uuid, kind) in enumerate(blocks):
        before, after = [blocks[number - 1][0]] if number else [], [blocks[number + 1][0]] if number + 1 < len(blocks) else []
        lines += [f"  - uuid: {uuid}", f"    name: {uuid}", f"    type: {kind}", "    language: python",
                  f"    upstream_blocks: [{', '.join(before)}]", f"    downstream_blocks: [{', '.join(after)}]"]  # fmt: skip
        path = args.project / FOLDERS[kind] / f"{uuid}.py"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text(TEMPLATE.read_text().replace("transformer", kind))
    (folder / "metadata.yaml").write_text("\n".join(lines) + "\n")
    (folder / "__init__.py").touch()
    print(folder / "metadata.yaml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
