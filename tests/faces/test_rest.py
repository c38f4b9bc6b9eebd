"""REST of the extension in a real Jupyter server, over its own HTTP and WebSocket, to real embedded machines."""

import json
import re

import pytest
from tornado.httpclient import HTTPClientError
from tornado.websocket import websocket_connect

from jupyter_rmx.connection import read_connection, runtime_dir
from jupyter_rmx.server.routes import ROUTES

KEY = {"Idempotency-Key": "k"}
SOCKETS = {"machines/demo/exec", "machines/demo/terminals/websocket/1"}
ENVELOPE = {"error", "message", "reason", "action", "details", "retryable", "request_id", "class"}


def filled(path):
    values = {"name": "demo", "id": "demo", "port": "80", "path": "a"}
    values |= {"operation": "op_1", "question": "q_1", "terminal": "1"}
    return path.format_map(values)


ALL = [(operation.method.upper(), filled(route.path)) for route in ROUTES for operation in route.operations]
ALL += [("GET", "openapi.json"), ("GET", "no/such/route")]


async def refused(http_server_client, url, method, headers):
    body = "{}" if method in {"POST", "PUT", "PATCH"} else None
    with pytest.raises(HTTPClientError) as caught:
        await http_server_client.fetch(url, method=method, body=body, headers=headers)
    return caught.value


@pytest.mark.parametrize(("method", "path"), ALL)
async def test_every_route_refuses_a_stranger(jp_serverapp, http_server_client, jp_base_url, method, path):
    url = f"{jp_base_url}rmx/api/v1/{path}"
    for headers in (
        {},
        {"Authorization": "rmx wrong"},
        {"Authorization": "rmx "},
        {"Authorization": "token wrong"},
    ):
        error = await refused(http_server_client, url, method, headers)
        if path in SOCKETS:
            assert error.code == 403
        else:
            assert (error.code, json.loads(error.response.body)["error"]) == (401, "unauthorized")
            assert error.response.headers["WWW-Authenticate"]


def cookie_header(cookies):
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


async def login_cookies(jp_serverapp, http_server_client, jp_base_url):
    """The cookies of a browser that logged in with the token."""
    token = jp_serverapp.identity_provider.token
    login = await http_server_client.fetch(
        f"{jp_base_url}tree?token={token}", follow_redirects=False, raise_error=False
    )
    cookies = [line.split(";")[0] for line in login.headers.get_list("Set-Cookie")]
    page = await http_server_client.fetch(
        f"{jp_base_url}login",
        headers={"Cookie": "; ".join(cookies)},
        raise_error=False,
        follow_redirects=False,
    )
    cookies += [line.split(";")[0] for line in page.headers.get_list("Set-Cookie")]
    held = dict(line.split("=", 1) for line in cookies)
    assert "_xsrf" in held, held
    return held


async def test_a_login_cookie_needs_the_xsrf_token(jp_serverapp, http_server_client, jp_base_url):
    held = await login_cookies(jp_serverapp, http_server_client, jp_base_url)
    headers = {"Cookie": cookie_header(held), **KEY}
    url = f"{jp_base_url}rmx/api/v1/vms"
    error = await refused(http_server_client, url, "POST", headers)
    assert (error.code, json.loads(error.response.body)["error"]) == (403, "forbidden")
    # With the token the request gets through to us: our own error shows it.
    answer = await http_server_client.fetch(
        url,
        method="POST",
        body=json.dumps({"name": "Bad Name"}),
        headers=headers | {"X-XSRFToken": held["_xsrf"]},
        raise_error=False,
    )
    assert (answer.code, json.loads(answer.body)["error"]) == (400, "usage_bad_name")


async def test_the_key_opens_our_routes_and_nothing_of_jupyter(rmx, http_server_client, jp_base_url):
    headers = {"Authorization": f"rmx {rmx._key}"}
    answer = await http_server_client.fetch(f"{jp_base_url}rmx/api/v1/healthz", headers=headers)
    assert json.loads(answer.body)["ok"] is True
    for path in ("api/contents", "api/kernels", "api/terminals"):
        assert (await refused(http_server_client, jp_base_url + path, "GET", headers)).code in {403, 404}


