"""Builds the concrete parts from settings; the only place that constructs them."""

from __future__ import annotations

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.control.credits import NoCredits
from jupyter_rmx.control.plane import build_control
from jupyter_rmx.errors import TransportError
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.manager import MachineManager, Parts
from jupyter_rmx.models import Endpoint, SSHEndpoint
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.store import Store
from jupyter_rmx.transports.base import Transport
from jupyter_rmx.transports.pool import TransportPool


async def connect(endpoint: Endpoint, key: str) -> Transport:
    """A live transport; asyncssh is imported by the first one."""
    from jupyter_rmx.transports import ssh

    if not isinstance(endpoint, SSHEndpoint):
        raise TransportError(
            "This machine is reached by a WebSocket, which this version does not speak yet.",
            hint="Use a provider with SSH.",
            code="ssh_no_transport",
            retryable=False,
        )
    return await ssh.connect(endpoint, key=key)


def build_manager(settings: Settings, *, origin: str, tickets: Tickets) -> MachineManager:
    """The service of this process; nothing is opened before it is asked for something.

    `origin` is where browsers find this Jupyter, such as `http://localhost:8888`; `tickets` is shared with the gate of
    the alias origin.
    """
    clock = SystemClock()
    store = Store(settings.resolved_database_url)
    registry = ProviderRegistry(settings)
    parts = Parts(
        settings=settings,
        clock=clock,
        store=store,
        registry=registry,
        control=build_control(store, registry, NoCredits(), settings, clock),
        pool=TransportPool(),
        tickets=tickets,
        connect=connect,
    )
    return MachineManager(parts, origin=origin)
