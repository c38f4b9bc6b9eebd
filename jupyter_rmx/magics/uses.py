"""The verbs of `%vm` that change a machine which is there: each calls one service method and shows one line."""

from __future__ import annotations

from collections.abc import Callable

from jupyter_rmx.command_line import Request
from jupyter_rmx.magics.display import Shown, SnapshotKept
from jupyter_rmx.magics.machines import MachineCard
from jupyter_rmx.magics.session import Session
from jupyter_rmx.models import VM, check_machine_name


def name_of(request: Request) -> str:
    """The machine that the user named."""
    return check_machine_name(request.values["machine"])


def pause(session: Session, request: Request) -> Shown:
    """`%vm pause NAME`."""
    name = name_of(request)
    return MachineCard(session.runner.call(session.service().pause(name), f"Pausing {name}"))


def resume(session: Session, request: Request) -> Shown:
    """`%vm resume NAME`."""
    name = name_of(request)
    return MachineCard(session.runner.call(session.service().resume(name), f"Resuming {name}"))


def info(session: Session, request: Request) -> Shown:
    """`%vm info NAME`."""
    return MachineCard(session.runner.call(session.service().get(name_of(request))), full=True)


def rename(session: Session, request: Request) -> Shown:
    """`%vm rename NAME NEW`."""
    name, new = name_of(request), check_machine_name(request.values["new"])
    machine = session.runner.call(session.service().rename(name, new), f"Renaming {name}")
    session.keys.drop(name)
    session.renamed(name, machine.name)
    return MachineCard(machine)


def snapshot(session: Session, request: Request) -> Shown:
    """`%vm snapshot NAME`."""
    name = name_of(request)
    work = session.service().snapshot(name, request.values["label"])
    return SnapshotKept(session.runner.call(work, f"The snapshot of {name}"), name)


def restore(session: Session, request: Request) -> Shown:
    """`%vm restore SNAPSHOT`."""
    new = _new_name(request)
    work = session.service().restore(request.values["snapshot"], name=new, key=session.keys.fresh())
    return _made(session, session.runner.call(work, "Making the machine"))


def fork(session: Session, request: Request) -> Shown:
    """`%vm fork NAME`."""
    new = _new_name(request)
    work = session.service().fork(name_of(request), name=new, key=session.keys.fresh())
    return _made(session, session.runner.call(work, "Making the machine"))


def _new_name(request: Request) -> str | None:
    name = request.values["name"]
    return check_machine_name(name) if name is not None else None


def _made(session: Session, vm: VM) -> Shown:
    return MachineCard(vm, session.notice_of(vm))


USES: dict[str, Callable[[Session, Request], Shown]] = {
    "info": info,
    "pause": pause,
    "resume": resume,
    "rename": rename,
    "snapshot": snapshot,
    "restore": restore,
    "fork": fork,
}
