"""Builds the concrete parts from settings; the only place that constructs them."""

from __future__ import annotations

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.manager import MachineManager, Parts
from jupyter_rmx.models import Endpoint
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.machines import MachineStore
from jupyter_rmx.transports.base import Transport
from jupyter_rmx.transports.pool import TransportPool


async def connect(endpoint: Endpoint, key: str) -> Transport:
    """A live transport; asyncssh is imported by the first one."""
    from jupyter_rmx.transports import ssh

    return await ssh.connect(endpoint, key=key)


def build_manager(settings: Settings, *, origin: str, tickets: Tickets) -> MachineManager:
    """The service of this process; nothing is opened before it is asked for something.

    `origin` is where browsers find this Jupyter, such as `http://localhost:8888`; `tickets` is shared with the gate of
    the alias origin.
    """
    clock = SystemClock()
    store = MachineStore(settings.resolved_database_url)
    registry = ProviderRegistry(settings)
    parts = Parts(
        settings=settings,
        clock=clock,
        store=store,
        registry=registry,
        control=MachineControl(store, registry, settings, clock),
        pool=TransportPool(),
        tickets=tickets,
        connect=connect,
    )
    return MachineManager(parts, origin=origin)
