"""`%vm attach`, `%vm detach`, `%vm use`, and which machine is meant where none is named."""

from __future__ import annotations

from typing import Any

from jupyter_rmx.command_line import Request
from jupyter_rmx.errors import UsageError
from jupyter_rmx.magics.ask import answer_all
from jupyter_rmx.magics.display import Detached, Shown
from jupyter_rmx.magics.machines import DefaultCard
from jupyter_rmx.magics.session import Session
from jupyter_rmx.models import VM, Machine, check_machine_name


def machine_of(session: Session, request: Request) -> str:
    """The machine that the user named, else the default one; UsageError `usage_no_machine` if there is none."""
    name = request.values["machine"]
    if name is not None:
        return check_machine_name(name)
    if session.default_machine is None:
        raise UsageError(
            "No machine is named, and there is no default one.",
            hint="Name one, as in %%vm demo, or choose one for this notebook: %vm use NAME. Yours are in: %vm ls",
            code="usage_no_machine",
        )
    return session.default_machine


def attach(session: Session, request: Request, shell: Any) -> Shown:
    """`%vm attach TARGET`."""
    values = request.values
    name = check_machine_name(values["name"]) if values["name"] is not None else None
    work = session.service().attach(
        values["target"], name=name, startup=values["startup"], force_ssh=values["ssh"]
    )
    attached = answer_all(session, session.runner.call(work, "Attaching the machine"), shell)
    return _made_default(session, attached.machine)


def use(session: Session, request: Request) -> Shown:
    """`%vm use NAME`."""
    name = check_machine_name(request.values["machine"])
    return _made_default(session, session.runner.call(session.service().get(name)))


def _made_default(session: Session, machine: Machine) -> Shown:
    session.default_machine = machine.name
    notice = session.notice_of(machine) if isinstance(machine, VM) else ""
    return DefaultCard(machine, notice)


def detach(session: Session, request: Request) -> Shown:
    """`%vm detach NAME`."""
    name = check_machine_name(request.values["machine"])
    session.runner.call(session.service().detach(name), f"Detaching {name}")
    session.forget(name)
    return Detached(name)
