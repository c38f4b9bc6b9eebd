"""How the rooms of `control` fit together."""

from __future__ import annotations

from jupyter_rmx.clock import Clock
from jupyter_rmx.control.context import Context
from jupyter_rmx.control.credits import CreditGateway
from jupyter_rmx.control.engine import Engine
from jupyter_rmx.control.machines import MachineControl
from jupyter_rmx.control.steps import Probe, no_probe
from jupyter_rmx.providers.registry import Providers
from jupyter_rmx.settings import Settings
from jupyter_rmx.store.store import Store


def build_control(
    store: Store,
    providers: Providers,
    credits: CreditGateway,  # noqa: A002 - what they are
    settings: Settings,
    clock: Clock,
    *,
    probe: Probe = no_probe,
) -> MachineControl:
    """The control plane over these parts; it does no I/O before it is asked for something."""
    engine = Engine(store, clock, probe=probe)
    return MachineControl(Context(store, providers, credits, clock, settings, engine))
