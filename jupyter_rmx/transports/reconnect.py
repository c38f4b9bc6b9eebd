"""When a broken connection is tried again, and when it is parked: decisions only, no waiting and no I/O.

A failure is known by its code. Parked at once is what a second try cannot mend (authentication, host keys: errors that
are not retryable); else after three failures of one code in a row, or after `limit` tries. Use by a person and a change
of the network begin anew (issue "Machines people already have", point 3; vectors errors.json).
"""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_rmx.errors import RmxError, TransportError
from jupyter_rmx.models.connection import ConnectionState
from jupyter_rmx.transports.retry import BLOCKED, BootstrapRetry, evaluate_bootstrap_retry, retry_delay_s

STABLE_S = 30.0
"""A connection that lasted less is one more failure, else a server that throws everybody out is asked for ever."""
NEEDS_ANSWER = "ssh_needs_answer"
"""The server asks for a password or an answer, and nobody was there to give it."""
NEEDS_A_PERSON = frozenset({"ssh_auth_failed", "ssh_host_key_changed", NEEDS_ANSWER})
"""Never tried again by ourselves, whatever the error says of itself: it could lock an account, or ring a phone."""
PASSES = frozenset({"ssh_unknown_host", "ssh_protocol_error"})
"""Not retryable for who asks, but often gone by itself: no DNS just after waking up, a relay in between."""


@dataclass(frozen=True)
class ReconnectRules:
    """`limit`: tries in a row (0: never by itself); `delay_s`: seconds before the first, doubled up to 60."""

    limit: int = 20
    delay_s: float = 2.0


class Reconnect:
    """What is known of the failures of one connection that somebody wants kept."""

    def __init__(self, rules: ReconnectRules) -> None:
        self._rules = rules
        self.rearm()

    @property
    def attempt(self) -> int:
        """Number of the next try since the connection was good; 0 if it was not lost."""
        return self._record.total

    def rearm(self) -> None:
        """A person uses the connection, or the network has changed: forget the failures."""
        self._kind: str | None = None
        self._record = BootstrapRetry("retry", 0, 0)

    def lost(self, error: RmxError, lasted_s: float) -> ConnectionState:
        """A connection that was ready for `lasted_s` seconds broke: what now."""
        if lasted_s >= STABLE_S:
            self.rearm()
        return self.failed(error)

    def failed(self, error: RmxError) -> ConnectionState:
        """A try failed: `reconnecting`, with the seconds until the next, or `blocked`."""
        kind = f"{error.code}{BLOCKED}" if needs_a_person(error) else error.code
        before, self._kind = self._kind, kind
        # One more than the tries: the first failure is the loss itself, or what somebody asked for.
        most = self._rules.limit + 1
        self._record = evaluate_bootstrap_retry(
            kind, before, self._record.consecutive, self._record.total, total_max=most
        )
        if self._record.decision == "suspend":
            hint = error.hint
            if not needs_a_person(error):
                hint = f"{hint} It is tried again when you use the machine, or the network changes.".strip()
            return ConnectionState("blocked", code=error.code, reason=error.message, hint=hint)
        return ConnectionState(
            "reconnecting",
            attempt=self.attempt,
            next_in_s=float(retry_delay_s(self.attempt, first_s=self._rules.delay_s)),
            code=error.code,
            reason=error.message,
            hint=error.hint,
        )


def needs_a_person(error: RmxError) -> bool:
    """Whether another try without somebody's help would fail the same way, or do harm."""
    return error.code in NEEDS_A_PERSON or not (error.retryable or error.code in PASSES)


def parked_error(state: ConnectionState) -> TransportError:
    """What somebody meets who asks for a parked connection without the right to try it again."""
    return TransportError(
        state.reason or "The connection is parked.",
        hint=state.hint or "Use the machine to try again.",
        code=state.code,
        retryable=False,
    )
