"""What a target means on this computer: `ssh -G` is asked, and the paths in its answer are made real.

Where OpenSSH is not installed, our own reader of ssh_config answers.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jupyter_rmx.errors import TransportError, UsageError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.ssh.config import Here, evaluate
from jupyter_rmx.ssh.resolved import Resolved, parse_ssh_G
from jupyter_rmx.ssh.tokens import expand_path, path_tokens
from jupyter_rmx.transports.ssh_config_files import ConfigFiles

ASK_SSH_WITHIN_S = 20.0
"""`Match exec` runs commands of the user's; one that hangs must not hang us."""


@dataclass(frozen=True)
class Local:
    """Who and where we are, for the tokens of ssh_config."""

    home: str
    user: str
    host: str
    uid: int
    environ: Mapping[str, str]


def local() -> Local:
    """The user and the computer. Home and name are those of the account, not of the environment, as for ssh."""
    uid = os.getuid()
    try:
        account = pwd.getpwuid(uid)
        home, user = account.pw_dir, account.pw_name
    except KeyError:  # no passwd entry, as in some containers; ssh itself does not run there
        home, user = str(Path.home()), os.environ.get("USER", str(uid))
    return Local(home, user, socket.gethostname(), uid, os.environ)


@dataclass(frozen=True)
class Paths:
    """The files of a connection, ready to be opened; None: there is none. `forwarded_agent`: one named by a path."""

    identities: tuple[str, ...]
    certificates: tuple[str, ...]
    known_hosts: tuple[str, ...]
    user_known_hosts: tuple[str, ...]
    agent: str | None
    forwarded_agent: str | None
    revoked: str | None


def real_paths(resolved: Resolved, here: Local) -> Paths:
    """Tokens, `~` and variables filled in. UsageError `usage_bad_ssh_config` where one means nothing."""
    values = path_tokens(resolved, home=here.home, local_user=here.user, local_host=here.host, uid=here.uid)

    def real(paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            expand_path(path, values, home=here.home, environ=here.environ)
            for path in paths
            if path.lower() != "none"
        )

    def one(path: str | None) -> str | None:
        return next(iter(real((path,))), None) if path else None

    forward = resolved.forward_agent
    user_files = real(resolved.user_known_hosts_files)
    return Paths(
        identities=real(resolved.identity_files),
        certificates=real(resolved.certificate_files),
        known_hosts=user_files + real(resolved.global_known_hosts_files),
        user_known_hosts=user_files,
        agent=_socket(resolved.identity_agent or "SSH_AUTH_SOCK", here, one),
        forwarded_agent=None if forward in {"yes", "no"} else _socket(forward, here, one),
        revoked=one(resolved.revoked_host_keys),
    )


def _socket(written: str, here: Local, real: Callable[[str], str | None]) -> str | None:
    """An agent as ssh_config names it: by a variable, or by a path (`none` has none)."""
    if written == "SSH_AUTH_SOCK":
        return here.environ.get("SSH_AUTH_SOCK") or None
    if written.startswith("$") and not written.startswith("${"):
        return here.environ.get(written[1:]) or None
    return real(written)


async def resolve(target: SSHTarget) -> Resolved:
    """What ssh would do for `target`.

    Raises UsageError `usage_bad_ssh_config` with ssh's own complaint, TransportError `ssh_timeout` where a command of
    the user's `Match exec` does not end.
    """
    program = shutil.which("ssh")
    if program is None:
        return await asyncio.to_thread(_without_ssh, target, local())
    process = await asyncio.create_subprocess_exec(
        program,
        "-G",
        *target.argv(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, complaint = await asyncio.wait_for(process.communicate(), ASK_SSH_WITHIN_S)
    except asyncio.TimeoutError:
        raise TransportError(
            f"Your SSH configuration did not say within {ASK_SSH_WITHIN_S:.0f} s what {target.destination} means.",
            hint=f"A command of `Match exec` may hang: try `ssh -G {target.destination}`.",
            code="ssh_timeout",
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = [line.strip() for line in complaint.decode(errors="replace").splitlines() if line.strip()]
        raise UsageError(
            f"ssh cannot read what {target.destination} means: {lines[0] if lines else 'it gave no reason'}",
            hint="Correct it in your ssh_config.",
            code="usage_bad_ssh_config",
        )
    return parse_ssh_G(out.decode(errors="replace"))


def _without_ssh(target: SSHTarget, here: Local) -> Resolved:
    """Our own reading of the files, where OpenSSH is not installed."""
    files = ConfigFiles(here.home)
    chosen = target.config_file
    texts = files.read() if chosen is None else []
    if chosen is not None and chosen.lower() != "none":
        try:
            texts = [(chosen, Path(chosen).read_text(encoding="utf-8", errors="replace"))]
        except OSError as error:
            raise UsageError(
                f"{chosen} cannot be read: {error.strerror}.",
                hint="Name another file behind -F.",
                code="usage_bad_ssh_config",
            ) from error
    who = Here(here.user, here.home, here.host, here.uid, here.environ)
    return evaluate(texts, target, who, files.include)