async def test_life_of_a_machine(api):
    status, vm = await api("vms", method="POST", body={"name": "demo"}, headers=KEY)
    assert (status, vm["name"], vm["status"], vm["provider"], vm["kind"]) == (
        200,
        "demo",
        "running",
        "local",
        "vm",
    )
    assert re.fullmatch(r"vm_[0-9a-f]{16}", vm["id"])
    try:
        assert await api("vms", method="POST", body={"name": "demo"}, headers=KEY) == (200, vm)
        again = {"X-RMX-Idempotency-Key": "another"}
        assert await api("vms", method="POST", body={"name": "demo"}, headers=again) == (200, vm)
        assert await api("vms") == (200, {"vms": [vm], "next": None})
        assert await api("machines") == (200, {"machines": [vm], "next": None})
        assert (
            await api("vms", vm["id"])
            == await api("vms", "demo")
            == await api("machines", "demo")
            == (200, vm)
        )
    finally:
        assert await api("vms", vm["id"], method="DELETE") == (200, {"ok": True})
    assert await api("vms") == (200, {"vms": [], "next": None})


@pytest.mark.parametrize(
    ("path", "given", "status", "code"),
    [
        ("vms", {"method": "POST", "body": {"name": "Bad Name"}, "headers": KEY}, 400, "usage_bad_name"),
        ("vms", {"method": "POST", "body": {"name": 7}, "headers": KEY}, 400, "vm_invalid_request"),
        (
            "vms",
            {"method": "POST", "body": {"provider": "moon"}, "headers": KEY},
            400,
            "vm_invalid_provider",
        ),
        ("vms", {"method": "POST", "raw": "[1]", "headers": KEY}, 400, "vm_expected_object"),
        ("vms", {"method": "POST", "raw": "{", "headers": KEY}, 400, "vm_json_parse_failed"),
        ("vms", {"method": "POST", "raw": " ", "headers": KEY}, 400, "vm_json_parse_failed"),
        (
            "vms",
            {"method": "POST", "body": {"name": "demo"}, "headers": {"Idempotency-Key": "k" * 129}},
            400,
            "usage_bad_idempotency_key",
        ),
        ("vms/nobody", {}, 404, "vm_not_found"),
        ("vms/nobody", {"method": "DELETE"}, 404, "vm_not_found"),
        ("machines/nobody/ports/80/ticket", {"method": "POST"}, 404, "vm_not_found"),
        ("machines/nobody/ports/0/ticket", {"method": "POST"}, 400, "usage_bad_port"),
        ("machines/nobody/ports/65536/ticket", {"method": "POST"}, 400, "usage_bad_port"),
        ("machines/nobody/ports/x/ticket", {"method": "POST"}, 400, "usage_bad_port"),
        ("machines/nobody/files/a", {"method": "PUT", "raw": "x"}, 404, "vm_not_found"),
        ("no/such/route", {}, 404, "not_found"),
        ("vms", {"method": "DELETE"}, 405, "method_not_allowed"),
    ],
)
async def test_bad_requests_are_told_in_one_envelope(api, path, given, status, code):
    got, error = await api(*path.split("/"), **given)
    assert (got, error["error"]) == (status, code)
    assert set(error) == ENVELOPE
    assert error["message"]
    assert "\n" not in error["message"] + error["action"]
    assert "Traceback" not in json.dumps(error)


async def test_the_openapi_document_names_every_route(api, jp_base_url):
    status, document = await api("openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.1")
    assert document["servers"] == [{"url": f"{jp_base_url}rmx/api/v1"}]
    assert set(document["paths"]) == {f"/{route.path}" for route in ROUTES}
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


async def test_the_answers_are_as_the_openapi_document_says(api, demo):
    _, document = await api("openapi.json")
    schema = document["components"]["schemas"]["VM"]
    assert set(schema["required"]) <= set(demo) <= set(schema["properties"])
    _, link = await api("machines", "demo", "ports", "8000", "ticket", method="POST", body={})
    assert set(link) == set(document["components"]["schemas"]["PortLink"]["properties"])


class Exec:
    """One command over the WebSocket, as a kernel sends it."""

    def __init__(self, socket):
        self.socket = socket
        self.output = {1: b"", 2: b""}

    def send(self, **message):
        return self.socket.write_message(json.dumps(message))

    async def next(self):
        """The next message as JSON; `{}` for output, which is collected."""
        message = await self.socket.read_message()
        assert message is not None, "the server closed the socket"
        if isinstance(message, bytes):
            self.output[message[0]] += message[1:]
            return {}
        return json.loads(message)

    async def until(self, *kinds):
        while True:
            message = await self.next()
            if message.get("type") in kinds:
                return message


