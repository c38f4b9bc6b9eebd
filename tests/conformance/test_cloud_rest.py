"""The reference's REST interface, base line W: every such row of `rest` in cloud.json is a test of that name here.

A row is sent to a real Jupyter server with our extension and the fake provider; wire names are mapped as the vectors'
README says. Rows that we answer otherwise on purpose stand in DIFFERENCES with what we answer and why; rows on the
reference's own web login are dropped by name (Jupyter's login has its own tests).
"""

import asyncio
import json
import re
from pathlib import Path

import pytest
from tornado.httpclient import HTTPClientError

from jupyter_rmx.control.credits import NoCredits
from jupyter_rmx.errors import StoreError, WorkflowError
from jupyter_rmx.models import VMSpec
from jupyter_rmx.testing.fake_credits import FakeCredits
from jupyter_rmx.testing.fake_entry import FOLDER_VARIABLE, fake_entry_point
from jupyter_rmx.testing.fake_provider import FakeProvider

ROWS = {
    row["id"]: row
    for row in json.loads((Path(__file__).parent / "vectors" / "cloud.json").read_text())["rest"]
    if row["era"].startswith("W")
}

WEB_LOGIN = frozenset(
    {
        "auth-bearer-without-refresh",
        "auth-refresh-without-bearer",
        "csrf-cross-site",
        "csrf-no-origin",
        "csrf-same-origin-ok",
        "csrf-allow-listed",
        "csrf-cross-site-beats-allow-list",
        "csrf-not-for-get",
    }
)

ACCOUNTS = "teams and who pays are the accounts issue; here nobody is in a team"
DIFFERENCES = {
    "create-many-teams-none-selected": (None, ACCOUNTS),
    "create-many-teams-one-paid": (None, ACCOUNTS),
    "create-body-team-beats-header": ({"status": 403, "error": "vm_billing_team_not_found"}, ACCOUNTS),
    "list-team-filter": ({"status": 403, "error": "vm_billing_team_not_found"}, ACCOUNTS),
    "create-key-200-chars": (
        {"status": 400, "error": "usage_bad_idempotency_key"},
        "a key over 128 characters is refused, never cut: cut keys collide",
    ),
    "create-db-down": (
        {"status": 503, "error": "store_unavailable"},
        "the store's own code says what is wrong with it (store_locked, store_disk_full, …)",
    ),
    "attach-requireDaemon-unavailable": (
        {"status": 409, "error": "vm_attach_transport_unsupported"},
        "an image without the daemon is not a failure that a repeat can help",
    ),
    "ssh-e2b": (
        {"status": 501, "error": "vm_unsupported"},
        "an operation that a provider has not is no outage: 501, never retryable",
    ),
    "exec-timeout-0.5": (
        {"status": 200, "provider_timeout_ms": 30000},
        "less than a millisecond is no time-out; the driver's own default is ours",
    ),
}
"""By id: what we answer (None: there is no such state here) and why."""

TESTED = [id_ for id_ in ROWS if id_ not in WEB_LOGIN and (DIFFERENCES.get(id_) or ({},))[0] is not None]
UNCOUNTED = {"heartbeat", "list_owned", "status"}
"""Calls that cost nothing and are made in the background."""
RENAMED = {"idempotencyKeySet": "idempotency_key_set", "vmId": "vm_id", "teamId": "team_id"}


def snake(name):
    return RENAMED.get(name) or re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1].lower(), name)


def ours(value):
    """Wire names of the reference as ours, at any depth."""
    if isinstance(value, dict):
        return {snake(name): ours(inner) for name, inner in value.items()}
    return value


OPERATIONS = {"openAttach": "attach_endpoint", "openSSH": "ssh_endpoint"}
PROVIDERS = {"e2b": "fake", "freestyle": "fake"}
HEADERS = {"X-Cmux-Team-Id": "X-RMX-Team-Id", "x-cmux-idempotency-key": "X-RMX-Idempotency-Key"}


def test_every_row_is_tested_or_a_difference():
    assert len(ROWS) == 89
    assert set(TESTED) | WEB_LOGIN | DIFFERENCES.keys() == set(ROWS)
    assert set(ROWS) >= WEB_LOGIN


