"""When a broken connection is tried again, and when it is parked: decisions only, no waiting and no I/O.

A failure is known by its code. Parked at once is what a second try cannot mend (authentication, host keys: errors that
are not retryable); else after three failures of one code in a row, or after `limit` tries. Use by a person and a change
of the network begin anew (issue "Machines people already have", point 3; vectors errors.json).
"""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_rmx.errors import RmxError, TransportError
from jupyter_rmx.models.connection import ConnectionState

IDENTICAL = 3
"""Failures of one kind in a row after which another try is not worth it."""
LONGEST_DELAY_S = 60.0
STABLE_S = 30.0
"""A connection that lasted less is one more failure, else a server that throws everybody out is asked for ever."""
NEEDS_A_PERSON = frozenset({"ssh_auth_failed", "ssh_host_key_changed", "ssh_needs_answer"})
"""Never tried again by ourselves, whatever the error says of itself: it could lock an account, or ring a phone."""
PASSES = frozenset({"ssh_unknown_host", "ssh_protocol_error"})
"""Not retryable for who asks, but often gone by itself: no DNS just after waking up, a relay in between."""


@dataclass(frozen=True)
class ReconnectRules:
    """`limit`: tries in a row (0: never by itself); `delay_s`: seconds before the first, doubled up to 60."""

    limit: int = 20
    delay_s: float = 2.0

    def delay_before(self, attempt: int) -> float:
        """Seconds before `attempt`, which counts from 1."""
        return min(LONGEST_DELAY_S, self.delay_s * 2.0 ** min(attempt - 1, 16))


class Reconnect:
    """What is known of the failures of one connection that somebody wants kept."""

    def __init__(self, rules: ReconnectRules) -> None:
        self._rules = rules
        self._kind = ""
        self._alike = 0
        self._total = 0

    @property
    def attempt(self) -> int:
        """Number of the next try since the connection was good; 0 if it was not lost."""
        return self._total

    def rearm(self) -> None:
        """A person uses the connection, or the network has changed: forget the failures."""
        self._kind, self._alike, self._total = "", 0, 0

    def lost(self, error: RmxError, lasted_s: float) -> ConnectionState:
        """A connection that was ready for `lasted_s` seconds broke: what now."""
        if lasted_s >= STABLE_S:
            self.rearm()
        return self.failed(error)

    def failed(self, error: RmxError) -> ConnectionState:
        """A try failed: `reconnecting`, with the seconds until the next, or `blocked`."""
        self._alike = self._alike + 1 if error.code == self._kind else 1
        self._kind = error.code
        self._total += 1
        if needs_a_person(error):
            return _blocked(error, error.hint)
        if self._alike >= IDENTICAL or self._total > self._rules.limit:
            return _blocked(error, f"{error.hint} It is tried again when you use the machine.".strip())
        return ConnectionState(
            "reconnecting",
            attempt=self._total,
            next_in_s=self._rules.delay_before(self._total),
            code=error.code,
            reason=error.message,
            hint=error.hint,
        )


def needs_a_person(error: RmxError) -> bool:
    """Whether another try without somebody's help would fail the same way, or do harm."""
    return error.code in NEEDS_A_PERSON or not (error.retryable or error.code in PASSES)


def _blocked(error: RmxError, hint: str) -> ConnectionState:
    return ConnectionState("blocked", code=error.code, reason=error.message, hint=hint)


def parked_error(state: ConnectionState) -> TransportError:
    """What somebody meets who asks for a parked connection without the right to try it again."""
    return TransportError(
        state.reason or "The connection is parked.",
        hint=state.hint or "Use the machine to try again.",
        code=state.code,
        retryable=False,
    )
