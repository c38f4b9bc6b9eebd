"""What requests to `vms` and its like carry: which code, which field, in which order.

Source: shared/reference/cloud-control-behaviour.md, § 1.2 to 1.10.
"""

from __future__ import annotations

import math
import re
from typing import Any

from jupyter_rmx.errors import UsageError, WorkflowError
from jupyter_rmx.models import check_idempotency_key, check_port
from jupyter_rmx.server.base import RmxAPIHandler, json_object, json_value
from jupyter_rmx.service import PAGE_LIMIT

KEY_HEADERS = ("Idempotency-Key", "X-RMX-Idempotency-Key")
TEAM_HEADER = "X-RMX-Team-Id"
TEAM_FIELDS = ("billing_team_id", "team_id")
"""In the order in which they count, in a body and in a query."""
TIMEOUT_MS = 30_000
TIMEOUT_MAX_MS = 900_000
SESSION_ID = r"[A-Za-z0-9._:\-]{1,128}"
SNAPSHOT_NAME_MAX = 200
IMAGE_MAX = 256
_SESSION_ID = re.compile(SESSION_ID, re.ASCII)


def bad_field(field: str, message: str, code: str = "vm_invalid_request") -> UsageError:
    """A field of a request that cannot be what it is."""
    return UsageError(
        message, hint=f"Look at the field {field!r}, or leave it out.", code=code, details={"field": field}
    )


def text(body: dict[str, Any], field: str) -> str | None:
    """An optional text; None where it is absent or null."""
    value = body.get(field)
    if value is not None and not isinstance(value, str):
        raise bad_field(field, f"The field {field!r} is not a text.")
    return value


class VMRequestHandler(RmxAPIHandler):
    """A handler whose requests are about VMs."""

    def vm_object(self) -> dict[str, Any]:
        """The body as an object; no body at all is an empty one, white space is none."""
        return json_object(self.request.body, area="vm") if self.request.body else {}

    def vm_object_of_use(self) -> dict[str, Any]:
        """The same with the codes of `exec` and `open-port`, where a body must be."""
        value = json_value(self.request.body, code="vm_invalid_json")
        if not isinstance(value, dict):
            raise UsageError(
                "This is not a JSON object.", hint="Send a JSON object.", code="vm_invalid_request"
            )
        return value

    def idempotency_key(self) -> str | None:
        """The key of the first header that has one; UsageError `usage_bad_idempotency_key` if it cannot be one."""
        for header in KEY_HEADERS:
            key = self.request.headers.get(header, "").strip()
            if key:
                return check_idempotency_key(key)
        return None

    def team(self, body: dict[str, Any] | None = None) -> str | None:
        """The team that the request names, if any. `body` None: blank ones count as absent (a list)."""
        given = body or {}
        value = next((given[field] for field in TEAM_FIELDS if given.get(field) is not None), None)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise bad_field("team_id", "A team's id is a text that is not blank.")
        named = [value] if value is not None else []
        named += self.request.headers.get_list(TEAM_HEADER)
        for field in TEAM_FIELDS:
            named += self.get_query_arguments(field)
        if body is not None and any(not team.strip() for team in named):
            raise bad_field("team_id", "A team's id is a text that is not blank.")
        return next((team.strip() for team in named if team.strip()), None)

    def refuse_team(self, team: str | None) -> None:
        """Nobody is in a team yet."""
        if team is not None:
            raise WorkflowError(
                "You are in no team of that id.",
                hint="Leave the team out: the machines are your own.",
                code="vm_billing_team_not_found",
                status=403,
                details={"field": "team_id"},
            )

    def page_limit(self) -> int:
        """`limit` of the query."""
        value = self.get_query_argument("limit", str(PAGE_LIMIT), strip=False)
        if re.fullmatch(r"[1-9][0-9]{0,3}", value, re.ASCII) is None:
            raise bad_field("limit", "The limit is a whole number from 1 to 1000.")
        return int(value)  # above 1000 is the service's to refuse


def timeout_s(body: dict[str, Any]) -> float:
    """`timeout_ms` as seconds: a number above 0, floored and capped; for anything else, 30 s."""
    value = body.get("timeout_ms")
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0 or value == math.inf:
        return TIMEOUT_MS / 1000
    return (min(math.floor(value), TIMEOUT_MAX_MS) or TIMEOUT_MS) / 1000


def command(body: dict[str, Any]) -> str:
    """The command, without white space around it."""
    value = body.get("command")
    if not isinstance(value, str) or not value.strip():
        raise bad_field("command", "There is no command to run.", "vm_invalid_command")
    return value.strip()


def session_name(body: dict[str, Any], field: str) -> str | None:
    """The caller's own name of its session there; None for a new one."""
    value = (text(body, field) or "").strip()
    if value and _SESSION_ID.fullmatch(value) is None:
        raise bad_field(field, f"{field} has 1 to 128 of letters, digits and . _ : -")
    return value or None


def port(body: dict[str, Any]) -> int:
    """The port of an `open-port`."""
    value = body.get("port")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise bad_field("port", "A port is a whole number from 1 to 65535.", "vm_invalid_port")
    return check_port(value)


def image(body: dict[str, Any]) -> str | None:
    """The image; None, where it is blank, is the default one."""
    value = text(body, "image")
    if value is not None and len(value) > IMAGE_MAX:
        raise bad_field("image", f"An image has at most {IMAGE_MAX} characters.")
    return value if value and value.strip() else None


def snapshot_name(body: dict[str, Any]) -> str | None:
    """The name of a copy."""
    name = text(body, "name")
    if name is not None and len(name) > SNAPSHOT_NAME_MAX:
        raise bad_field("name", f"A name has at most {SNAPSHOT_NAME_MAX} characters.")
    return name
