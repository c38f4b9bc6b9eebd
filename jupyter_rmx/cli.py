"""`jupyter rmx VERB …`: the verbs of `%vm` in a terminal or a script.

Exit codes: 0; 1 for an error; 2 for a mistake in what was typed; 130 after Ctrl-C; of `exec` the command's own, or 128
and the signal's number. Errors are one line on stderr; with `--json` one JSON document on stdout tells all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from jupyter_rmx.background import BEAT_S, ServerUse, use_server
from jupyter_rmx.cli_attach import GivenUp, attach
from jupyter_rmx.cli_exec import run_command
from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.command_line import Request, parse_argv, parse_target
from jupyter_rmx.errors import RmxError, UsageError
from jupyter_rmx.models import ExecSpec, Exit, Machine, PortLink, VMSpec, check_machine_name, check_port
from jupyter_rmx.uploads import upload_files
from jupyter_rmx.wording import kind_of, line_of, reason_of, status_of, table_of, where_of

INTERRUPTED = 128 + signal.SIGINT


def main(argv: Sequence[str] | None = None) -> None:
    """The console entry point `jupyter-rmx`, which is `jupyter rmx`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["serve"] and not {"-h", "--help"} & set(words):
        from jupyter_rmx.server.extension import serve

        serve(words[1:])
        return
    sys.exit(_run(words))