@pytest.fixture
def jp_server_config():
    return {"ServerApp": {"jpserver_extensions": {"jupyter_rmx": True}}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the fake provider is found, and keeps its truth."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("JUPYTER_RMX_DEFAULT_PROVIDER", "fake")
    monkeypatch.syspath_prepend(str(fake_entry_point(tmp_path)))
    return tmp_path


@pytest.fixture
def fake(folder):
    made = FakeProvider(folder)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _environment(request, folder, monkeypatch):
    """Switches of the environment that a row gives, before the server starts."""
    row = ROWS.get(request.node.callspec.params["id_"]) if hasattr(request.node, "callspec") else None
    given = (row or {}).get("given", "")
    for name, value in re.findall(r"CMUX_VM_(\w+)=(\w+)", given):
        monkeypatch.setenv(f"JUPYTER_RMX_{name.replace('E2B', 'FAKE')}", value)
    if "CREATE_ENABLED in" in given:
        monkeypatch.setenv("JUPYTER_RMX_CREATE_ENABLED", "Disabled")


def world(given):
    """The fixture of a row's `given`."""
    return GIVEN.get(given)


async def running(plane):
    await plane.control.create(VMSpec("vm1"))


async def destroyed(plane):
    await running(plane)
    await plane.control.destroy("vm1")


async def of_another(plane):
    await running(plane)
    vm = await plane.control.get("vm1")
    async with plane.control.context.store.write() as tx:
        await tx.machines.change(vm.id, values={"owner": "somebody-else"})


async def limit(plane):
    set_settings(plane, max_active_owner=1)
    await running(plane)


async def no_credits(plane):
    paid(plane).set_balance(plane.control.owner, 0)


async def billing_down(plane):
    paid(plane).down()


def paid(plane):
    credits_ = FakeCredits(plane.folder)
    object.__setattr__(plane.control.context, "credits", credits_)
    return credits_


def set_settings(plane, **values):
    for name, value in values.items():
        object.__setattr__(plane.control.context.settings, name, value)


async def provider_down(plane):
    plane.fake.fail_before("create")


async def destroy_fails(plane):
    await running(plane)
    plane.fake.fail_before("destroy", RuntimeError("500"))


async def vanished(plane):
    await running(plane)
    plane.fake.vanish((await plane.control.get("vm1")).provider_vm_id)


async def in_progress(plane):
    plane.fake.hang("create")
    plane.pending = asyncio.ensure_future(plane.control.create(VMSpec(), key="k"))
    while not plane.fake.held("create"):
        await asyncio.sleep(0.01)


async def key_runs(plane):
    plane.first = await plane.control.create(VMSpec(), key="k")


async def strict_images(plane):
    set_settings(plane, allowed_images=frozenset({"known"}))


async def store_down(plane):
    def refuse():
        raise StoreError("The list of machines failed.", hint="Try again.")

    object.__setattr__(plane.control.context.store, "write", refuse)


async def answers_seven(plane):
    from jupyter_rmx.models import CommandResult

    await running(plane)
    plane.fake.script({"exit 7": CommandResult(7, "out", "err")})


async def pty_only(plane):
    await running(plane)
    plane.control.context.gateway("fake").provider._daemon = False


async def no_tcp(plane):
    await running(plane)
    provider = plane.control.context.gateway("fake").provider
    provider.capabilities = provider.capabilities - {"ssh_endpoint"}


async def several(plane):
    """One that failed, one that was destroyed, one that rests, one that runs."""
    plane.fake.fail_before("create")
    for name in ("failed", "gone", "rests", "runs"):
        try:
            await plane.control.create(VMSpec(name))
        except Exception:
            continue
    await plane.control.destroy("gone")
    await plane.use.pause("rests")


GIVEN = {
    "already destroyed": destroyed,
    "owned by another user": of_another,
    "other user": of_another,
    "free plan (max 1), one running VM confirmed running": limit,
    "no credits left": no_credits,
    "credit item configured, billing service unreachable": billing_down,
    "provider create throws": provider_down,
    "provider says not found": vanished,
    "provider 500": destroy_fails,
    "row for k is provisioning": in_progress,
    "row for k is running": key_runs,
    "deployed runtime, strict manifest": strict_images,
    "deployed runtime, no image env": strict_images,
    "reserve transaction fails": store_down,
    "provider returns 7": answers_seven,
    "image exposes only the PTY socket": pty_only,
    "e2b VM (no raw TCP)": no_tcp,
}


class Plane:
    """The control plane inside the running server."""

    def __init__(self, manager, fake, folder):
        self.control, self.fake, self.folder = manager._parts.control, fake, folder
        self.use = manager._use
        self.pending = self.first = None


@pytest.fixture
def plane(jp_serverapp, jp_asyncio_loop, fake, folder):
    manager = jp_serverapp.extension_manager.extension_points["jupyter_rmx"].app.manager()
    jp_asyncio_loop.run_until_complete(manager.ready())
    made = Plane(manager, fake, folder)
    yield made
    fake.behave()
    if made.pending is not None:
        jp_asyncio_loop.run_until_complete(asyncio.gather(made.pending, return_exceptions=True))


@pytest.fixture
def send(jp_fetch, http_server_client, jp_base_url):
    """Sends a row: (status, JSON)."""

    async def call(row):
        path, _, query = row["path"].removeprefix("/api/vm").partition("?")
        headers = {HEADERS.get(name, name): value for name, value in row.get("headers", {}).items()}
        body = json.dumps(ours(row["json_body"])) if "json_body" in row else row.get("raw_body")
        if "json_body" in row and isinstance(row["json_body"], list):
            body = json.dumps(row["json_body"])
        if row["method"] == "POST" and body is None:
            body = ""
        for theirs, mine in PROVIDERS.items():
            if body and row["id"] == "create-provider-kill-switch":
                body = body.replace(theirs, mine)
        headers = {name: value.replace("a*200", "a" * 200) for name, value in headers.items()}
        url = f"{jp_base_url}rmx/api/v1/vms{path}" + (
            f"?{query.replace('teamId', 'team_id')}" if query else ""
        )
        if row["auth"] == "none":
            return await _plain(
                http_server_client.fetch(url, method=row["method"], headers=headers, body=body)
            )
        query_of = (
            dict(part.split("=") for part in query.replace("teamId", "team_id").split("&")) if query else {}
        )
        query_of = {name: value.replace("%20", " ") for name, value in query_of.items()}
        parts = [part for part in path.split("/") if part]
        return await _plain(
            jp_fetch(
                "rmx",
                "api",
                "v1",
                "vms",
                *parts,
                method=row["method"],
                headers=headers,
                body=body,
                params=query_of,
            )
        )

    return call


async def _plain(awaitable):
    try:
        answer = await awaitable
    except HTTPClientError as error:
        answer = error.response
    return answer.code, json.loads(answer.body)


@pytest.mark.parametrize("id_", TESTED)
async def test_row(id_, plane, send, fake):
    row = ROWS[id_]
    expect = DIFFERENCES[id_][0] if id_ in DIFFERENCES else row["expect"]
    prepare = world(row.get("given", "")) or (running if "/vm1" in row["path"] else None)
    if id_ == "list-hides":
        prepare = several
    if prepare is not None:
        await prepare(plane)
    before = _counted(fake)
    status, body = await send(row)
    assert status == expect["status"], body
    _check_body(expect, body)
    if "provider_calls" in row and id_ not in DIFFERENCES:
        assert _counted(fake) - before == row["provider_calls"]
    if "provider_timeout_ms" in expect:
        assert fake.calls("exec")[-1].arguments["timeout_s"] == expect["provider_timeout_ms"] / 1000
    if id_ in FURTHER:
        FURTHER[id_](plane, body, fake)


def _counted(fake):
    return sum(call.method not in UNCOUNTED for call in fake.calls())


def _check_body(expect, body):
    if "error" in expect:
        assert body["error"] == expect["error"]
        assert body["message"]
    exact = ours(expect.get("body_exact", {}))
    if "error" in exact:  # our envelope says more than the reference's bare word
        assert body["error"] == exact["error"]
    elif exact == {"vms": []}:
        assert body["vms"] == []
    elif exact:
        assert body == exact
    for name in expect.get("keys", ()):
        assert snake(name) in body
    for name, value in expect.get("top", {}).items():
        assert body[name] == value
    for name, value in ours(expect.get("details", {})).items():
        wanted = OPERATIONS.get(value, value) if isinstance(value, str) else value
        wanted = snake(wanted) if name == "field" else wanted
        if name == "vm_id":
            assert body["details"]["vm_id"]
        else:
            assert body["details"][name] == wanted
    if "shape" in expect:
        assert set(ours(expect["shape"])) - set(body) <= {"identity_handle", "public_key_fingerprint"}
        assert (body["transport"], body["credential"]["kind"]) == ("ssh", "password")
        assert "identity_handle" not in body, "it is the server's own"


def _replayed(plane, body, fake):
    assert (body["id"], body["created_at"]) == (plane.first.id, plane.first.to_wire()["created_at"])


def _shown(plane, body, fake):
    assert [(vm["name"], vm["status"]) for vm in body["vms"]] == [("runs", "running"), ("rests", "paused")]


def _default(plane, body, fake):
    assert (body["provider"], body["image"]) == ("fake", "fake-image")


def _trimmed(plane, body, fake):
    assert fake.calls("exec")[-1].arguments["command"] == "ls -l"


def _daemon(wanted):
    def check(plane, body, fake):
        assert fake.calls("attach_endpoint")[-1].arguments["require_daemon"] is wanted

    return check


def _still_listed(plane, body, fake):
    assert len(fake.machines()) == 1


FURTHER = {
    "create-replay": _replayed,
    "list-hides": _shown,
    "create-empty-body": _default,
    "create-image-blank": _default,
    "exec-trim": _trimmed,
    "attach-requireDaemon-string": _daemon(False),
    "attach-snake": _daemon(True),
    "attach-bad-json-ok": _daemon(False),
    "delete-provider-down": _still_listed,
}


async def test_the_alternative_key_header_is_the_same_key(plane, send, fake):
    await test_row("create-alt-key-header", plane, send, fake)
    async with plane.control.context.store.read() as tx:
        assert await tx.machines.by_key(plane.control.owner, "k2") is not None


def test_machines_cost_nothing_by_default(plane):
    assert isinstance(plane.control.context.credits, NoCredits)


def test_a_limit_is_told_as_a_number():
    error = WorkflowError("x", details={"limit": 1})
    assert error.to_wire()["limit"] == 1
