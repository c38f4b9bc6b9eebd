"""Builds the concrete parts from settings; the only place that constructs them."""

from __future__ import annotations

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.control.credits import NoCredits
from jupyter_rmx.control.plane import build_control
from jupyter_rmx.errors import TransportError
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.manager import MachineManager, Parts
from jupyter_rmx.manager_links import ConnectTarget
from jupyter_rmx.models import Endpoint, SSHEndpoint, SSHTarget
from jupyter_rmx.providers.registry import ProviderRegistry
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.store import Store
from jupyter_rmx.transports.base import Asker, Transport
from jupyter_rmx.transports.pool import TransportPool
from jupyter_rmx.transports.reconnect import ReconnectRules
from jupyter_rmx.transports.ssh_config_files import hosts_of_config
from jupyter_rmx.transports.ssh_resolve import local


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


def target_connector(settings: Settings) -> ConnectTarget:
    """What connects to hosts of the user's own; asyncssh is imported by the first connection."""

    async def connect_to(target: SSHTarget, key: str, asker: Asker | None) -> Transport:
        from jupyter_rmx.transports import ssh_target

        return await ssh_target.connect_target(target, key=key, ask=asker, settings=settings)

    return connect_to


def build_manager(settings: Settings, *, origin: str, tickets: Tickets) -> MachineManager:
    """The service of this process; nothing is opened before it is asked for something.

    `origin` is where browsers find this Jupyter, such as `http://localhost:8888`; `tickets` is shared with the gate of
    the alias origin.
    """
    clock, home = SystemClock(), local().home
    store = Store(settings.resolved_database_url)
    registry = ProviderRegistry(settings)
    parts = Parts(
        settings=settings,
        clock=clock,
        store=store,
        registry=registry,
        control=build_control(store, registry, NoCredits(), settings, clock),
        pool=TransportPool(ReconnectRules(settings.reconnect_limit, settings.reconnect_delay_s)),
        tickets=tickets,
        connect=connect,
        connect_target=target_connector(settings),
        ssh_hosts=lambda: hosts_of_config(home),
        home=home,
    )
    return MachineManager(parts, origin=origin)
