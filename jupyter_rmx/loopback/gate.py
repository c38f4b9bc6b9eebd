"""Who comes through: every request head on an alias host is judged here before anything is dialled.

Order: the host names a machine of this owner; the request does not come from a stranger's page; it carries a grant
for exactly this port. What lies under `/__rmx__/` is ours and is answered here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from jupyter_rmx.errors import RmxError
from jupyter_rmx.loopback import pages
from jupyter_rmx.loopback.headers import (
    RESERVED,
    Front,
    Headers,
    cookies,
    first,
    is_websocket,
    local_path,
    origin_allowed,
    referred_by_machine,
    values,
)
from jupyter_rmx.loopback.pages import Answer
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.transports.base import ByteStream

Dial = Callable[[int], Awaitable[ByteStream]]

_FRAMES = frozenset({b"", b"document", b"iframe", b"frame"})


@dataclass(frozen=True)
class AliasTarget:
    """A machine behind a label. `dial(port)` connects to its loopback port.

    `dial` raises TransportError `ssh_port_refused` if nothing listens there, another RmxError if the machine cannot be
    reached.
    """

    machine_id: str
    name: str
    dial: Dial


class AliasDirectory(Protocol):
    """Finds the machine of this server's owner that a label means."""

    async def lookup(self, label: str) -> AliasTarget | None:
        """The machine, or None if no machine of the owner has that label."""
        ...


@dataclass(frozen=True)
class Head:
    """The head of one request, as received."""

    method: bytes
    target: bytes
    headers: Headers

    @property
    def is_navigation(self) -> bool:
        """True if a person will read the answer in a tab or a frame."""
        mode = first(self.headers, b"sec-fetch-mode")
        if mode:
            return mode == b"navigate"
        return b"text/html" in first(self.headers, b"accept").lower()

    @property
    def host(self) -> str:
        """The `Host` header, with which the alias is found."""
        return first(self.headers, b"host").decode("latin-1")


@dataclass(frozen=True)
class Forward:
    """The request may go to the app."""

    front: Front
    target: AliasTarget
    upgrade: bool

    @property
    def port(self) -> int:
        """The loopback port on the machine."""
        return self.front.alias.port


class Gate:
    """The judge of one server."""

    def __init__(self, *, alias_domain: str, directory: AliasDirectory, tickets: Tickets) -> None:
        self._alias_domain = alias_domain
        self._directory = directory
        self._tickets = tickets

    async def check(self, head: Head) -> Answer | Forward:
        """What becomes of a request."""
        if not head.target.startswith(b"/") and (head.method, head.target) != (b"OPTIONS", b"*"):
            return pages.json_answer(
                400, "loopback_bad_target", "Only a path can be asked for here.", close=True
            )
        front = Front.of_host(head.host, self._alias_domain)
        target = await self._directory.lookup(front.alias.machine) if front is not None else None
        if front is None or target is None:
            return self._gone(head, front)
        if not _comes_from_this_machine(head, front):
            return pages.json_answer(
                403, "loopback_cross_origin", "Another site's page may not reach this app.", close=True
            )
        if head.target.startswith(RESERVED.encode()):
            return await self._own(head, front, target)
        if not self._granted(head, front, target):
            return self._run_out(head, front, target)
        return Forward(front, target, is_websocket(head.headers))

    async def _own(self, head: Head, front: Front, target: AliasTarget) -> Answer:
        """What lies under the reserved prefix."""
        path = head.target.partition(b"?")[0].decode("latin-1")
        if head.method in {b"GET", b"HEAD"}:
            if path == RESERVED + "open":
                return self._open(head, front, target)
            if path == RESERVED + "status":
                return await self._status(head, front, target)
        return pages.json_answer(404, "loopback_not_found", "There is nothing here.")

    def _open(self, head: Head, front: Front, target: AliasTarget) -> Answer:
        """Turn a ticket into a cookie. An open tab that is loaded again has its cookie, and needs no ticket."""
        query = parse_qs(urlsplit(head.target.decode("latin-1")).query)
        ticket, path = (query.get(name, [""])[0] for name in ("ticket", "path"))
        if head.method == b"GET":
            redeemed = self._tickets.redeem(ticket, machine_id=target.machine_id, port=front.alias.port)
            if redeemed is not None:
                return pages.redirect_answer(
                    local_path(redeemed.path) or "/", self._set_cookie(redeemed.cookie)
                )
        if self._granted(head, front, target):
            return pages.redirect_answer(local_path(path) or "/", None)
        return self._run_out(head, front, target)

    async def _status(self, head: Head, front: Front, target: AliasTarget) -> Answer:
        if not self._granted(head, front, target):
            return self._run_out(head, front, target)
        try:
            stream = await target.dial(front.alias.port)
        except RmxError:
            return pages.status_answer(False)
        await stream.aclose()
        return pages.status_answer(True)

    def _granted(self, head: Head, front: Front, target: AliasTarget) -> bool:
        return any(
            self._tickets.check(cookie.decode("latin-1"), machine_id=target.machine_id, port=front.alias.port)
            for cookie in cookies(head.headers, self._tickets.cookie_name.encode())
        )

    def _set_cookie(self, secret: str) -> str:
        attributes = "Path=/; HttpOnly; Secure; SameSite=None; Partitioned"
        return f"{self._tickets.cookie_name}={secret}; {attributes}"

    @staticmethod
    def _gone(head: Head, front: Front | None) -> Answer:
        if head.is_navigation:
            return pages.gone_page(front)
        return pages.json_answer(404, "loopback_unknown_alias", "No machine answers at this address.")

    @staticmethod
    def _run_out(head: Head, front: Front, target: AliasTarget) -> Answer:
        port = front.alias.port
        if head.is_navigation:
            return pages.run_out_page(front, port, target.name)
        return pages.json_answer(
            403, "loopback_no_grant", "This link has run out.", hint=f"%vm open {target.name} {port}"
        )


def _comes_from_this_machine(head: Head, front: Front) -> bool:
    """False if a page of another site, or of another machine, is behind the request.

    `Origin` is believed first; then fetch metadata, which only browsers send and pages cannot forge. A stranger's page
    may only lead here (a link, a frame), never send or read.
    """
    origins = values(head.headers, b"origin")
    if any(not origin_allowed(origin, front) for origin in origins):
        return False
    site = first(head.headers, b"sec-fetch-site")
    if site == b"same-site" and (front.is_own_site or origins or referred_by_machine(head.headers, front)):
        return True
    if site not in {b"cross-site", b"same-site"}:
        return True
    leads_here = (
        first(head.headers, b"sec-fetch-mode") == b"navigate"
        and first(head.headers, b"sec-fetch-dest") in _FRAMES
    )
    return leads_here and head.method in {b"GET", b"HEAD"} and not is_websocket(head.headers)
