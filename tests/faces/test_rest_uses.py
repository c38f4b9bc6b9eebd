"""All that REST does with machines, in a real Jupyter server on the fake provider: what is asked of the provider, what
is answered, and what a mistake is called. Codes and order of the checks: the reference § 1."""

import pytest

from jupyter_rmx.errors import ProviderError
from jupyter_rmx.models import CommandResult
from tests.faces.fake_server import FakeServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with FakeServer(tmp_path_factory.mktemp("rest") / "jupyter") as running:
        yield running


@pytest.fixture(scope="module")
def http(server):
    with server.client() as client:
        assert client.get("healthz").status_code == 200
        yield client


@pytest.fixture
def fake(server):
    yield server.fake
    server.fake.behave()


@pytest.fixture
def vm(http):
    made = http.post("vms", json={}).json()
    yield made
    assert http.delete(f"vms/{made['id']}").status_code in {200, 404}


def ask(http, method, path, **given):
    answer = http.request(method, path, **given)
    return answer.status_code, answer.json()


def code_of(answer):
    status, wire = answer
    return status, wire["error"], wire["details"].get("field")


# -- create, list, rename ---------------------------------------------------------------------------------------


CREATE_MISTAKES = [
    ({"content": b"   "}, (400, "vm_json_parse_failed", None)),
    ({"content": b"{"}, (400, "vm_json_parse_failed", None)),
    ({"content": b'"\\ud800"'}, (400, "vm_json_parse_failed", None)),
    ({"content": b"null"}, (400, "vm_expected_object", None)),
    ({"content": b"[]"}, (400, "vm_expected_object", None)),
    ({"content": b"3"}, (400, "vm_expected_object", None)),
    ({"json": {"image": 5}}, (400, "vm_invalid_request", "image")),
    ({"json": {"provider": 5}}, (400, "vm_invalid_request", "provider")),
    ({"json": {"provider": "aws"}}, (400, "vm_invalid_provider", "provider")),
    ({"json": {"provider": " fake"}}, (400, "vm_invalid_provider", "provider")),
    ({"json": {"provider": ""}}, (400, "vm_invalid_provider", "provider")),
    ({"json": {"image": 1, "provider": "aws", "team_id": 1}}, (400, "vm_invalid_request", "image")),
    ({"json": {"provider": "aws", "team_id": 1}}, (400, "vm_invalid_provider", "provider")),
    ({"json": {"team_id": 7}}, (400, "vm_invalid_request", "team_id")),
    ({"json": {"billing_team_id": 7}}, (400, "vm_invalid_request", "team_id")),
    ({"json": {"team_id": "  "}}, (400, "vm_invalid_request", "team_id")),
    ({"json": {}, "params": {"team_id": "  "}}, (400, "vm_invalid_request", "team_id")),
    ({"json": {}, "params": {"billing_team_id": ""}}, (400, "vm_invalid_request", "team_id")),
    ({"json": {}, "headers": {"X-RMX-Team-Id": ""}}, (400, "vm_invalid_request", "team_id")),
    ({"json": {}, "headers": {"X-RMX-Team-Id": "team-1"}}, (403, "vm_billing_team_not_found", "team_id")),
    ({"json": {"team_id": "team-1"}}, (403, "vm_billing_team_not_found", "team_id")),
    ({"json": {}, "params": {"team_id": "team-1"}}, (403, "vm_billing_team_not_found", "team_id")),
    ({"json": {"name": 7}}, (400, "vm_invalid_request", "name")),
    ({"json": {"name": "Bad Name"}}, (400, "usage_bad_name", "name")),
    (
        {"json": {}, "headers": {"Idempotency-Key": "k" * 129}},
        (400, "usage_bad_idempotency_key", "idempotency_key"),
    ),
]


@pytest.mark.parametrize(("given", "expected"), CREATE_MISTAKES)
def test_a_wish_that_is_wrong_makes_nothing(http, fake, given, expected):
    before = len(fake.calls())
    assert code_of(ask(http, "POST", "vms", **given)) == expected
    assert len(fake.calls()) == before


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"json": {}},
        {"json": {"image": "  ", "unknown": 1, "team_id": None}},
        {"json": {}, "headers": {"Idempotency-Key": ""}},
    ],
)
def test_a_wish_may_say_little(http, fake, given):
    status, made = ask(http, "POST", "vms", **given)
    assert (status, made["status"], made["provider"]) == (200, "running", "fake")
    assert fake.machine(made["id"]).id == made["provider_vm_id"]
    assert fake.calls("create")[-1].arguments["image"] is None
    assert ask(http, "DELETE", f"vms/{made['id']}") == (200, {"ok": True})


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-RMX-Idempotency-Key"])
def test_a_key_of_either_header_means_one_machine(http, fake, header):
    headers = {header: f"key of {header}"}
    first, second = (http.post("vms", json={}, headers=headers).json() for _ in range(2))
    assert first == second
    assert len(fake.calls("create", about=first["id"])) == 1
    assert (
        ask(http, "POST", "vms", json={"image": "other"}, headers=headers)[1]["error"]
        == "idempotency_mismatch"
    )
    http.delete(f"vms/{first['id']}")


