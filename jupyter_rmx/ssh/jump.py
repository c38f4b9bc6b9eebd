"""ProxyJump: `[user@]host[:port]` or `ssh://…`, several by comma, first hop first (ssh_config(5))."""

from __future__ import annotations

from dataclasses import replace

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.ssh.destination import Destination, bad_target, parse_destination


def parse_jump_chain(spec: str) -> tuple[Destination, ...]:
    """All hops, the one that is dialled first in front; empty for `none`. UsageError `usage_bad_target` if bad."""
    spec = spec.strip()
    if spec.lower() == "none":
        return ()
    if "#" in spec:  # ssh takes it for a comment and would go elsewhere
        raise bad_target("A jump host cannot hold a '#'.")
    hops = spec.split(",")
    if not all(hop.strip() for hop in hops):
        raise bad_target("A jump host is missing.", "Jump hosts are written as in: -J me@bastion:2200,inner")
    return tuple(parse_destination(hop, port_may_follow=True) for hop in hops)


def parse_jump_spec(spec: str) -> Destination | None:
    """The first hop, which is what can be dialled from here; None if there is none or the text is none."""
    try:
        return next(iter(parse_jump_chain(spec)), None)
    except UsageError:
        return None


def hop_target(hop: Destination, target: SSHTarget) -> SSHTarget:
    """A hop as a target of its own, asked about with `ssh -G`.

    As in ssh, only the configuration file is taken over from the target behind it: its keys, options and flags are
    not (ssh.c builds `ssh [-l user] [-p port] [-F config] -W … host`).
    """
    fresh = SSHTarget(destination=str(hop), port=hop.port)
    return replace(fresh, config_file=target.config_file)
