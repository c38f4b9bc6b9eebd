"""What can go wrong, in words of our error tree."""

from __future__ import annotations

import errno

from jupyter_rmx.errors import ProviderError, UsageError
from jupyter_rmx.providers.base import ProviderSpec, ProviderStatus
from jupyter_rmx.providers.drivers.local import freezing, layout
from jupyter_rmx.providers.drivers.local.launcher import Failure

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


def error_of(failure: Failure) -> ProviderError:
    """The failure in our tree."""
    if failure.errno in _NO_SPACE:
        return disk_full(failure.reason)
    return ProviderError(
        f"The embedded machine did not start: {failure.reason}.",
        hint="Try again; if it persists, run `jupyter rmx doctor` and report what it prints.",
        code="vm_create_failed",
        retryable=True,
        details={"kind": failure.kind},
    )


def disk_full(reason: str = "") -> ProviderError:
    """No space is left for a machine."""
    return ProviderError(
        "There is no space left on the disk for the machine.",
        hint="Free some space, or set JUPYTER_RMX_DATA_DIR to a folder on another disk.",
        code="vm_disk_full",
        retryable=True,
        details={"cause": reason} if reason else None,
    )


def error_of_os(error: OSError, doing: str) -> ProviderError:
    """An error of the operating system in our tree; `doing` completes `could not …`."""
    if error.errno in _NO_SPACE:
        return disk_full(str(error))
    return ProviderError(
        f"The embedded provider could not {doing}: {error.strerror or error}.",
        hint=f"Check {error.filename}." if error.filename else "Try again.",
        code="vm_provider_failed",
    )


def not_running(name: str, status: ProviderStatus) -> ProviderError:
    """It is paused or stopped."""
    again = f"%vm resume {name}, or just using it, "
    return ProviderError(
        f"Machine {name!r} is {status}.",
        hint=again + ("starts it again with its files." if status == "stopped" else "lets it go on."),
        code="vm_not_running",
        status=409,
        details={"status": status},
    )


def gone() -> ProviderError:
    """There is no such machine (any more)."""
    return ProviderError(
        "The embedded machine is gone.",
        hint="Destroy it and create it again.",
        code="vm_not_running",
        status=409,
        details={"status": "gone"},
    )


def no_daemon() -> ProviderError:
    """An attach requires what the embedded machine does not have."""
    return ProviderError(
        "The embedded machine has no daemon; it is reached by SSH.",
        hint="Attach it without requiring one; the terminal works.",
        code="vm_attach_transport_unsupported",
        status=409,
    )


def stuck(name: str, verb: str, error: freezing.StuckError) -> ProviderError:
    """Its processes did not do what the kernel was asked for."""
    return ProviderError(
        f"Could not {verb} machine {name!r}: {error} did not react.",
        hint="Try again; a process that waits for a dead disk or network mount cannot be ended.",
        code=f"vm_{verb}_failed",
        retryable=True,
        details={"pids": error.pids[:20]},
    )


def path_too_long(path: str) -> ProviderError:
    """No short way to its socket can be had on this system."""
    return ProviderError(
        f"The path of the machine's socket is longer than {layout.SOCKET_PATH_MAX} bytes.",
        hint="Set JUPYTER_RMX_DATA_DIR to a folder with a shorter path.",
        code="vm_path_too_long",
        details={"path": path},
    )


def refuse_image(spec: ProviderSpec) -> None:
    """The embedded machine has no images: it is this computer's system."""
    if spec.image not in (None, "", "local"):
        raise UsageError(
            f"The embedded provider has no image {str(spec.image)[:40]!r}.",
            hint="Leave the image out; the machine sees this computer's programs.",
            code="usage_unknown_image",
            details={"field": "image"},
        )