def test_pages_hold_every_machine_once(http):
    made = [http.post("vms", json={"name": f"page-{n}"}).json() for n in range(7)]
    seen, cursor = [], None
    while True:
        query = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = http.get("vms", params=query).json()
        seen += page["vms"]
        assert len(page["vms"]) <= 3
        cursor = page["next"]
        if cursor is None:
            break
    assert [vm["id"] for vm in seen] == [vm["id"] for vm in reversed(made)]
    assert http.get("machines", params={"limit": 7}).json() == {"machines": seen, "next": None}
    for vm in made:
        http.delete(f"vms/{vm['id']}")
    assert http.get("vms").json() == {"vms": [], "next": None}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": ""}, "cursor"),
    ],
)
@pytest.mark.parametrize("path", ["vms", "machines"])
def test_a_page_that_cannot_be_is_refused(http, path, query, field):
    assert code_of(ask(http, "GET", path, params=query)) == (400, "vm_invalid_request", field)


def test_a_list_of_a_team_is_refused(http):
    got = ask(http, "GET", "vms", headers={"X-RMX-Team-Id": "other"})
    assert code_of(got) == (403, "vm_billing_team_not_found", "team_id")
    assert http.get("vms", params={"team_id": " "}).status_code == 200  # blank counts as absent here


def test_a_machine_gets_another_name(http, vm):
    other = http.post("vms", json={"name": "taken"}).json()
    status, renamed = ask(http, "PATCH", f"vms/{vm['id']}", json={"name": "trial"})
    assert (status, renamed["name"], renamed["id"]) == (200, "trial", vm["id"])
    assert renamed["label"].startswith("trial-")
    assert ask(http, "GET", "vms/trial")[1]["id"] == vm["id"]
    assert ask(http, "GET", f"vms/{vm['name']}")[0] == 404
    assert code_of(ask(http, "PATCH", "vms/trial", json={"name": "taken"}))[:2] == (409, "vm_name_taken")
    assert code_of(ask(http, "PATCH", "vms/trial", json={"name": "No"})) == (400, "usage_bad_name", "name")
    assert code_of(ask(http, "PATCH", "vms/trial", json={})) == (400, "vm_invalid_request", "name")
    assert code_of(ask(http, "PATCH", "vms/trial", json={"name": None})) == (
        400,
        "vm_invalid_request",
        "name",
    )
    assert ask(http, "PATCH", "vms/nobody", json={"name": "a"})[1]["error"] == "vm_not_found"
    assert ask(http, "PATCH", "vms/trial", json={"name": "trial"}) == (200, renamed)
    http.delete(f"vms/{other['id']}")


def test_a_machine_may_be_named_like_a_route(http):
    made = http.post("vms", json={"name": "restore"}).json()
    assert ask(http, "GET", "vms/restore") == (200, made)
    assert ask(http, "PATCH", "vms/restore", json={"name": "restore"}) == (200, made)
    assert ask(http, "DELETE", "vms/restore") == (200, {"ok": True})


# -- exec -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"content": b""}, (400, "vm_invalid_json", None)),
        ({"content": b"{"}, (400, "vm_invalid_json", None)),
        ({"json": []}, (400, "vm_invalid_request", None)),
        ({"json": {}}, (400, "vm_invalid_command", "command")),
        ({"json": {"command": "  "}}, (400, "vm_invalid_command", "command")),
        ({"json": {"command": 3}}, (400, "vm_invalid_command", "command")),
        ({"json": {"command": ["ls"]}}, (400, "vm_invalid_command", "command")),
    ],
)
def test_a_command_that_is_none_runs_nothing(http, fake, vm, given, expected):
    assert code_of(ask(http, "POST", f"vms/{vm['id']}/exec", **given)) == expected
    assert fake.calls("exec", about=vm["provider_vm_id"]) == []


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, 30),
        (0, 30),
        (-5, 30),
        ("9", 30),
        (True, 30),
        ([], 30),
        (0.5, 30),
        (1.9, 0.001),
        (1500.7, 1.5),
        (900_000, 900),
        (10**9, 900),
        (1e400, 30),
    ],
)
def test_a_time_out_is_a_number_or_the_default(http, fake, vm, given, seconds):
    import json

    body = json.dumps({"command": " ls -l \n", "timeout_ms": given})
    assert ask(http, "POST", f"vms/{vm['id']}/exec", content=body) == (
        200,
        {"exit_code": 0, "stdout": "", "stderr": ""},
    )
    asked = fake.calls("exec", about=vm["provider_vm_id"])[-1].arguments
    assert (asked["command"], asked["timeout_s"]) == ("ls -l", seconds)


