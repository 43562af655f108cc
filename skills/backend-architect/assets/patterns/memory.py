"""Split memory: what a container was given, divided between the interpreter's heap, models and buffers, and judged before a model is loaded.

The invariant: a model is refused with a reason before it is loaded, rather than the process killed without one after.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


class NoRoom(MemoryError):
    """The model does not fit the models' share."""


def container_limit(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that the cgroup (v2, then v1) allows; the machine's memory where it sets none."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            said = (root / name).read_text().strip()
        except OSError:
            continue
        return machine if said == "max" else min(machine, int(said))
    return machine


@dataclass
class Split:
    """Shares of a worker. `base` is measured: the resident size of a warm worker without a model."""

    limit: int
    workers: int
    base: int
    headroom: float = 0.15

    @property
    def for_models(self) -> int:
        """Bytes for models in each worker: its part of the limit, less headroom for peaks, less the warm worker itself."""
        return int(self.limit * (1 - self.headroom) / self.workers) - self.base

    def require(self, file_bytes: int, *, factor: float = 4.0, held: int = 0) -> int:
        """The bytes that a model of `file_bytes` will hold, at `factor` times its compressed file. Raises NoRoom.

        During a hot swap the old model is still there: pass its size as `held`.
        """
        wanted = int(file_bytes * factor)
        if wanted + held > self.for_models:
            raise NoRoom(
                f"the model needs {wanted // MIB} MiB beside {held // MIB} MiB held; a worker has {self.for_models // MIB} MiB for models"
            )
        return wanted
