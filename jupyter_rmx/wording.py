"""Machines in words, the same in `%vm` and in the CLI. No I/O."""

from __future__ import annotations

from jupyter_rmx.models import VM, ConnectionState, Machine, SSHTarget


def kind_of(machine: Machine) -> str:
    """What it is: `VM`, or `workspace` for a machine that is reached over SSH."""
    return "VM" if isinstance(machine, VM) else "workspace"


def address_of(target: SSHTarget) -> str:
    """`user@host:port` as people write it: with the port if one was named, IPv6 in brackets if there is one."""
    if target.port is None:
        return target.destination
    user, at, host = target.destination.rpartition("@")
    shown = f"[{host}]" if ":" in host else host
    return f"{user}{at}{shown}:{target.port}"


def where_of(machine: Machine) -> str:
    """Who made it, or where it is."""
    if isinstance(machine, VM):
        return machine.provider
    through = f" through {machine.target.jump_host}" if machine.target.jump_host else ""
    return f"{address_of(machine.target)} over SSH{through}"


def status_of(machine: Machine) -> str:
    """The state of the VM, or of the connection to the workspace."""
    return machine.status if isinstance(machine, VM) else connection_text(machine.connection)


def connection_text(state: ConnectionState) -> str:
    """`ready`, or `reconnecting (attempt 3, next in 4 s)`."""
    if state.status != "reconnecting":
        return state.status
    told = [f"attempt {state.attempt}"] if state.attempt else []
    if state.next_in_s is not None:
        told.append(f"next in {state.next_in_s:.0f} s")
    return f"reconnecting ({', '.join(told)})" if told else state.status


def reason_of(machine: Machine) -> str:
    """Why it is as it is, and what to do, where that is not plain; else nothing."""
    if isinstance(machine, VM):
        return machine.reason or ""
    state = machine.connection
    return " ".join(filter(None, (state.reason, state.hint))) if state.reason else ""


def line_of(machine: Machine) -> str:
    """`demo: running (local)`, `gpu01: ready (me@gpu01 over SSH)`."""
    return f"{machine.name}: {status_of(machine)} ({where_of(machine)})"


def facts_of(machine: Machine) -> list[tuple[str, str]]:
    """What else is known of it: name and value of each fact."""
    known = [("id", machine.id), ("created", f"{machine.created_at.astimezone():%Y-%m-%d %H:%M}")]
    if isinstance(machine, VM):
        known += [
            ("image", " ".join(filter(None, (machine.image, machine.image_version)))),
            ("at its provider", machine.provider_vm_id or ""),
        ]
    else:
        known += [*_target_facts(machine.target), ("its terminals run first", machine.startup or "")]
    return [(name, value) for name, value in known if value]


def _target_facts(target: SSHTarget) -> list[tuple[str, str]]:
    flags = ("use_ipv4", "-4"), ("use_ipv6", "-6"), ("forward_agent", "-A"), ("compression", "-C")
    return [
        ("keys", ", ".join(target.identity_files)),
        ("ssh_config", target.config_file or ""),
        ("options", ", ".join(target.options)),
        ("flags", " ".join(flag for name, flag in flags if getattr(target, name))),
    ]


def table_of(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines whose columns stand under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