def test_a_command_answers_whatever_it_ends_with(http, fake, vm):
    fake.script({"false": CommandResult(7, "out", "err")})
    got = ask(http, "POST", f"vms/{vm['name']}/exec", json={"command": "false"})
    assert got == (200, {"exit_code": 7, "stdout": "out", "stderr": "err"})


def test_a_paused_machine_is_resumed_by_use(http, fake, vm):
    way = f"vms/{vm['id']}"
    assert ask(http, "POST", f"{way}/pause")[1]["status"] == "paused"
    assert fake.machine(vm["id"]).status == "paused"
    assert ask(http, "POST", f"{way}/pause")[0] == 200
    assert ask(http, "POST", f"{way}/exec", json={"command": "true"})[0] == 200
    assert ask(http, "GET", way)[1]["status"] == "running"
    assert len(fake.calls("pause", about=vm["provider_vm_id"])) == 1
    for step in ("attach-endpoint", "ssh-endpoint", "resume"):
        http.post(f"{way}/pause")
        assert ask(http, "POST", f"{way}/{step}")[0] == 200, step
        assert fake.machine(vm["id"]).status == "running"
    http.post(f"{way}/pause")
    assert ask(http, "POST", f"{way}/open-port", json={"port": 8000})[0] == 200
    assert fake.machine(vm["id"]).status == "running"


# -- endpoints --------------------------------------------------------------------------------------------------


def test_an_endpoint_is_told_whole_and_not_to_be_kept(http, fake, vm):
    answer = http.post(
        f"vms/{vm['id']}/attach-endpoint", json={"session_id": " A1._:- ", "attachment_id": "x" * 128}
    )
    assert answer.headers["Cache-Control"] == "no-store"
    wire = answer.json()
    assert set(wire) == {
        *("transport", "url", "headers", "token", "session_id", "attachment_id", "expires_at_unix", "daemon")
    }
    assert (wire["transport"], wire["session_id"], wire["attachment_id"]) == (
        "websocket",
        "A1._:-",
        "x" * 128,
    )
    assert set(wire["daemon"]) == {"url", "headers", "token", "session_id", "expires_at_unix"}
    answer = http.post(f"vms/{vm['id']}/ssh-endpoint")
    assert answer.headers["Cache-Control"] == "no-store"
    wire = answer.json()
    assert (wire["transport"], wire["host"], wire["port"]) == ("ssh", "ssh.fake.invalid", 22)
    (identity,) = fake.identities(live=True)
    assert wire["credential"] == {"kind": "password", "value": wire["credential"]["value"]}
    assert len(wire["credential"]["value"]) >= 16
    assert wire["public_key_fingerprint"].startswith("SHA256:")
    assert identity.handle not in answer.text
    assert ask(http, "POST", "leases/revoke") == (200, {"ok": True, "revoked": 3, "cleanup_failures": 0})
    assert fake.identities(live=True) == []
    assert ask(http, "POST", "leases/revoke") == (200, {"ok": True, "revoked": 0, "cleanup_failures": 0})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"require_daemon": "true"}', b'{"session_id": " "}']
)
def test_an_attach_takes_any_body_that_asks_for_nothing(http, fake, vm, body):
    assert http.post(f"vms/{vm['id']}/attach-endpoint", content=body).status_code == 200
    assert fake.calls("attach_endpoint")[-1].arguments["require_daemon"] is False


def test_an_attach_requires_a_daemon_only_when_told_true(http, fake, vm):
    assert http.post(f"vms/{vm['id']}/attach-endpoint", json={"require_daemon": True}).status_code == 200
    assert fake.calls("attach_endpoint")[-1].arguments["require_daemon"] is True