@pytest.fixture
def start(rmx, http_server_client, jp_http_port, jp_base_url):
    opened = []

    async def connect(machine="demo", **spec):
        from tornado.httpclient import HTTPRequest

        url = f"ws://127.0.0.1:{jp_http_port}{jp_base_url}rmx/api/v1/machines/{machine}/exec"
        request = HTTPRequest(url, headers={"Authorization": f"rmx {rmx._key}"})
        running = Exec(await websocket_connect(request))
        opened.append(running.socket)
        if spec:
            await running.send(type="start", **spec)
        return running

    yield connect
    for socket in opened:
        socket.close()


async def test_exec_keeps_streams_apart_and_tells_the_exit(demo, start):
    running = await start(command="echo out; echo err >&2; printf '\\377\\0'; exit 3")
    assert (await running.until("started")) == {"type": "started"}
    assert await running.until("exit") == {"type": "exit", "code": 3, "signal": None}
    assert running.output == {1: b"out\n\xff\0", 2: b"err\n"}


async def test_exec_streams_while_the_command_runs(demo, start):
    # The command waits for what we send only after we saw its first line: no buffering can hide in between.
    running = await start(command="echo first; read line; echo got $line", stdin_open=True)
    while b"first\n" not in running.output[1]:
        await running.next()
    await running.socket.write_message(b"hello\n", binary=True)
    await running.send(type="eof")
    assert (await running.until("exit"))["code"] == 0
    assert running.output[1] == b"first\ngot hello\n"


async def test_a_signal_reaches_the_whole_group(demo, start):
    running = await start(command="sleep 1000 & sleep 1000 & echo ready; wait")
    while b"ready" not in running.output[1]:
        await running.next()
    await running.send(type="signal", name="KILL", id=5)
    assert (await running.until("exit"))["signal"] == "KILL"
    left = await start(command="ps -eo args | grep -c '[s]leep 1000'")
    assert (await left.until("exit"))["code"] == 1
    assert left.output[1] == b"0\n"


async def test_a_client_that_goes_away_hangs_up(demo, start):
    running = await start(
        command="trap 'echo gone > hup; exit' HUP; echo ready; while :; do sleep 0.05; done"
    )
    while b"ready" not in running.output[1]:
        await running.next()
    running.socket.close()
    seen = await start(command="for i in $(seq 200); do test -f hup && break; sleep 0.05; done; cat hup")
    assert (await seen.until("exit"))["code"] == 0
    assert seen.output[1] == b"gone\n"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "start", "command": "  "}, "usage_bad_command"),
        ({"type": "start", "command": 7}, "usage_bad_command"),
        ({"type": "start", "command": "x", "env": {"A": 1}}, "usage_bad_command"),
        ({"type": "start", "command": "x", "env": {"A B": "1"}}, "usage_bad_env"),
        ({"type": "dance"}, "usage_bad_message"),
        ({"type": "signal", "name": "INT"}, "usage_bad_message"),
    ],
)
async def test_bad_exec_messages_are_told(demo, start, message, code):
    running = await start()
    await running.send(**message)
    assert (await running.until("error"))["error"] == code


async def test_exec_on_nobody_is_told(start, jp_serverapp):
    running = await start("nobody", command="true")
    error = await running.until("error")
    assert (error["error"], "%vm" in error["action"]) == ("vm_not_found", True)


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_exec_refuses_a_page_of_another_origin(
    jp_serverapp, http_server_client, jp_http_port, jp_base_url, origin
):
    from tornado.httpclient import HTTPRequest

    cookies = await login_cookies(jp_serverapp, http_server_client, jp_base_url)
    url = f"ws://127.0.0.1:{jp_http_port}{jp_base_url}rmx/api/v1/machines/demo/exec"
    headers = {"Cookie": cookie_header(cookies)}
    good = await websocket_connect(
        HTTPRequest(url, headers=headers | {"Origin": f"http://127.0.0.1:{jp_http_port}"})
    )
    good.close()
    with pytest.raises(HTTPClientError) as caught:
        await websocket_connect(HTTPRequest(url, headers=headers | {"Origin": origin}))
    assert caught.value.code == 403


async def test_a_file_goes_up_whole(api, demo, start):
    import hashlib

    body = bytes(range(256)) * 20_000
    status, result = await api(
        "machines",
        "demo",
        "files",
        "a b.bin",
        method="PUT",
        raw=body,
        params={"mode": "640", "mtime": "1000000000"},
    )
    assert (status, result["size"], result["sha256"]) == (200, len(body), hashlib.sha256(body).hexdigest())
    seen = await start(command="stat -c '%s %a %Y' 'a b.bin'; sha256sum < 'a b.bin'; ls -A")
    await seen.until("exit")
    assert seen.output[1].decode().split()[:4] == [str(len(body)), "640", "1000000000", result["sha256"]]
    assert b".part" not in seen.output[1]


