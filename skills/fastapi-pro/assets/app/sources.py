"""Where models come from: a file that must have a digest, or the registry, whose aliases are watched.

In flows what the settings name; out flow `Slots`, every model of which was opened, bound to the feature view and tried.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cenote

from .scoring import Loaded, ModelRefused, Models, Scorer, Slots
from .settings import Settings
from .store import UNAVAILABLE, Store

T = TypeVar("T")
Open = Callable[[bytes], Scorer]
log = logging.getLogger(__name__)


class Source(Protocol):
    async def slots(self) -> Slots:
        """What should serve now. Raises ModelRefused, OSError, or what the reader or the store says."""
        ...


def open_by_cenote(data: bytes) -> Scorer:
    # skill: ignore[SEC018] Files.slots has compared the digest of these bytes
    return cenote.load(data)


async def proved(scorer: Scorer, digest: str, version: str, store: Store | None) -> Loaded:
    """Bind a model to the view and score a row of missing values, which every model must answer or refuse by name."""
    if store is None or not isinstance(scorer, cenote.Model):
        return Loaded(scorer, digest, version)
    plan = await store.bind(scorer)
    try:
        row = await asyncio.to_thread(scorer.predict, dict.fromkeys(scorer.feature_names))
    except cenote.RowError:  # the model says that it takes no missing values
        return Loaded(scorer, digest, version, plan)
    if set(row) != set(scorer.output_names):
        raise ModelRefused(f"{version or digest} answers {sorted(row)}")
    return Loaded(scorer, digest, version, plan)


class Files:
    """Models in files. `expect` names the digest that the next load must find."""

    def __init__(self, settings: Settings, open_model: Open, store: Store | None) -> None:
        self._settings, self._open, self._store = settings, open_model, store
        self.expect, self.share = settings.model_sha256, settings.canary_share

    async def slots(self) -> Slots:
        settings = self._settings
        assert settings.model_path is not None
        active = await self._load(settings.model_path, self.expect)
        canary = await self._load(settings.canary_path, settings.canary_sha256) if settings.canary_path else None
        return Slots(active, canary, self.share if canary else 0.0)

    async def _load(self, path: Path, sha256: str | None) -> Loaded:
        scorer, digest = await asyncio.to_thread(self._read, path, sha256)
        return await proved(scorer, digest, "", self._store)

    def _read(self, path: Path, sha256: str | None) -> tuple[Scorer, str]:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if sha256 is not None and digest != sha256:
            raise ModelRefused(f"{path.name} has sha256 {digest}, not {sha256}")
        return self._open(data), digest


class Registry:
    """Models of the registry: an alias for the active one and perhaps one for the canary. Watched by a task of its own."""

    def __init__(self, settings: Settings, registry: cenote.FeatureStore, store: Store | None) -> None:
        assert settings.model is not None
        self._references = (settings.model, settings.canary)
        self._share, self._store, self._registry = settings.canary_share, store, registry
        # One thread, hence one connection, for all that is asked of the registry.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry")

    async def _ask(self, call: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def slots(self) -> Slots:
        active, canary = [await self._load(r) if r else None for r in self._references]
        if active is None:
            raise ModelRefused(f"the registry has no {self._references[0]}")
        if canary is not None and canary.digest == active.digest:
            canary = None
        return Slots(active, canary, self._share if canary else 0.0)

    async def watch(self, models: Models, seconds: float) -> None:
        """Swap whenever an alias has moved. A refused version is not tried again until the alias moves on."""
        refused: Any = None
        while True:
            await asyncio.sleep(seconds)
            try:
                wanted = await self._ask(self._wanted)
                serving = tuple(m.digest if m else None for m in (models.slots.active, models.slots.canary))
                if wanted in (serving, refused) or wanted[0] is None:
                    continue
                refused = wanted
                await models.swap(self.slots)
                refused = None
            except UNAVAILABLE as error:
                log.warning("the registry's models stay as they are: %s", error)
            except (ModelRefused, OSError, ValueError, NotImplementedError) as error:
                log.error("the new model is refused, the old one goes on serving: %s", error)

    def _wanted(self) -> tuple[str | None, str | None]:
        """The digests that the aliases point at. Blocks."""
        active, canary = (self._find(r) for r in self._references)
        first, second = (v.sha256 if v else None for v in (active, canary))
        return first, second if second != first else None

    def _find(self, reference: str | None) -> cenote.ModelVersion | None:
        if reference is None:
            return None
        name, _, alias = reference.partition("@")
        return next((v for v in self._registry.list_models(name) if alias in v.aliases), None)

    async def _load(self, reference: str) -> Loaded | None:
        found = await self._ask(self._find, reference)
        if found is None:
            return None
        model = await self._ask(self._registry.load_model, f"{found.name}#{found.sha256}")
        return await proved(model, found.sha256, f"{found.name}:{found.version}", self._store)
