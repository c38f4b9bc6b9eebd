"""VMMagics: parse, call one service method, render."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand, output_can_be_silenced

from jupyter_rmx.command_line import Request, parse_line, parse_target
from jupyter_rmx.errors import RemoteCommandError, RmxError, UsageError
from jupyter_rmx.magics import attach
from jupyter_rmx.magics.display import Destroyed, Help, OpenPort, Shown, Uploaded
from jupyter_rmx.magics.failure import tame
from jupyter_rmx.magics.machines import MachineCard, MachineTable
from jupyter_rmx.magics.session import Session
from jupyter_rmx.magics.stream import run_there
from jupyter_rmx.magics.uses import USES
from jupyter_rmx.models import ExecSpec, Exit, VMSpec, check_machine_name, check_port

PYTHON = "exec python3 -u -"


@magics_class
class VMMagics(Magics):
    """`%vm VERB …` and `%%vm [NAME]`."""

    def __init__(self, shell: Any, session: Session) -> None:
        super().__init__(shell=shell)
        self._session = session
        self._verbs: dict[str, Callable[[Request], Shown | None]] = {
            "create": self._create,
            "attach": lambda request: attach.attach(session, request, shell),
            "detach": partial(attach.detach, session),
            "use": partial(attach.use, session),
            "ls": self._ls,
            "exec": self._exec,
            "upload": self._upload,
            "open": self._open,
            "destroy": self._destroy,
            **{name: partial(verb, session) for name, verb in USES.items()},
        }

    @no_var_expand
    @output_can_be_silenced
    @line_cell_magic
    def vm(self, line: str, cell: str | None = None) -> Shown | None:
        """Remote machines.

        `%vm` lists the verbs, `%vm create -h` explains one, and `%%vm NAME` runs the cell on a machine.
        """
        debug = "--debug" in line.partition(" -- ")[0].split()
        try:
            if cell is not None:
                return self._cell(parse_line(line, "cell"), cell)
            request = parse_line(line, "magic")
            if request.help_text:
                return Help(request.help_text)
            return self._verbs[request.verb](request)
        except (RmxError, KeyboardInterrupt) as error:
            tame(error, debug=debug)
            raise

    # -- verbs --------------------------------------------------------------------------------------------------

    def _create(self, request: Request) -> Shown:
        values = request.values
        spec = VMSpec(name=values["name"], provider=values["provider"], image=values["image"])
        if spec.name is not None:
            check_machine_name(spec.name)
        keys = self._session.keys
        vm = self._session.runner.call(
            self._session.service().create(spec, key=keys.of(spec)), "Making the machine"
        )
        keys.made(spec, vm.name, vm.id)
        return MachineCard(vm, self._session.notice_of(vm))

    def _ls(self, _request: Request) -> Shown:
        machines = self._session.runner.call(self._session.service().list())
        self._session.saw(machines)
        return MachineTable(machines, default=self._session.default_machine)

    def _exec(self, request: Request) -> None:
        assert request.tail is not None
        self._run(request, _spec(request.tail, request.values), None)

    def _upload(self, request: Request) -> Shown:
        from jupyter_rmx.uploads import upload_files

        machine = check_machine_name(request.values["machine"])
        work = upload_files(
            self._session.service(), machine, request.values["files"], directory=request.values["to"] or ""
        )
        return Uploaded(machine, self._session.runner.call(work, "The upload"))

    def _open(self, request: Request) -> Shown:
        machine = check_machine_name(request.values["machine"])
        port, path = parse_target(request.values["target"])
        service = self._session.service()
        link = self._session.runner.call(service.open_port(machine, check_port(port), path=path))
        return OpenPort(link, path, service.connection.url)

    def _destroy(self, request: Request) -> Shown:
        names = [check_machine_name(name) for name in dict.fromkeys(request.values["machines"])]
        service = self._session.service()
        for name in names:
            self._session.runner.call(service.destroy(name), f"Destroying {name}")
            self._session.keys.drop(name)
            self._session.forget(name)
        return Destroyed(names)

    # -- cells --------------------------------------------------------------------------------------------------

    def _cell(self, request: Request, body: str) -> Shown | None:
        if request.help_text:
            return Help(request.help_text)
        if not body.strip():
            raise UsageError(
                "The cell has no body.", hint="Write below %%vm what to run there.", code="usage_bad_command"
            )
        values = request.values
        if values["python"]:
            spec = _spec(PYTHON, values, stdin_open=True)
            self._run(request, spec, body.encode("utf-8", "surrogatepass"))
        else:
            self._run(request, _spec(body, values), None)
        return None

    def _run(self, request: Request, spec: ExecSpec, stdin: bytes | None) -> None:
        machine = attach.machine_of(self._session, request)
        end = run_there(
            self._session.runner, self._session.service(), machine, spec, stdin=stdin, write=_write_out
        )
        if not end.ok and not request.values.get("no_raise_error"):
            raise command_failed(machine, end)


def command_failed(machine: str, end: Exit) -> RemoteCommandError:
    """The error of a command that ended with anything but exit code 0."""
    hints = {126: "What it names there is not a program.", 127: "That command is not installed there."}
    hint = hints.get(end.code or 0, "Its output says why.")
    return RemoteCommandError(
        f"The command on {machine} ended with {end}.", exit_code=end.code, signal=end.signal, hint=hint
    )


def _write_out(name: str, text: str) -> None:
    stream = sys.stdout if name == "stdout" else sys.stderr
    stream.write(text)
    stream.flush()


def _spec(command: str, values: Mapping[str, Any], *, stdin_open: bool = False) -> ExecSpec:
    return ExecSpec(command, values["env"], values["cwd"], stdin_open, values["timeout"])