async def test_a_file_over_the_limit_is_refused(api, demo, rmx):
    rmx.manager()._parts.settings.__dict__["upload_max_bytes"] = 10
    status, error = await api("machines", "demo", "files", "a", method="PUT", raw=b"x" * 11)
    assert (status, error["error"]) == (413, "transfer_too_large")


async def test_a_ticket_opens_an_alias_beside_the_page(api, demo):
    given = {"origin": "http://localhost:8888", "path": "/käse?x=1#y"}
    status, link = await api("machines", "demo", "ports", "8000", "ticket", method="POST", body=given)
    assert status == 200
    assert link["url"] == f"http://p8000.{demo['label']}.localhost:8888/k%C3%A4se?x=1#y"
    assert link["open_url"].startswith(f"http://p8000.{demo['label']}.localhost:8888/__rmx__/open?ticket=")
    assert (link["machine_id"], link["port"]) == (demo["id"], 8000)
    claim = given | {"open_id": link["open_id"]}
    assert (await api("machines", "demo", "ports", "8000", "ticket", method="POST", body=claim))[0] == 200
    status, error = await api("machines", "demo", "ports", "8000", "ticket", method="POST", body=claim)
    assert (status, error["error"]) == (409, "loopback_already_opened")


async def test_a_page_that_no_alias_can_serve_is_told_why(api, demo):
    given = {"origin": "https://hub.example.org"}
    status, error = await api("machines", "demo", "ports", "8000", "ticket", method="POST", body=given)
    assert (status, error["error"]) == (409, "loopback_no_alias")
    assert "ssh -L" in error["action"]


@pytest.mark.parametrize("path", ["//evil.example", "evil"])
async def test_a_ticket_leads_nowhere_else(api, demo, path):
    given = {"origin": "http://localhost:8888", "path": path}
    status, error = await api("machines", "demo", "ports", "8000", "ticket", method="POST", body=given)
    assert (status, error["error"]) == (400, "usage_bad_path")


async def test_the_connection_file_is_private_and_goes_with_the_server(rmx, jp_serverapp):
    await rmx._start_jupyter_server_extension(jp_serverapp)
    path = rmx._connection_file
    assert path.parent == runtime_dir()
    assert path.stat().st_mode & 0o777 == 0o600
    connection = read_connection(path)
    assert (connection.key, connection.url.endswith(jp_serverapp.base_url)) == (rmx._key, True)
    await rmx.stop_extension()
    assert not path.exists()


async def test_the_link_of_a_notebook_leads_to_the_alias_with_a_fresh_ticket(
    jp_serverapp, http_server_client, jp_base_url, jp_http_port, demo
):
    held = await login_cookies(jp_serverapp, http_server_client, jp_base_url)
    url = f"{jp_base_url}rmx/open/demo/8000/a/b?x=1"
    stranger = await http_server_client.fetch(url, follow_redirects=False, raise_error=False)
    assert (stranger.code, "login" in stranger.headers["Location"]) == (302, True)
    seen = []
    for _ in range(2):
        answer = await http_server_client.fetch(
            url, headers={"Cookie": cookie_header(held)}, follow_redirects=False, raise_error=False
        )
        assert (answer.code, answer.headers["Referrer-Policy"]) == (302, "no-referrer")
        seen.append(answer.headers["Location"])
    front = f"http://p8000.{demo['label']}.localhost:{jp_http_port}/__rmx__/open?"
    assert all(
        location.startswith(front) and location.endswith("&path=%2Fa%2Fb%3Fx%3D1") for location in seen
    )
    assert seen[0] != seen[1]


@pytest.mark.parametrize(
    ("where", "status", "words"),
    [("nobody/8000/", 404, "no machine"), ("demo/0/", 400, "1 to 65535"), ("demo/65536", 400, "1 to 65535")],
)
async def test_a_link_that_leads_nowhere_says_so_on_a_page(
    jp_serverapp, http_server_client, jp_base_url, where, status, words
):
    held = await login_cookies(jp_serverapp, http_server_client, jp_base_url)
    answer = await http_server_client.fetch(
        f"{jp_base_url}rmx/open/{where}", headers={"Cookie": cookie_header(held)}, raise_error=False
    )
    assert (answer.code, words in answer.body.decode()) == (status, True)
    assert answer.headers["Content-Type"].startswith("text/html")
