"""Who may open a port: single-use tickets, the grants that they become, and one-time claims to open a tab.

All of it lives in memory: a restart of the server forgets it, and a link is then opened anew. Secrets are kept as
SHA-256 only. The least recently used entries make room once a table is full.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from jupyter_rmx.clock import Clock

TICKET_S = 60.0
GRANT_IDLE_S = 12 * 3600.0
TABLE_LIMIT = 4096

V = TypeVar("V")


@dataclass(frozen=True)
class Grant:
    """One browser's right to one port of one machine."""

    owner: str
    machine_id: str
    label: str
    port: int


@dataclass(frozen=True)
class Redeemed:
    """What a ticket became: the secret of a cookie, and the path that was asked for."""

    cookie: str
    grant: Grant
    path: str

    def __repr__(self) -> str:
        """Without the cookie, which is a secret."""
        return f"Redeemed(grant={self.grant!r}, path={self.path!r})"


class _Table(Generic[V]):
    """Values that die at a time and are bounded in number; the least recently used one goes first."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._rows: OrderedDict[str, tuple[float, V]] = OrderedDict()

    def put(self, key: str, value: V, lifetime_s: float) -> None:
        self._rows[key] = (self._clock.monotonic() + lifetime_s, value)
        self._rows.move_to_end(key)
        while len(self._rows) > self._limit:
            self._rows.popitem(last=False)

    def take(self, key: str) -> V | None:
        """The value, removed; None if there is none or its time is over."""
        row = self._rows.pop(key, None)
        return row[1] if row is not None and self._clock.monotonic() < row[0] else None

    def items(self) -> list[tuple[str, V]]:
        return [(key, value) for key, (_, value) in self._rows.items()]


class Tickets:
    """All tickets, grants and claims of one server."""

    def __init__(self, clock: Clock, *, limit: int = TABLE_LIMIT) -> None:
        # Cookies ignore ports: two servers that show the same alias to one browser must not share a name.
        self.cookie_name = f"__Host-rmx-{secrets.token_hex(4)}"
        self._tickets: _Table[tuple[Grant, str]] = _Table(clock, limit)
        self._grants: _Table[Grant] = _Table(clock, limit)
        self._opens: _Table[Grant] = _Table(clock, limit)

    def mint(self, owner: str, machine_id: str, label: str, port: int, path: str = "/") -> str:
        """A ticket for one port: good once, for `TICKET_S` seconds."""
        secret = secrets.token_urlsafe(32)
        self._tickets.put(_hash(secret), (Grant(owner, machine_id, label, port), path), TICKET_S)
        return secret

    def redeem(self, ticket: str, *, machine_id: str, port: int) -> Redeemed | None:
        """Turn a ticket into a grant; None if it is unknown, used, run out, or for another port.

        A ticket shown at the wrong door is used up, too: it has been seen by someone it was not meant for.
        """
        held = self._tickets.take(_hash(ticket))
        if held is None:
            return None
        grant, path = held
        if (grant.machine_id, grant.port) != (machine_id, port):
            return None
        cookie = secrets.token_urlsafe(32)
        self._grants.put(_hash(cookie), grant, GRANT_IDLE_S)
        return Redeemed(cookie, grant, path)

    def check(self, cookie: str, *, machine_id: str, port: int) -> Grant | None:
        """The grant behind a cookie, if it is for this port; it lives on for `GRANT_IDLE_S` after each use."""
        key = _hash(cookie)
        grant = self._grants.take(key)
        if grant is None:
            return None
        self._grants.put(key, grant, GRANT_IDLE_S)
        return grant if (grant.machine_id, grant.port) == (machine_id, port) else None

    def revoke_machine(self, machine_id: str) -> None:
        """End every ticket, grant and claim of a machine."""
        for key, (grant, _) in self._tickets.items():
            if grant.machine_id == machine_id:
                self._tickets.take(key)
        for table in (self._grants, self._opens):
            for key, grant in table.items():
                if grant.machine_id == machine_id:
                    table.take(key)

    def new_open(self, machine_id: str, port: int) -> str:
        """An id by which one JupyterLab window, once and within `TICKET_S` seconds, may open the tab by itself."""
        open_id = f"open_{secrets.token_hex(8)}"
        self._opens.put(open_id, Grant("", machine_id, "", port), TICKET_S)
        return open_id

    def claim(self, open_id: str) -> bool:
        """True for the first who asks in time, False for everyone after."""
        return self._opens.take(open_id) is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