def _run(words: list[str]) -> int:
    try:
        return _do(parse_argv(words, "cli"))
    except RmxError as error:
        _tell(error, as_json="--json" in words)
        return 2 if isinstance(error, UsageError) else 1
    except GivenUp as stop:
        print(f"\n{stop}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is no one to tell
        return 1


def _tell(error: RmxError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(error.to_wire()))
    else:
        print(f"error: {' '.join(_for_terminals(str(error)).split())}", file=sys.stderr)


def _for_terminals(text: str) -> str:
    """The service's hints speak of magics, which is where most of its users are."""
    return text.replace("%vm ", "jupyter rmx ")


def _do(request: Request) -> int:
    if request.help_text:
        print(request.help_text)
        return 0
    use = use_server(lambda line: print(line, file=sys.stderr))
    try:
        return asyncio.run(_with_client(request, use))
    finally:
        use.release()


async def _with_client(request: Request, use: ServerUse) -> int:
    client = HttpRemoteMachines(use.connection)
    beats = asyncio.ensure_future(_beat(client)) if use.needs_beats else None
    try:
        code = await _VERBS[request.verb](client, request)
        if request.verb == "open" and beats is not None:
            print("The link works while this command runs; Ctrl-C ends it.", file=sys.stderr)
            await beats
        return code
    finally:
        if beats is not None:
            beats.cancel()
        await client.aclose()


async def _beat(client: HttpRemoteMachines) -> None:
    """Keep a background server from ending itself while a long command runs."""
    while True:
        await asyncio.sleep(BEAT_S)
        with contextlib.suppress(RmxError):  # a server that is gone is told by the command itself
            await client.healthz()


def _answer(request: Request, wire: dict[str, Any], text: str) -> int:
    """Print the one document, or the text; flushed, since the process may wait afterwards."""
    print(json.dumps(wire) if request.values["json"] else text, flush=True)
    return 0


# -- verbs ------------------------------------------------------------------------------------------------------


async def _create(client: HttpRemoteMachines, request: Request) -> int:
    values = request.values
    spec = VMSpec(name=values["name"], provider=values["provider"], image=values["image"])
    vm = await client.create(spec, key=secrets.token_hex(16))
    if vm.details.get("notice"):
        print(vm.details["notice"], file=sys.stderr)
    return _show(request, vm)


def _show(request: Request, machine: Machine, *steps: str) -> int:
    said = [line_of(machine), reason_of(machine)]
    if status_of(machine) == "paused":
        said.append(f"It goes on when it is used, or with: jupyter rmx resume {machine.name}")
    return _answer(request, machine.to_wire(), _for_terminals("\n".join(filter(None, [*said, *steps]))))


async def _attach(client: HttpRemoteMachines, request: Request) -> int:
    values = request.values
    if values["name"] is not None:
        check_machine_name(values["name"])
    attached = await attach(
        client, values["target"], name=values["name"], startup=values["startup"], force_ssh=values["ssh"]
    )
    name = attached.machine.name
    return _show(
        request,
        attached.machine,
        f"Run a command there: jupyter rmx exec {name} -- uname -a",
        f"Show a port of it: jupyter rmx open {name} 8000",
        f"Give it another name: jupyter rmx rename {name} NEW",
    )


async def _detach(client: HttpRemoteMachines, request: Request) -> int:
    name = _name(request)
    await client.detach(name)
    return _answer(request, {"detached": name}, f"Detached: {name}")


def _name(request: Request) -> str:
    return check_machine_name(request.values["machine"])


async def _info(client: HttpRemoteMachines, request: Request) -> int:
    return _show(request, await client.get(_name(request)))


async def _pause(client: HttpRemoteMachines, request: Request) -> int:
    return _show(request, await client.pause(_name(request)))


async def _resume(client: HttpRemoteMachines, request: Request) -> int:
    return _show(request, await client.resume(_name(request)))


async def _rename(client: HttpRemoteMachines, request: Request) -> int:
    return _show(request, await client.rename(_name(request), check_machine_name(request.values["new"])))


async def _snapshot(client: HttpRemoteMachines, request: Request) -> int:
    kept = await client.snapshot(_name(request), request.values["label"])
    said = f"{kept.id}\nStart from it: jupyter rmx restore {kept.id}"
    return _answer(request, kept.to_wire(), said)


async def _restore(client: HttpRemoteMachines, request: Request) -> int:
    name, key = request.values["name"], secrets.token_hex(16)
    return _show(request, await client.restore(request.values["snapshot"], name=name, key=key))


async def _fork(client: HttpRemoteMachines, request: Request) -> int:
    name, key = request.values["name"], secrets.token_hex(16)
    return _show(request, await client.fork(_name(request), name=name, key=key))


async def _ls(client: HttpRemoteMachines, request: Request) -> int:
    machines = await client.list()
    return _answer(request, {"machines": [vm.to_wire() for vm in machines]}, _table(machines))


def _table(machines: Sequence[Machine]) -> str:
    if not machines:
        return (
            "No machines yet. Make one: jupyter rmx create demo, "
            "or attach a host of yours: jupyter rmx attach me@host"
        )
    rows: list[tuple[str, ...]] = [("NAME", "STATUS", "KIND", "WHERE", "CREATED")]
    for one in machines:
        made = f"{one.created_at.astimezone():%Y-%m-%d %H:%M}"
        rows.append((one.name, status_of(one), kind_of(one), where_of(one), made))
    reasons = [f"{one.name}: {reason_of(one)}" for one in machines if reason_of(one)]
    return _for_terminals("\n".join([*table_of(rows), *reasons]))


async def _exec(client: HttpRemoteMachines, request: Request) -> int:
    values = request.values
    spec = ExecSpec(request.tail or "", values["env"], values["cwd"], timeout_s=values["timeout"])
    ran = await run_command(client, check_machine_name(values["machine"]), spec, keep=values["json"])
    if values["json"]:
        print(
            json.dumps(
                {
                    "exit_code": ran.end.code,
                    "signal": ran.end.signal,
                    "stdout": ran.kept["stdout"].decode("utf-8", "replace"),
                    "stderr": ran.kept["stderr"].decode("utf-8", "replace"),
                }
            )
        )
    return INTERRUPTED if ran.interrupted else exit_status(ran.end)


def exit_status(end: Exit) -> int:
    """A process's exit status as a shell has it: the code, or 128 and the signal's number."""
    if end.code is not None:
        return end.code
    number = getattr(signal, f"SIG{end.signal}", None)
    return 128 + int(number) if number is not None else 1


async def _upload(client: HttpRemoteMachines, request: Request) -> int:
    values = request.values
    machine = check_machine_name(values["machine"])
    files = await upload_files(client, machine, values["files"], directory=values["to"] or "")
    text = "\n".join(f"{file.remote_path} on {machine} ({file.size} bytes)" for file in files)
    return _answer(request, {"files": [file.to_wire() for file in files]}, text)


async def _open(client: HttpRemoteMachines, request: Request) -> int:
    port, path = parse_target(request.values["target"])
    machine = check_machine_name(request.values["machine"])
    link = await client.open_port(machine, check_port(port), path=path)
    return _answer(
        request,
        _without_ids(link),
        f"{link.open_url}\nopens {link.shown} of {machine}; once, within a minute",
    )


def _without_ids(link: PortLink) -> dict[str, Any]:
    wire = link.to_wire()
    del wire["open_id"]  # is for a JupyterLab window
    return wire


async def _destroy(client: HttpRemoteMachines, request: Request) -> int:
    names = [check_machine_name(name) for name in dict.fromkeys(request.values["machines"])]
    for name in names:
        await client.destroy(name)
    return _answer(request, {"destroyed": names}, f"Destroyed: {', '.join(names)}")


_VERBS: dict[str, Callable[[HttpRemoteMachines, Request], Awaitable[int]]] = {
    "create": _create,
    "ls": _ls,
    "attach": _attach,
    "detach": _detach,
    "exec": _exec,
    "upload": _upload,
    "open": _open,
    "destroy": _destroy,
    "info": _info,
    "pause": _pause,
    "resume": _resume,
    "rename": _rename,
    "snapshot": _snapshot,
    "restore": _restore,
    "fork": _fork,
}

if __name__ == "__main__":
    main()
