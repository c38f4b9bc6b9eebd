"""The three ways to set a machine apart, strongest first, and the command line of each.

bubblewrap   own PID space, loopback, hostname, mounts: sees the system read-only and its own home, not the user's
unshare      own PID space, loopback, hostname and /proc; the user's files stay visible
plain        own process tree only: the loopback (so: ports) is shared with this computer
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.providers.drivers.local.layout import MachineDir
from jupyter_rmx.providers.drivers.local.python_home import PythonHome

Method = Literal["bubblewrap", "unshare", "plain"]
METHODS: tuple[Method, ...] = get_args(Method)
FORCE = "JUPYTER_RMX_LOCAL_ISOLATION"
INFO_FD = 3
"""Where the keeper puts the pipe on which bubblewrap names the first process of the machine."""

GUEST = Path(__file__).parent / "guest" / "launch.py"
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "nix", "gnu")
_KEPT = ("TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PLAIN_NOTICE = (
    "This machine is not isolated: its ports are ports of this computer itself, and it sees your files."
)


class Plan(NamedTuple):
    """How to launch one machine: its command line, and its home and socket folder as seen from inside."""

    method: Method
    argv: list[str]
    home: str
    run: str


def methods_to_try() -> tuple[list[Method], list[str]]:
    """`(methods, why others are out)`, strongest first; the variable `JUPYTER_RMX_LOCAL_ISOLATION` forces one."""
    forced = os.environ.get(FORCE, "")
    if forced and forced not in METHODS:
        raise ProviderError(
            f"{FORCE}={forced[:40]!r} is not a way to isolate a machine.",
            hint=f"Set it to one of: {', '.join(METHODS)}; or unset it.",
            code="vm_isolation_unavailable",
        )
    usable: list[Method] = []
    reasons: list[str] = []
    for method in METHODS:
        if forced and method != forced:
            continue
        reason = _missing(method)
        if reason:
            reasons.append(f"{method}: {reason}")
        else:
            usable.append(method)
    return usable, reasons


def _missing(method: Method) -> str:
    if method == "plain":
        return ""
    if not sys.platform.startswith("linux"):
        return "needs Linux"
    program = "bwrap" if method == "bubblewrap" else "unshare"
    return "" if shutil.which(program) else f"{program} is not installed"


def unavailable(reasons: list[str]) -> ProviderError:
    """No allowed method works; `reasons` are `method: why`."""
    install = "Install bubblewrap (apt install bubblewrap, dnf install bubblewrap)"
    return ProviderError(
        f"No machine could be isolated ({'; '.join(reasons)}).",
        hint=f"{install}, or unset {FORCE}." if os.environ.get(FORCE) else f"{install}.",
        code="vm_isolation_unavailable",
        details={"reasons": reasons},
    )


def details_of(method: Method, reasons: list[str]) -> dict[str, object]:
    """What a user is shown of it; `reasons`: why the stronger methods did not serve."""
    details: dict[str, object] = {"isolation": method, "shared_loopback": method == "plain"}
    if method == "plain":
        why = f" ({'; '.join(reasons)})" if reasons else ""
        details["notice"] = f"{_PLAIN_NOTICE}{why}"
    return details


def plan_of(method: Method, where: MachineDir, name: str, python: PythonHome) -> Plan:
    """The command line that launches the machine's guest by that method."""
    guest = [python.executable, "-I", "-S", str(GUEST)]
    if method == "bubblewrap":
        home = _inner_home(python)
        return Plan(method, [*_bubblewrap(where, name, python, home), "--", *guest], home, "/run/rmx")
    argv = [*_unshare(), *guest] if method == "unshare" else guest
    return Plan(method, argv, str(where.home), str(where.run))


def _unshare() -> list[str]:
    program = shutil.which("unshare") or "unshare"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    spaces = ["--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "--kill-child"]
    return [program, *user, *spaces, "--"]


def _inner_home(python: PythonHome) -> str:
    """`/home/rmx`, or another place if the interpreter itself lives below that."""
    taken = any(_within(Path(path), Path("/home/rmx")) for path in python.binds)
    return "/home/rmx-machine" if taken else "/home/rmx"


def _within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _bubblewrap(where: MachineDir, name: str, python: PythonHome, home: str) -> list[str]:
    """Own everything; a fresh root with the system read-only. Later mounts lie above earlier ones."""
    argv = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--hostname", name, "--info-fd", str(INFO_FD)]
    argv += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/var/tmp"]  # noqa: S108 (inside)
    shown: list[Path] = []
    for part in _SYSTEM:
        path = Path("/", part)
        if path.is_symlink():
            argv += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            argv += ["--ro-bind", str(path), str(path)]
            shown.append(path)
    argv += ["--ro-bind-try", "/sys/devices/system", "/sys/devices/system"]
    hidden = [place for place in _private_places() if any(_within(place, path) for path in shown)]
    for place in hidden:
        argv += ["--tmpfs", str(place)]
    for text in python.binds:
        covered = any(_within(Path(text), path) for path in shown)
        if not covered or any(_within(Path(text), place) for place in hidden):
            argv += ["--ro-bind", text, text]
            shown.append(Path(text))
    machines = where.path.parent
    if any(_within(machines, path) for path in shown):
        argv += [
            "--tmpfs",
            str(machines),
        ]  # other machines' keys must not be seen through a folder that is shown
    if Path("/etc/hosts").is_file():
        argv += ["--ro-bind", str(where.hosts), "/etc/hosts"]
    argv += ["--bind", str(where.home), home, "--bind", str(where.run), "/run/rmx", "--chdir", home]
    return argv


def _private_places() -> list[Path]:
    """The user's real home, where it could be seen through a system folder (as a home below /opt)."""
    places = {Path.home().absolute()}
    return [place for place in places if place.is_dir() and place != Path("/")]


def environment(marker: str, plan: Plan, python: PythonHome) -> dict[str, str]:
    """The machine's environment: made anew, so that no secret of Jupyter's own leaks into it."""
    name, _, value = marker.partition("=")
    user = "root" if os.geteuid() == 0 or plan.method == "unshare" else _user_name()
    env = {
        "HOME": plan.home,
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh",
        "PATH": f"{python.bin_dir}:{_SYSTEM_PATH}",
        "LANG": "C.UTF-8",
        name: value,
    }
    return env | kept_environment()


def kept_environment() -> dict[str, str]:
    """What of Jupyter's own environment a machine and its keeper need: the time zone, and where libraries are."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # no passwd entry, as in some containers
        return "rmx"
