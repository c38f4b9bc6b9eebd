"""A real Jupyter server, a real app behind it, real clients: the alias host as a browser meets it."""

import asyncio
import hashlib
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import websockets

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.loopback.alias import open_url
from jupyter_rmx.loopback.gate import AliasTarget
from jupyter_rmx.loopback.tickets import Tickets
from jupyter_rmx.server.alias import install
from jupyter_rmx.testing.streams import dial_loopback

LABEL = "demo-0a1b2c3d"
FAIL_SAFE_S = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def app_port():
    port = free_port()
    script = Path(__file__).with_name("alias_app.py")
    process = subprocess.Popen([sys.executable, str(script), str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    yield port
    process.kill()
    process.wait()
    process.stdout.close()


class Lab:
    """A Jupyter server with the alias rule, and one machine, `demo`, whose loopback is this computer's."""

    def __init__(self, port, web_app):
        self.port = port
        self.dialled = []
        self.active = 0
        self.tickets = Tickets(SystemClock())
        self.machines = {LABEL: AliasTarget("vm_demo", "demo", self.dial)}
        self.route = install(
            web_app, alias_domain="localhost", directory=self, tickets=self.tickets, on_activity=self._touch
        )

    def _touch(self):
        self.active += 1

    async def lookup(self, label):
        return self.machines.get(label)

    async def dial(self, port):
        self.dialled.append(port)
        return await dial_loopback(port)

    def host(self, port, label=LABEL):
        return f"p{port}.{label}.localhost:{self.port}"

    def origin(self, port, label=LABEL):
        return f"http://{self.host(port, label)}"

    def cookie(self, port, machine_id="vm_demo"):
        """A valid cookie, as `name=secret`."""
        ticket = self.tickets.mint("me", machine_id, LABEL, port, "/")
        redeemed = self.tickets.redeem(ticket, machine_id=machine_id, port=port)
        return f"{self.tickets.cookie_name}={redeemed.cookie}"

    def client(self, port, *, cookie=True):
        headers = {"Host": self.host(port)}
        if cookie:
            headers["Cookie"] = self.cookie(port)
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=FAIL_SAFE_S
        )

    def socket(self, port, path="/ws", **options):
        headers = {"Cookie": self.cookie(port), **options.pop("headers", {})}
        return websockets.connect(
            f"ws://{self.host(port)}{path}",
            host="127.0.0.1",
            port=self.port,
            additional_headers=headers,
            proxy=None,
            open_timeout=FAIL_SAFE_S,
            **options,
        )


@pytest.fixture
def lab(jp_web_app, http_server, http_server_port, jp_asyncio_loop):
    made = Lab(http_server_port[1], jp_web_app)
    yield made
    jp_asyncio_loop.run_until_complete(made.route.aclose())


async def raw(lab, data):
    """Send bytes, read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), FAIL_SAFE_S)
    writer.close()
    return answer


async def curl(*args):
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--noproxy", "*", "-m", str(FAIL_SAFE_S), *args, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    return process.returncode, out


# Methods and bodies


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "QUERY"])
async def test_every_method_reaches_the_app(lab, app_port, method):
    async with lab.client(app_port) as client:
        answer = await client.request(method, "/echo/a%2Fb?x=%20y&token=abc", content=b"body")
    seen = answer.json()
    assert (seen["method"], seen["uri"]) == (method, "/echo/a%2Fb?x=%20y&token=abc")
    assert seen["length"] == 4
    assert dict(seen["headers"])["Host"] == f"localhost:{app_port}"
    assert answer.headers.get_list("set-cookie") == ["one=1", "two=2; Path=/x"]
    assert lab.active == 1


async def test_head_keeps_the_length_and_has_no_body(lab, app_port):
    async with lab.client(app_port) as client:
        got, head = await client.get("/echo"), await client.head("/echo")
        assert head.content == b""
        assert int(head.headers["content-length"]) > 0
        assert (await client.get("/echo")).content == got.content


async def test_five_megabytes_each_way(lab, app_port):
    body = bytes(range(256)) * 20480
    async with lab.client(app_port) as client:
        up = (await client.post("/echo", content=body)).json()
        down = await client.get("/big", params={"n": len(body)})
    assert up["length"] == len(body)
    assert up["sha256"] == hashlib.sha256(body).hexdigest()
    assert down.content == body


async def test_a_chunked_upload_arrives_whole(lab, app_port):
    async def pieces():
        for number in range(100):
            yield bytes([number]) * 1000

    async with lab.client(app_port) as client:
        seen = (await client.post("/echo", content=pieces())).json()
    assert seen["sha256"] == hashlib.sha256(b"".join(bytes([n]) * 1000 for n in range(100))).hexdigest()


async def test_the_first_piece_passes_before_the_second_is_made(lab, app_port):
    async with lab.client(app_port) as client, client.stream("GET", "/steps") as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces) == b"one\n"  # the app makes no second one before /go
        assert (await client.get("/go")).text == "gone\n"
        assert b"".join([piece async for piece in pieces]) == b"two\n"


async def test_curl_finds_the_alias_by_itself_and_waits_for_100(lab, app_port):
    code, out = await curl(
        lab.origin(app_port) + "/echo", "-H", "Expect: 100-continue", "-H", f"Cookie: {lab.cookie(app_port)}", "--data-binary", "x" * 5000,
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["length"] == 5000


async def test_two_requests_on_one_connection(lab, app_port):
    head = f"Host: {lab.host(app_port)}\r\nCookie: {lab.cookie(app_port)}\r\n"
    answer = await raw(
        lab,
        f"GET /echo/1 HTTP/1.1\r\n{head}\r\nGET /echo/2 HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode(),
    )
    assert re.findall(rb'"uri": "(/echo/\d)"', answer) == [b"/echo/1", b"/echo/2"]


async def test_the_app_learns_that_the_browser_left(lab, app_port):
    _reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
    head = f"GET /held HTTP/1.1\r\nHost: {lab.host(app_port)}\r\nCookie: {lab.cookie(app_port)}\r\n\r\n"
    writer.write(head.encode())
    async with lab.client(app_port) as client:
        assert (await client.get("/holding")).text == "holds\n"
        writer.close()
        assert (await client.get("/gone")).text == "left\n"


# WebSockets


async def test_websocket_echo_subprotocol_and_close_code(lab, app_port):
    async with lab.socket(app_port, origin=lab.origin(app_port), subprotocols=["a", "b"]) as ws:
        assert ws.subprotocol == "b"
        await ws.send("hello")
        assert await ws.recv() == "hello"
        blob = bytes(range(256)) * 4096
        await ws.send(blob)
        assert await ws.recv() == blob
        await ws.send("close")
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await ws.recv()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as you wish")


async def test_websocket_refusal_is_the_apps_own(lab, app_port):
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with lab.socket(app_port, "/refusing", origin=lab.origin(app_port)):
            pass
    answer = refused.value.response
    assert (answer.status_code, answer.headers["X-Why"], answer.body) == (418, "no sockets here", b"teapot")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "SIBLING_OF_OTHER", "JUPYTER"])
async def test_websocket_of_a_stranger_is_refused_undialled(lab, app_port, origin):
    origin = origin.replace("SIBLING_OF_OTHER", lab.origin(app_port, "gpu-0a1b2c3d"))
    origin = origin.replace("JUPYTER", f"http://localhost:{lab.port}")
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with lab.socket(app_port, origin=origin):
            pass
    assert refused.value.response.status_code == 403
    assert lab.dialled == []


async def test_destroying_a_machine_ends_its_sockets(lab, app_port):
    async with lab.socket(app_port) as ws:
        await ws.send("hello")
        await ws.recv()
        await lab.route.close_machine("vm_other")
        await ws.send("still")
        assert await ws.recv() == "still"
        await lab.route.close_machine("vm_demo")
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(ws.recv(), FAIL_SAFE_S)


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "p0.demo-0a1b2c3d.localhost",
        "p65536.demo-0a1b2c3d.localhost",
        "p08000.demo-0a1b2c3d.localhost",
        "p8000.other-0a1b2c3d.localhost",
        "p8000.localhost",
        "demo-0a1b2c3d.localhost",
        "p8000..localhost",
        "p8000.demo--x.localhost",
        "anything.localhost",
    ],
)
@pytest.mark.parametrize("path", ["/api/status", "/lab", "/__rmx__/status"])
async def test_what_is_no_alias_gets_our_404_and_never_jupyter(lab, host, path):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{lab.port}") as client:
        plain = await client.get(path, headers={"Host": host})
        page = await client.get(path, headers={"Host": host, "Sec-Fetch-Mode": "navigate"})
    assert plain.status_code == page.status_code == 404
    assert plain.json()["error"] == "loopback_unknown_alias"
    assert "%vm ls" in page.text
    assert lab.dialled == []


@pytest.mark.parametrize("form", ["P{p}.DEMO-0A1B2C3D.LocalHost", "p{p}.demo-0a1b2c3d.localhost."])
async def test_case_and_a_trailing_dot_do_not_matter(lab, app_port, form):
    async with lab.client(app_port) as client:
        answer = await client.get("/echo", headers={"Host": f"{form.format(p=app_port)}:{lab.port}"})
    assert answer.status_code == 200


async def test_sub_labels_reach_the_app_by_name(lab, app_port):
    async with lab.client(app_port) as client:
        answer = await client.get("/echo", headers={"Host": "api." + lab.host(app_port)})
    assert dict(answer.json()["headers"])["Host"] == f"api.localhost:{app_port}"


async def test_jupyters_own_hosts_are_untouched(lab, app_port, jp_auth_header, jp_base_url):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{lab.port}{jp_base_url}") as client:
        for host in (f"localhost:{lab.port}", f"127.0.0.1:{lab.port}", "localhost."):
            answer = await client.get("api/status", headers={"Host": host, **jp_auth_header})
            if host != "localhost.":  # Jupyter itself refuses that form
                assert (answer.status_code, "started" in answer.json()) == (200, True)
        evil = f"p{app_port}.{LABEL}.localhost.evil.example"
        answer = await client.get("api/status", headers={"Host": evil, "Cookie": lab.cookie(app_port)})
    assert answer.status_code == 403  # Jupyter's own Host check
    assert lab.dialled == []


async def test_another_host_on_a_kept_connection_is_misdirected(lab, app_port):
    cookie = lab.cookie(app_port)
    for other in (f"localhost:{lab.port}", lab.host(app_port, "gpu-0a1b2c3d"), lab.host(app_port + 1)):
        answer = await raw(
            lab,
            f"GET /echo/1 HTTP/1.1\r\nHost: {lab.host(app_port)}\r\nCookie: {cookie}\r\n\r\n"
            f"GET /echo/2 HTTP/1.1\r\nHost: {other}\r\nCookie: {cookie}\r\n\r\n".encode(),
        )
        assert answer.count(b"HTTP/1.1 ") == 2
        assert b"HTTP/1.1 421 Misdirected Request" in answer
        assert b"/echo/2" not in answer
    assert len(lab.dialled) == 3


# Tickets and cookies


def open_link(lab, port, path="/", machine_id="vm_demo"):
    ticket = lab.tickets.mint("me", machine_id, LABEL, port, path)
    origin = f"http://localhost:{lab.port}"
    return urlsplit(open_url(LABEL, port, path, ticket, origin=origin, alias_domain="localhost"))


async def test_a_ticket_becomes_a_cookie_once(lab, app_port):
    link = open_link(lab, app_port, "/echo/deep?a=1")
    target = f"{link.path}?{link.query}"
    async with lab.client(app_port, cookie=False) as client:
        opened = await client.get(
            target, headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
        )
        assert (opened.status_code, opened.headers["location"]) == (303, "/echo/deep?a=1")
        assert opened.headers["referrer-policy"] == "no-referrer"
        assert opened.headers["cache-control"] == "no-store"
        cookie, *attributes = opened.headers["set-cookie"].split("; ")
        assert re.fullmatch(r"__Host-rmx-[0-9a-f]{8}=[\w-]{43}", cookie)
        assert attributes == ["Path=/", "HttpOnly", "Secure", "SameSite=None", "Partitioned"]
        seen = await client.get(opened.headers["location"], headers={"Cookie": f"app=1; {cookie}; b=2"})
        assert seen.json()["uri"] == "/echo/deep?a=1"
        assert dict(seen.json()["headers"])["Cookie"] == "app=1; b=2"
        client.cookies.clear()
        again = await client.get(target, headers={"Sec-Fetch-Mode": "navigate"})
        assert again.status_code == 403
        assert f"%vm open demo {app_port}" in again.text
        reloaded = await client.get(target, headers={"Cookie": cookie})
        assert (reloaded.status_code, reloaded.headers["location"]) == (303, "/echo/deep?a=1")
        assert "set-cookie" not in reloaded.headers


@pytest.mark.parametrize(
    "path", ["//evil.example/", "/\\evil.example", "https://evil.example/", "", "/a\r\nX: y"]
)
async def test_no_open_redirect(lab, app_port, path):
    link = f"/__rmx__/open?{httpx.QueryParams(ticket='used', path=path)}"
    async with lab.client(app_port) as client:
        answer = await client.get(link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "which", ["missing", "made up", "other port", "other machine", "revoked", "other server"]
)
async def test_without_a_grant_nothing_is_dialled(lab, app_port, which):
    cookie = {
        "missing": lambda: "a=b",
        "made up": lambda: f"{lab.tickets.cookie_name}=x",
        "other port": lambda: lab.cookie(app_port + 1),
        "other machine": lambda: lab.cookie(app_port, "vm_other"),
        "revoked": lambda: lab.cookie(app_port),
        "other server": lambda: lab.cookie(app_port).replace("__Host-rmx-", "__Host-rmx-f"),
    }[which]()
    if which == "revoked":
        lab.tickets.revoke_machine("vm_demo")
    async with lab.client(app_port, cookie=False) as client:
        for method, path in [
            ("GET", "/echo"),
            ("POST", "/echo"),
            ("OPTIONS", "/echo"),
            ("GET", "/__rmx__/status"),
        ]:
            answer = await client.request(method, path, headers={"Cookie": cookie})
            assert (answer.status_code, answer.json()["error"]) == (403, "loopback_no_grant")
    assert lab.dialled == []


async def test_the_reserved_prefix_never_reaches_the_app(lab, app_port):
    async with lab.client(app_port) as client:
        assert (await client.get("/__rmx__/anything")).status_code == 404
        assert (await client.post("/__rmx__/open")).status_code == 404
        assert lab.dialled == []
        assert (await client.get("/__rmx__/status")).json() == {"listening": True}


# Strangers' pages


@pytest.mark.parametrize(
    ("method", "headers", "passes"),
    [
        ("POST", {"Origin": "SELF", "Sec-Fetch-Site": "same-origin"}, True),
        ("POST", {"Origin": "SIBLING", "Sec-Fetch-Site": "same-site"}, True),
        ("POST", {"Origin": "OTHER", "Sec-Fetch-Site": "cross-site"}, False),
        ("POST", {"Origin": "SELF_ELSEWHERE"}, False),
        ("POST", {"Origin": "http://evil.example"}, False),
        ("POST", {"Origin": "null"}, False),
        ("POST", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, False),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, False),
        (
            "GET",
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
            False,
        ),
        (
            "GET",
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "embed"},
            False,
        ),
        (
            "GET",
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
            True,
        ),
        ("GET", {"Origin": "http://evil.example"}, False),
    ],
)
async def test_only_pages_of_this_machine_may_send(lab, app_port, method, headers, passes):
    names = {
        "SELF": lab.origin(app_port),
        "SIBLING": lab.origin(5173),
        "OTHER": lab.origin(app_port, "gpu-0a1b2c3d"),
        "SELF_ELSEWHERE": f"http://p{app_port}.{LABEL}.localhost:{lab.port + 1}",
    }
    headers = {key: names.get(value, value) for key, value in headers.items()}
    async with lab.client(app_port) as client:
        answer = await client.request(method, "/echo", headers=headers)
    assert (answer.status_code, len(lab.dialled)) == ((200, 1) if passes else (403, 0))
    if passes and headers.get("Origin") == names["SIBLING"]:
        assert dict(answer.json()["headers"])["Origin"] == "http://localhost:5173"


async def test_what_is_jupyters_never_reaches_the_app(lab, app_port):
    cookie = f"_xsrf=2|x; username-localhost-{lab.port}=y; a=1;b=2; jupyterhub-session-id=z; {lab.cookie(app_port)}"
    headers = {
        "Cookie": cookie,
        "Authorization": "token abcdef",
        "Referer": f"http://localhost:{lab.port}/lab?token=abcdef",
        "Proxy-Authorization": "Basic eDp5",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
    }
    async with lab.client(app_port) as client:
        seen = dict((await client.get("/echo", headers=headers)).json()["headers"])
    assert seen["Cookie"] == "a=1;b=2"
    assert seen["Referer"] == f"http://localhost:{lab.port}/"
    assert not {"Authorization", "Proxy-Authorization", "X-Hop"} & set(seen)
    assert "abcdef" not in str(seen)


# Life of an app


async def test_a_page_waits_until_something_listens(lab):
    port = free_port()
    async with lab.client(port) as client:
        page = await client.get("/", headers={"Sec-Fetch-Mode": "navigate"})
        assert page.status_code == 503
        assert f"Nothing listens on port {port} of demo yet" in page.text
        assert "/__rmx__/status" in page.text
        posted = await client.post("/", headers={"Sec-Fetch-Mode": "navigate"})
        assert (posted.status_code, "<script" in posted.text) == (503, False)  # nothing is sent twice
        program = await client.get("/")
        assert (program.status_code, program.headers["retry-after"]) == (503, "1")
        assert program.json()["error"] == "loopback_not_listening"
        assert (await client.get("/__rmx__/status")).json() == {"listening": False}
        server = await asyncio.start_server(_hello, "127.0.0.1", port)
        assert (await client.get("/__rmx__/status")).json() == {"listening": True}
        assert (await client.get("/", headers={"Sec-Fetch-Mode": "navigate"})).text == "hello"
        server.close()


async def _hello(reader, writer):
    if await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
    writer.close()


async def test_malformed_heads_are_refused_and_never_forwarded(lab, app_port):
    head = f"Host: {lab.host(app_port)}\r\nCookie: {lab.cookie(app_port)}\r\n"
    for bad in (
        f"POST /echo HTTP/1.1\r\n{head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"POST /echo HTTP/1.1\r\n{head}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        f"POST /echo HTTP/1.1\r\n{head}Transfer-Encoding: gzip\r\n\r\n",
        f"GET http://127.0.0.1:22/ HTTP/1.1\r\n{head}\r\n",
        f"CONNECT 127.0.0.1:22 HTTP/1.1\r\n{head}\r\n",
        f"POST /echo HTTP/1.1\r\n{head}Content-Length: -1\r\n\r\n",
    ):
        answer = await raw(lab, bad.encode())
        assert re.match(rb"HTTP/1.1 (400|501) ", answer), (bad, answer)
    assert lab.dialled == []
