"""Idempotency keys: a cell that is run again asks for the same machine, not for a second one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from jupyter_rmx.models import VMSpec

KEEP_S = 600.0


@dataclass
class _Kept:
    key: str
    made_at: float
    machines: set[str]


class Keys:
    """One key per distinct parameters, kept for ten minutes. `monotonic` counts seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._kept: dict[str, _Kept] = {}

    def of(self, spec: VMSpec) -> str:
        """The key for these parameters."""
        wish = spec.fingerprint()
        kept = self._kept.get(wish)
        if kept is None or self._now() - kept.made_at >= KEEP_S:
            kept = self._kept[wish] = _Kept(secrets.token_hex(16), self._now(), set())
        return kept.key

    def fresh(self) -> str:
        """A key for a wish that is meant anew each time it is made, as a fork: only its own repeats are the same."""
        return secrets.token_hex(16)

    def made(self, spec: VMSpec, *machines: str) -> None:
        """Remember what the key made, by name and id."""
        kept = self._kept.get(spec.fingerprint())
        if kept is not None:
            kept.machines.update(machines)

    def drop(self, machine: str) -> None:
        """Forget the keys of a machine that was destroyed: the same wish then means a new one."""
        self._kept = {wish: kept for wish, kept in self._kept.items() if machine not in kept.machines}
