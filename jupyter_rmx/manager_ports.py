"""Ports: links to ports of machines, and the way of the proxy to them."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

from jupyter_rmx.clock import Clock
from jupyter_rmx.errors import LoopbackError, UsageError
from jupyter_rmx.loopback.alias import alias_url, check_front_origin, open_url
from jupyter_rmx.loopback.gate import AliasTarget
from jupyter_rmx.loopback.headers import local_path
from jupyter_rmx.loopback.tickets import TICKET_S, Tickets
from jupyter_rmx.manager_links import Links
from jupyter_rmx.models import Machine, PortLink, TcpTarget, check_port
from jupyter_rmx.settings import Settings
from jupyter_rmx.transports.base import ByteStream

LABEL_MEMORY_S = 2.0
LABELS_MAX = 1000
LABEL_TAIL = len("-3f9a2c41")


class Ports:
    """The ports of one owner's machines."""

    def __init__(self, links: Links, tickets: Tickets, clock: Clock, settings: Settings) -> None:
        self._links = links
        self._tickets = tickets
        self._clock = clock
        self._settings = settings
        self._labels: dict[str, tuple[float, Machine]] = {}
        self._former: dict[str, str] = {}

    async def open(
        self, machine: str, port: int, *, path: str, origin: str, open_id: str | None = None
    ) -> PortLink:
        """See `service.RemoteMachines.open_port`; with `open_id` only the first asker gets a ticket."""
        check_port(port)
        found = await self._links.running(machine, source="port")
        if open_id is not None and not self._tickets.claim(open_id):
            raise LoopbackError(
                "This link opened its tab before.",
                hint="Use its buttons to open the tab again.",
                code="loopback_already_opened",
                status=409,
            )
        domain = self._settings.alias_domain
        origin = check_front_origin(origin, domain)
        path = _check_path(path)
        ticket = self._tickets.mint(found.owner, found.id, found.label, port, path)
        return PortLink(
            machine=found.name,
            machine_id=found.id,
            port=port,
            url=alias_url(found.label, port, path, origin=origin, alias_domain=domain),
            open_url=open_url(found.label, port, path, ticket, origin=origin, alias_domain=domain),
            shown=f"http://localhost:{port}{path}",
            expires_at=self._clock.now() + timedelta(seconds=TICKET_S),
            open_id=self._tickets.new_open(found.id, port),
        )

    async def lookup(self, label: str) -> AliasTarget | None:
        """The machine that an alias label means, for the proxy; remembered for `LABEL_MEMORY_S`."""
        found = await self._machine_of(label)
        return AliasTarget(found.id, found.name, lambda port: self._dial(label, port)) if found else None

    async def _machine_of(self, label: str) -> Machine | None:
        now = self._clock.monotonic()
        known = self._labels.get(label)
        if known is None or now - known[0] > LABEL_MEMORY_S:
            found = await self._find(label)
            if found is None:
                self._labels.pop(label, None)
                return None
            if len(self._labels) >= LABELS_MAX:
                self._labels.clear()
            known = self._labels[label] = (now, found)
        return known[1]

    async def _find(self, label: str) -> Machine | None:
        # A label is made of the name; one lookup by name, however many machines there are.
        found = await self._links.find(self._former.get(label) or label[:-LABEL_TAIL])
        if found is None or (found.label != label and self._former.get(label) != found.id):
            return None
        return found

    async def _dial(self, label: str, port: int) -> ByteStream:
        """A stream to the machine's own loopback port.

        A page that asks again and again must not resume a VM, nor knock at a host that lets nobody in.
        """
        found = await self._machine_of(label)
        if found is None:
            raise LoopbackError(
                "This machine has ended.", hint="Make a new one: %vm create", code="loopback_gone", status=404
            )
        return await (await self._links.to(found, asked=False)).dial(TcpTarget(check_port(port)))

    def renamed(self, before: Machine, after: Machine) -> None:
        """Pages that are open under the former label go on."""
        self._former[before.label] = after.id
        self.forget()

    def forget(self) -> None:
        """Some machine is not as it was."""
        self._labels.clear()


def _check_path(path: str) -> str:
    # A person types `/käse?x=ä`; a URL holds ASCII.
    checked = local_path(quote(path, safe="%/?#[]@!$&'()*+,;=:~-._"))
    if checked is None:
        raise UsageError(
            f"{path[:60]!r} is no path on the port.", hint="It starts with one '/'.", code="usage_bad_path"
        )
    return checked