@pytest.mark.parametrize("field", ["session_id", "attachment_id"])
@pytest.mark.parametrize("value", ["a b", "a/b", "x" * 129, "é", 5])
def test_a_session_has_a_plain_name(http, fake, vm, field, value):
    before = len(fake.calls("attach_endpoint"))
    got = ask(http, "POST", f"vms/{vm['id']}/attach-endpoint", json={field: value})
    assert code_of(got) == (400, "vm_invalid_request", field)
    assert len(fake.calls("attach_endpoint")) == before


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "vm_invalid_json"),
        (b"[]", "vm_invalid_request"),
        (b"{}", "vm_invalid_port"),
        (b'{"port": 70000}', "vm_invalid_port"),
        (b'{"port": 0}', "vm_invalid_port"),
        (b'{"port": "80"}', "vm_invalid_port"),
        (b'{"port": true}', "vm_invalid_port"),
    ],
)
def test_a_port_is_a_whole_number(http, vm, body, expected):
    assert code_of(ask(http, "POST", f"vms/{vm['id']}/open-port", content=body))[:2] == (400, expected)


# -- copies -----------------------------------------------------------------------------------------------------


def test_a_copy_is_kept_and_started_from(http, fake, vm):
    status, kept = ask(http, "POST", f"vms/{vm['id']}/snapshot", json={"name": "before"})
    assert (status, kept["name"], kept["vm_id"], kept["status"]) == (200, "before", vm["id"], "ready")
    assert http.get("snapshots").json()["snapshots"][0] == kept
    headers = {"Idempotency-Key": "restore it"}
    body = {"snapshot_id": kept["id"], "name": "again"}
    first, second = (http.post("vms/restore", json=body, headers=headers).json() for _ in range(2))
    assert first == second
    assert (first["name"], first["status"]) == ("again", "running")
    assert fake.calls("create", about=first["id"])[-1].arguments["snapshot"] == kept["provider_snapshot_id"]
    status, forked = ask(
        http, "POST", f"vms/{vm['id']}/fork", json={"name": "copy"}, headers={"Idempotency-Key": "f"}
    )
    assert (status, forked["name"]) == (200, "copy")
    assert ask(
        http, "POST", f"vms/{vm['id']}/fork", json={"name": "copy"}, headers={"Idempotency-Key": "f"}
    ) == (
        200,
        forked,
    )
    for made in (first, forked):
        http.delete(f"vms/{made['id']}")


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("snapshot", {"json": []}, (400, "vm_invalid_request", None)),
        ("snapshot", {"content": b"{"}, (400, "vm_json_parse_failed", None)),
        ("snapshot", {"json": {"name": 5}}, (400, "vm_invalid_request", "name")),
        ("snapshot", {"json": {"name": "x" * 201}}, (400, "vm_invalid_request", "name")),
        ("fork", {"json": []}, (400, "vm_expected_object", None)),
        ("fork", {"json": {"name": "A"}}, (400, "usage_bad_name", "name")),
        ("fork", {"json": {"team_id": "t"}}, (403, "vm_billing_team_not_found", "team_id")),
        ("../restore", {"json": {}}, (400, "vm_invalid_request", "snapshot_id")),
        ("../restore", {"content": b""}, (400, "vm_invalid_request", "snapshot_id")),
        ("../restore", {"json": []}, (400, "vm_expected_object", None)),
        ("../restore", {"content": b"{"}, (400, "vm_json_parse_failed", None)),
        ("../restore", {"json": {"snapshot_id": "s"}}, (404, "vm_snapshot_not_found", None)),
    ],
)
def test_a_copy_that_cannot_be_is_refused(http, vm, path, given, expected):
    way = "vms/restore" if path == "../restore" else f"vms/{vm['id']}/{path}"
    assert code_of(ask(http, "POST", way, **given)) == expected


# -- errors -----------------------------------------------------------------------------------------------------


def test_a_fault_of_the_provider_is_a_provider_error_that_may_be_tried_again(http, fake, vm):
    fake.fail_before("destroy")
    answer = http.delete(f"vms/{vm['id']}")
    wire = answer.json()
    assert (answer.status_code, wire["error"], wire["class"]) == (
        502,
        "vm_cloud_service_unavailable",
        "ProviderError",
    )
    assert wire["retryable"] is True and int(answer.headers["Retry-After"]) >= 1
    assert wire["details"]["operation"] == "destroy"
    assert vm["id"] in [shown["id"] for shown in http.get("vms").json()["vms"]]


