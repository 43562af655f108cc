"""Where models come from: a file that must have a digest, or an alias of the registry, which is watched.

In flows what the settings name; out flow `Slots`. A model serves only after it was opened, bound to the feature view and tried: a file's
by this module, a registered one's by cenote, which also asks for its signature and its golden rows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cenote

from .scoring import Loaded, ModelRefused, Scorer, Slots
from .settings import Settings
from .store import Store
from .telemetry import MODEL, REFUSED, SWAP

Open = Callable[[bytes], Scorer]


class Source(Protocol):
    async def open(self) -> None:
        """Put the first models to work. Raises ModelRefused, OSError, or what the reader or the store says."""

    def now(self) -> Slots:
        """What serves now; never waits."""
        ...

    def show(self) -> dict[str, Any]:
        """What to tell of it, beside `now()`; sets the metrics."""
        ...


def open_by_cenote(data: bytes) -> Scorer:
    # skill: ignore[SEC018] Files has compared the digest of these bytes
    return cenote.load(data)


class Files:
    """Models in files, opened anew by `swap`."""

    def __init__(self, settings: Settings, open_model: Open, store: Store | None) -> None:
        self._settings, self._open, self._store = settings, open_model, store
        self._swapping = asyncio.Lock()
        self._slots: Slots | None = None

    def now(self) -> Slots:
        assert self._slots is not None
        return self._slots

    async def open(self) -> None:
        await self.swap(self._settings.model_sha256, self._settings.canary_share)

    async def swap(self, sha256: str | None, share: float) -> None:
        """Open the files and let them serve. If anything fails, the old models stay; requests in flight keep theirs."""
        settings = self._settings
        assert settings.model_path is not None
        async with self._swapping:
            try:
                active = await self._load(settings.model_path, sha256)
                canary = await self._load(settings.canary_path, settings.canary_sha256) if settings.canary_path else None
            except BaseException:
                SWAP.labels("refused").inc()
                raise
            self._slots = Slots(active, canary, share if canary else 0.0)
            SWAP.labels("done").inc()

    def show(self) -> dict[str, Any]:
        MODEL.clear()
        slots = self.now()
        for role, model in (("active", slots.active), ("canary", slots.canary)):
            if model is not None:
                MODEL.labels(role, model.digest, model.version).set(1)
        return {"canary": slots.canary.version if slots.canary else None, "canary_share": slots.canary_share}

    async def _load(self, path: Path, sha256: str | None) -> Loaded:
        scorer, digest = await asyncio.to_thread(self._read, path, sha256)
        if self._store is None or not isinstance(scorer, cenote.Model):
            return Loaded(scorer, digest, digest[:12], answers=digest)
        plan = await self._store.bind(scorer)
        try:
            row = await asyncio.to_thread(scorer.predict, dict.fromkeys(scorer.feature_names))
        except cenote.RowError:  # the model says that it takes no missing values
            row = dict.fromkeys(scorer.output_names)
        if set(row) != set(scorer.output_names):
            raise ModelRefused(f"{path.name} answers {sorted(row)}")
        return Loaded(scorer, digest, digest[:12], plan, digest)

    def _read(self, path: Path, sha256: str | None) -> tuple[Scorer, str]:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if sha256 is not None and digest != sha256:
            raise ModelRefused(f"{path.name} has sha256 {digest}, not {sha256}")
        return self._open(data), digest


class Registry:
    """An alias of the registry: version, canary, share and shadow are what the registry says, and change when it does."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._served: cenote.ServedModel | None = None
        self._slots: Slots | None = None

    async def open(self) -> None:
        path, reference = self._settings.trusted_keys_path, self._settings.model
        assert reference is not None
        keys = [await asyncio.to_thread(path.read_text)] if path else None
        self._served = await self._store.serve(reference, keys)

    def now(self) -> Slots:
        served = self._served
        assert served is not None
        version, route = served.version, served.route
        answers = f"{version.sha256}:{route['canary']}:{route['share']}"
        if self._slots is None or self._slots.active.answers != answers:
            model = served.model
            while served.version.sha256 != version.sha256:  # it moved between two questions
                version, route, model = served.version, served.route, served.model
                answers = f"{version.sha256}:{route['canary']}:{route['share']}"
            versions = frozenset([version.version, route["canary"]]) - {None}
            # The canary is chosen by the key where keys are scored; rows that come whole are the active version's.
            self._slots = Slots(Loaded(model, version.sha256, f"{version.name}:{version.version}", served, answers, versions))
        return self._slots

    def show(self) -> dict[str, Any]:
        served, active = self._served, self.now().active
        assert served is not None
        route, state = served.route, served.state
        MODEL.clear()
        MODEL.labels("active", active.digest, active.version).set(1)
        for role in ("canary", "shadow"):
            if route[role] is not None:
                MODEL.labels(role, "", active.named(route[role])).set(1)
        REFUSED.set(state.refused is not None)
        canary = active.named(route["canary"]) if route["canary"] is not None else None
        return {"canary": canary, "canary_share": route["share"] or 0.0, "swaps": state.swaps, "refused": state.refused,
                "shadow": served.shadow}  # fmt: skip
