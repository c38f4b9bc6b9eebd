"""What may be believed of a provider's answers: a driver is somebody else's code.

Each function is a predicate over an answer of any kind; what is not as it should be is nonsense, and never kept.
"""

from __future__ import annotations

import json

from jupyter_rmx.models import CommandResult, SSHEndpoint, WebSocketEndpoint
from jupyter_rmx.providers.base import ProviderVM

ID_MAX = 256
VERSION_MAX = 128
SECRET_MAX = 64 * 1024
"""Characters of a password or a private key."""
DETAILS_MAX = 64 * 1024
"""Characters of `ProviderVM.details` as JSON."""


def is_text(value: object, longest: int, *, optional: bool = False) -> bool:
    """Text that a database takes: not empty, no NUL, no lone surrogate, not longer than `longest`."""
    if value is None:
        return optional
    if not isinstance(value, str) or not 0 < len(value) <= longest or "\0" in value:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def is_machine(answer: object) -> bool:
    """A machine that can be kept."""
    return (
        isinstance(answer, ProviderVM)
        and is_text(answer.provider_vm_id, ID_MAX)
        and is_text(answer.key, ID_MAX)
        and is_text(answer.name, ID_MAX)
        and is_text(answer.image, ID_MAX, optional=True)
        and is_text(answer.image_version, VERSION_MAX, optional=True)
        and _is_details(answer.details)
    )


def _is_details(details: object) -> bool:
    if not isinstance(details, dict):
        return False
    try:
        text = json.dumps(details, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return len(text) <= DETAILS_MAX and "\\u0000" not in text and "\\ud" not in text.lower()


def is_result(answer: object) -> bool:
    """A command's end: an exit code that is a number, and text."""
    return (
        isinstance(answer, CommandResult)
        and isinstance(answer.exit_code, int)
        and not isinstance(answer.exit_code, bool)
        and isinstance(answer.stdout, str)
        and isinstance(answer.stderr, str)
    )


def is_ssh(answer: object) -> bool:
    """An SSH endpoint that leads somewhere, with something to prove who comes."""
    return (
        isinstance(answer, SSHEndpoint)
        and is_text(answer.username, ID_MAX)
        and (is_text(answer.host, ID_MAX) or is_text(answer.unix_path, 4096))
        and isinstance(answer.port, int)
        and 0 < answer.port < 65536
        and (answer.password is not None or answer.client_key is not None)
        and is_text(answer.password, SECRET_MAX, optional=True)
        and is_text(answer.client_key, SECRET_MAX, optional=True)
        and is_text(answer.identity_handle, ID_MAX, optional=True)
        and (answer.expires_at is None or getattr(answer.expires_at, "tzinfo", None) is not None)
    )


def is_websocket(answer: object) -> bool:
    """A WebSocket endpoint with its token and its end; its daemon, if it has one, is another."""
    return (
        isinstance(answer, WebSocketEndpoint)
        and is_text(answer.url, 4096)
        and is_text(answer.token, 4096)
        and is_text(answer.session_id, VERSION_MAX)
        and getattr(answer.expires_at, "tzinfo", None) is not None
        and (answer.daemon is None or is_websocket(answer.daemon))
    )