def test_a_conflict_says_when_to_come_again(http, vm):
    answer = http.post("vms", json={"name": vm["name"], "image": "other"})
    assert (answer.status_code, answer.json()["error"]) == (409, "vm_name_taken")
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_machine_that_is_gone_at_its_provider_is_told_as_ended(http, fake, vm):
    fake.vanish(vm["provider_vm_id"])
    status, wire = ask(http, "POST", f"vms/{vm['id']}/exec", json={"command": "true"})
    assert (status, wire["error"]) == (404, "vm_not_found")
    assert ask(http, "GET", f"vms/{vm['id']}")[0] == 404


@pytest.mark.parametrize(
    "path", ["exec", "attach-endpoint", "ssh-endpoint", "pause", "resume", "snapshot", "fork"]
)
def test_nobody_has_no_uses(http, path):
    status, wire = ask(http, "POST", f"vms/nobody/{path}", json={"command": "true"})
    assert (status, wire["error"], wire["details"]["vm_id"]) == (404, "vm_not_found", "nobody")


def test_an_operation_is_told_by_its_id(http, vm, server):
    # The operation of the fixture's create is named by its event.
    place = 0
    with http.stream("GET", "events", headers={"Last-Event-ID": str(place)}) as events:
        for line in events.iter_lines():
            if line.startswith("data:") and '"operation.step"' in line and vm["id"] in line:
                import json

                told = json.loads(line[5:])["data"]
                break
    id_ = told.get("operation_id") or told.get("operation") or told["id"]
    status, operation = ask(http, "GET", f"operations/{id_}")
    assert (status, operation["kind"], operation["vm_id"], operation["state"]) == (
        200,
        "create",
        vm["id"],
        "done",
    )
    assert ask(http, "GET", "operations/op_0")[1]["error"] == "vm_operation_not_found"


# -- settings ---------------------------------------------------------------------------------------------------


def test_what_is_switched_off_or_not_listed_is_refused(tmp_path, server):
    options = [
        "--RmxExtension.allowed_providers=fake",
        "--RmxExtension.allowed_images=one",
        "--RmxExtension.images=fake=one",
        "--RmxExtension.max_active_owner=1",
    ]
    with FakeServer(tmp_path / "jupyter", options=options) as limited, limited.client() as http:
        assert code_of(ask(http, "POST", "vms", json={"provider": "local"})) == (
            400,
            "vm_invalid_provider",
            "provider",
        )
        assert code_of(ask(http, "POST", "vms", json={"image": "two"}))[:2] == (503, "vm_image_config_error")
        assert code_of(ask(http, "POST", "vms", json={"image": "two", "team_id": "t"}))[0] == 503
        status, made = ask(http, "POST", "vms", json={})
        assert (status, made["image"]) == (200, "one")
        status, wire = ask(http, "POST", "vms", json={})
        assert (status, wire["error"], wire["limit"]) == (402, "vm_active_limit_exceeded", 1)
        names = http.get("openapi.json").json()["components"]["schemas"]["VMSpec"]["properties"]["provider"]
        assert names == {"enum": ["fake", None]}
        http.delete(f"vms/{made['id']}")
    off = {"JUPYTER_RMX_CREATE_ENABLED": "off"}
    with FakeServer(tmp_path / "off", env=off) as limited, limited.client() as http:
        assert ask(http, "POST", "vms", json={"team_id": "t"})[1]["error"] == "vm_create_disabled"
        assert http.get("vms").status_code == 200


def test_the_password_of_the_store_is_never_shown(tmp_path):
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/rmx"
    options = [f"--RmxExtension.database_url={url}", "--debug"]
    with FakeServer(tmp_path / "jupyter", options=options) as server, server.client() as http:
        status, wire = ask(http, "GET", "vms")
        assert status == 503 and "hunter2" not in str(wire)
    assert "hunter2" not in server.log()


def test_a_provider_error_stays_one_over_the_wire(http, fake, vm, server, jp_asyncio_loop):
    from jupyter_rmx.client import HttpRemoteMachines

    fake.script({"boom": ProviderError("No.", hint="Yes.", code="vm_quota_exceeded", status=402)})

    async def use():
        client = HttpRemoteMachines(server.connection)
        try:
            with pytest.raises(ProviderError) as caught:
                await client.exec_buffered(vm["id"], "boom")
            return caught.value
        finally:
            await client.aclose()

    error = jp_asyncio_loop.run_until_complete(use())
    assert (error.code, error.status, error.hint) == ("vm_quota_exceeded", 402, "Yes.")
