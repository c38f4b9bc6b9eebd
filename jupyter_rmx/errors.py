"""The one error tree.

Every error that a user can meet carries `code` (stable, on the wire), `hint` (what the user can do), an HTTP
`status`, and `retryable` (can the same call succeed later?). A foreign exception is mapped in the one file that
owns its library.

    RmxError
    ├── UsageError            the request itself is wrong
    ├── ProviderError         a machine could not be made, found or ended
    ├── TransportError        a machine could not be reached
    ├── TransferError         a file could not be moved
    ├── LoopbackError         a port could not be shown
    ├── StoreError            our own memory failed
    ├── WorkflowError         a request met a machine in the wrong state
    └── RemoteCommandError    a command ran there and failed
"""

from __future__ import annotations

from typing import Any


class RmxError(Exception):
    """Base of all errors of jupyter_rmx.

    `message` is one line for a person; `hint` says what to do next; `details` is JSON-able and free of secrets.
    """

    code = "internal_error"
    status = 500
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        """The message, with the hint where there is one."""
        return f"{self.message} {self.hint}".strip()

    def to_wire(self, request_id: str = "") -> dict[str, Any]:
        """The error envelope of the REST interface (design.md § 4); the numbers of a limit stand on top, too."""
        return {name: self.details[name] for name in ("limit", "amount") if name in self.details} | {
            "error": self.code,
            "message": self.message,
            "reason": self.message,
            "action": self.hint,
            "details": self.details,
            "retryable": self.retryable,
            "request_id": request_id,
            "class": next(kind.__name__ for kind in type(self).__mro__ if kind.__name__ in _CLASSES),
        }


class UsageError(RmxError):
    """The request itself is wrong: a bad name, port, option or path."""

    code = "usage_invalid"
    status = 400


class ProviderError(RmxError):
    """A provider could not make, find or end a machine."""

    code = "vm_cloud_service_unavailable"
    status = 502


class TransportError(RmxError):
    """A machine could not be reached, or the link to it broke."""

    code = "ssh_unreachable"
    status = 502
    retryable = True


class TransferError(RmxError):
    """A file could not be moved."""

    code = "transfer_failed"
    status = 422


class LoopbackError(RmxError):
    """A port of a machine could not be shown."""

    code = "loopback_failed"
    status = 502


class StoreError(RmxError):
    """Our own memory of the machines failed."""

    code = "store_unavailable"
    status = 503
    retryable = True


class WorkflowError(RmxError):
    """The request met a machine in the wrong state."""

    code = "vm_conflict"
    status = 409


class RemoteCommandError(RmxError):
    """A command ran on the machine and ended with an exit code other than 0, or by a signal."""

    code = "vm_command_failed"
    status = 422

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        signal: str | None = None,
        hint: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.exit_code = exit_code
        self.signal = signal


TREE: tuple[type[RmxError], ...] = (
    UsageError,
    ProviderError,
    TransportError,
    TransferError,
    LoopbackError,
    StoreError,
    WorkflowError,
)

_ALL: tuple[type[RmxError], ...] = (RmxError, *TREE, RemoteCommandError)
_CLASSES: dict[str, type[RmxError]] = {kind.__name__: kind for kind in _ALL}

# For envelopes of older servers and records, which do not say their class.
_CLASS_OF_AREA: dict[str, type[RmxError]] = {
    "usage": UsageError,
    "vm": WorkflowError,
    "ssh": TransportError,
    "transfer": TransferError,
    "loopback": LoopbackError,
    "store": StoreError,
}


def from_wire(envelope: dict[str, Any], status: int) -> RmxError:
    """Turn a REST error envelope back into an error of this tree, for the HTTP twin of the service."""
    code = str(envelope.get("error") or RmxError.code)
    area = code.split("_", 1)[0]
    kind = _CLASSES.get(str(envelope.get("class")), _CLASS_OF_AREA.get(area, RmxError))
    if "class" not in envelope and code == ProviderError.code:
        kind = ProviderError
    details = envelope.get("details")
    message = str(envelope.get("message") or f"The server answered {status}.")
    hint = str(envelope.get("action") or "")
    details = details if isinstance(details, dict) else {}
    if kind is RemoteCommandError:
        return RemoteCommandError(message, hint=hint, details=details)
    return kind(
        message,
        hint=hint,
        code=code,
        status=status,
        retryable=bool(envelope.get("retryable", False)),
        details=details,
    )
