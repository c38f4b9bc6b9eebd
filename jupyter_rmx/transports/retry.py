"""Whether a connection that failed is tried again, and when (vectors errors.json). Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Decision = Literal["retry", "suspend"]
Outcome = Literal["reachable", "unreachable", "indeterminate"]

IDENTICAL_MAX = 3
TOTAL_MAX = 8
UNREACHABLE_MAX = 3
FIRST_DELAY_S = 3
DELAY_MAX_S = 60
BLOCKED = ":blocked"
"""A fingerprint of a failure that ends so is one of authentication or of the host key: trying again changes nothing."""


@dataclass(frozen=True)
class BootstrapRetry:
    """What to do after a failure: `consecutive` failures were the same one, of `total` in all."""

    decision: Decision
    consecutive: int
    total: int


@dataclass(frozen=True)
class Reachability:
    """What to do after a probe: the host did not answer `unreachable` times in a row."""

    decision: Decision
    unreachable: int


def evaluate_bootstrap_retry(
    fingerprint: str,
    previous: str | None,
    previous_consecutive: int,
    previous_total: int,
    *,
    total_max: int = TOTAL_MAX,
) -> BootstrapRetry:
    """Suspend at once if only a person can help, after 3 failures that are the same, or after `total_max`.

    `fingerprint` stands for the class of a failure; `previous` is that of the one before, None for the first.
    """
    consecutive = previous_consecutive + 1 if fingerprint == previous else 1
    total = previous_total + 1
    hopeless = fingerprint.endswith(BLOCKED) or consecutive >= IDENTICAL_MAX or total >= total_max
    return BootstrapRetry("suspend" if hopeless else "retry", consecutive, total)


def evaluate_reachability(outcome: Outcome, previous_unreachable: int) -> Reachability:
    """Suspend after 3 probes in a row that found nobody; one that could not tell (ProxyCommand) breaks the row."""
    unreachable = previous_unreachable + 1 if outcome == "unreachable" else 0
    return Reachability("suspend" if unreachable >= UNREACHABLE_MAX else "retry", unreachable)


def retry_delay_s(retry: int, *, first_s: float = FIRST_DELAY_S) -> float:
    """Seconds to wait before the `retry`th try (from 1): doubled each time, at most a minute."""
    # 2 ** 16 is far beyond the cap for every first delay that makes sense, and a float holds it.
    return min(DELAY_MAX_S, first_s * 2.0 ** min(max(retry, 1) - 1, 16))
