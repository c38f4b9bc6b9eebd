"""Terminals over REST and a WebSocket, as JupyterLab's own terminal manager and tab speak; on the embedded machine."""

import asyncio
import json
import os

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

from jupyter_rmx.terminals.terminal import Pace
from tests.terminal_host import TerminalHost

FAIL_SAFE_S = 60


class Tab:
    """What a terminal tab does: one WebSocket, terminado's messages."""

    def __init__(self, socket):
        self.socket = socket
        self.text = ""
        self.messages = []

    async def next(self):
        message = await asyncio.wait_for(self.socket.read_message(), FAIL_SAFE_S)
        if message is None:
            return None
        self.messages.append(json.loads(message))
        if self.messages[-1][0] == "stdout":
            self.text += self.messages[-1][1]
        return self.messages[-1]

    async def until(self, mark):
        while mark not in self.text:
            assert await self.next() is not None, self.text
        _, _, self.text = self.text.partition(mark)

    async def end(self):
        while await self.next() is not None:
            pass
        return self.messages[-1], self.socket.close_code

    async def send(self, *message):
        await self.socket.write_message(json.dumps(message))

    async def resize(self, cols, rows):
        await self.send("set_size", rows, cols, rows * 17, cols * 8)

    async def run(self, command):
        await self.send("stdin", f"{command}; echo do''ne\r")


@pytest.fixture
def look(jp_ws_fetch, jp_asyncio_loop):
    """Open a tab on a terminal of `demo`; all are closed at the end."""
    tabs = []

    async def open_tab(name, machine="demo", **options):
        path = ("rmx", "api", "v1", "machines", machine, "terminals", "websocket", name)
        tabs.append(Tab(await jp_ws_fetch(*path, **options)))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.socket.close()


@pytest.fixture
def call(api):
    """`await call("GET", "1")` of the terminals of `demo`; 204 has no body."""

    async def request(method="GET", name=None, body=None, machine="demo"):
        path = ("machines", machine, "api", "terminals", *([name] if name else []))
        return await api(*path, method=method, body=body)

    return request


@pytest.fixture
def delete(jp_fetch):
    async def request(name):
        path = ("rmx", "api", "v1", "machines", "demo", "api", "terminals", name)
        return await jp_fetch(*path, method="DELETE")

    return request


async def test_open_list_look_and_hang_up(demo, call, delete):
    assert await call() == (200, [])
    status, first = await call("POST")
    assert (status, first["name"]) == (200, "1")
    assert first["last_activity"].endswith("Z")
    status, named = await call("POST", body={"name": "mine", "cwd": ""})
    assert (status, named["name"]) == (200, "mine")
    assert [one["name"] for one in (await call())[1]] == ["1", "mine"]
    assert (await call("POST", body={"name": "mine"}))[1]["name"] == "mine"
    assert [one["name"] for one in (await call(machine=demo["id"]))[1]] == ["1", "mine"]
    assert (await call("GET", "mine"))[0] == 200
    answer = await delete("1")
    assert (answer.code, answer.body) == (204, b"")
    assert [one["name"] for one in (await call())[1]] == ["mine"]
    with pytest.raises(HTTPClientError) as gone:
        await delete("1")
    assert (gone.value.code, json.loads(gone.value.response.body)["error"]) == (404, "ssh_no_such_terminal")
    assert (await call("POST"))[1]["name"] == "1"


async def test_a_tab_sees_setup_then_output_and_types_and_resizes(demo, call, look):
    await call("POST")
    tab = await look("1")
    assert await tab.next() == ["setup", {}]
    await tab.resize(101, 31)
    await tab.run("stty size; echo $COLORTERM $TERM; locale charmap; printf 'gr\\303\\274n\\n'")
    await tab.until("31 101\r\ntruecolor xterm-256color\r\nUTF-8\r\ngrün\r\ndone")
    other = await look("1")
    await other.resize(80, 40)
    await other.until("grün")
    await other.run("stty size")
    await other.until("31 80\r\ndone")
    await tab.until("31 80\r\ndone")
    assert other.messages[1][1].startswith("\x1bc")


async def test_a_dropped_tab_comes_back_to_the_same_shell_and_its_output(demo, call, look):
    await call("POST")
    tab = await look("1")
    await tab.run("here=still; echo ear''lier")
    await tab.until("earlier\r\ndone")
    tab.socket.close()
    again = await look("1")
    await again.until("earlier\r\ndone")
    await again.run("echo $here the''re")
    await again.until("still there")


async def test_the_shells_end_closes_the_tab_as_jupyter_does(demo, call, look):
    await call("POST")
    tab, other = await look("1"), await look("1")
    await tab.send("stdin", "exit\r")
    assert await tab.end() == (["disconnect", 1], 1000)
    assert await other.end() == (["disconnect", 1], 1000)
    assert await call() == (200, [])


async def test_hanging_up_tells_the_tabs(demo, call, delete, look):
    await call("POST")
    tab = await look("1")
    assert await tab.next() == ["setup", {}]
    await delete("1")
    assert await tab.end() == (["disconnect", 1], 1000)


async def test_the_end_of_the_machine_is_the_end_of_its_terminals(demo, api, call, look):
    await call("POST")
    tab = await look("1")
    assert await tab.next() == ["setup", {}]
    assert (await api("vms", "demo", method="DELETE"))[0] == 200
    assert await tab.end() == (["disconnect", 1], 1000)
    assert (await call())[1]["error"] == "vm_not_found"


async def test_the_end_of_jupyter_lets_tabs_come_back(demo, call, look, rmx):
    await call("POST")
    tab = await look("1")
    assert await tab.next() == ["setup", {}]
    await rmx._terminals.aclose()
    assert (await tab.end())[1] == 1012
    status, refused = await call("POST")
    assert (status, refused["error"]) == (502, "ssh_closed")


async def test_a_paused_machine_goes_on_for_a_new_terminal_but_not_for_a_lost_one(demo, api, call, rmx):
    assert (await api("vms", "demo", "pause", method="POST"))[1]["status"] == "paused"
    machines = rmx._terminals._machines
    with pytest.raises(Exception, match="is paused") as refused:
        await machines.connect(demo["id"], wake=False)
    assert (refused.value.code, refused.value.retryable) == ("vm_not_running", False)
    assert (await api("machines", "demo"))[1]["status"] == "paused"
    assert (await call("POST"))[0] == 200
    assert (await api("machines", "demo"))[1]["status"] == "running"


async def test_bad_names_are_refused(demo, call):
    for name in ("a/b", "", " ", "a b", "x" * 33, "é", "\u0000", 1, ["1"]):
        status, refused = await call("POST", body={"name": name})
        code = "usage_bad_name" if isinstance(name, str) else "usage_bad_field"
        assert (status, refused["error"], bool(refused["action"])) == (400, code, True)
    assert await call() == (200, [])


async def test_no_more_than_the_limit_also_when_many_ask_at_once(demo, call, rmx):
    rmx._terminals._limit = 3
    answers = await asyncio.gather(*(call("POST") for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 200, 200, 409, 409]
    refused = next(answer for status, answer in answers if status == 409)
    assert refused["error"] == "ssh_too_many_terminals"
    assert refused["limit"] == 3
    assert sorted(one["name"] for one in (await call())[1]) == ["1", "2", "3"]
    answers = await asyncio.gather(*(call("POST", body={"name": "3"}) for _ in range(3)))
    assert {status for status, _ in answers} == {200}


@pytest.mark.parametrize(
    ("machine", "name", "area"),
    [("demo", "1", "ssh"), ("demo", "..%2F1", "ssh"), ("nobody", "1", "vm")],
    ids=["terminal", "odd", "machine"],
)
async def test_a_socket_on_nothing_is_refused(demo, look, machine, name, area):
    with pytest.raises(HTTPClientError) as refused:
        await look(name, machine)
    told = json.loads(refused.value.response.body)
    assert (refused.value.code, told["error"].split("_")[0], bool(told["action"])) == (404, area, True)


async def test_what_is_no_message_ends_the_tab_and_not_the_terminal(demo, call, look):
    await call("POST")
    for message in ("", "{", "[]", "1", '{"stdin": "x"}', '["stdin", "\\ud800"]', b"\xff"):
        tab = await look("1")
        await tab.socket.write_message(message, binary=isinstance(message, bytes))
        assert (await tab.end())[1] == 1007
    again = await look("1")
    await again.run("true")
    await again.until("done\r\n")


async def test_what_says_nothing_is_ignored(demo, call, look):
    await call("POST")
    tab = await look("1")
    await tab.resize(90, 20)
    for message in (
        *(["stdin"], ["stdin", 1], ["what", 1], [None], [[]], ["set_size"]),
        *(
            ["set_size", rows, cols]
            for rows, cols in ((0, 0), (-1, 80), (True, 80), (24, 10**9), ("24", "80"))
        ),
    ):
        await tab.send(*message)
    await tab.run("stty size")
    await tab.until("20 90\r\ndone")


async def test_strangers_pages_of_other_origins_and_the_unauthorized_are_refused(
    demo, call, look, jp_serverapp, http_server_client, jp_base_url, jp_http_port, monkeypatch
):
    await call("POST")
    token = jp_serverapp.identity_provider.token
    login = await http_server_client.fetch(
        f"{jp_base_url}tree?token={token}", follow_redirects=False, raise_error=False
    )
    cookie = "; ".join(line.split(";")[0] for line in login.headers.get_list("Set-Cookie"))
    own = f"127.0.0.1:{jp_http_port}"  # the cookie's name holds the host
    url = f"ws://{own}{jp_base_url}rmx/api/v1/machines/demo/terminals/websocket/1"
    page = {"Cookie": cookie, "Origin": f"http://{own}"}
    tab = Tab(await websocket_connect(HTTPRequest(url, headers=page)))
    assert await tab.next() == ["setup", {}]
    tab.socket.close()
    for headers in (
        {"Authorization": "token wrong"},
        page | {"Origin": "http://evil.example"},
        page | {"Cookie": ""},
    ):
        with pytest.raises(HTTPClientError) as refused:
            await websocket_connect(HTTPRequest(url, headers=headers))
        assert refused.value.code == 403

    asked = []

    def is_authorized(handler, user, action, resource):
        asked.append((action, resource))
        return False

    with monkeypatch.context() as patched:
        patched.setattr(jp_serverapp.authorizer, "is_authorized", is_authorized)
        for attempt in (look("1"), call("POST"), call()):
            try:
                status = (await attempt)[0]
            except HTTPClientError as error:
                status = error.code
            assert status == 403
    assert asked == [("execute", "terminals"), ("write", "terminals"), ("read", "terminals")]


async def test_keys_of_a_tab_that_has_gone_are_not_an_error(demo, call, look):
    await call("POST")
    tab = await look("1")
    assert await tab.next() == ["setup", {}]
    tab.socket.close()
    with pytest.raises(WebSocketClosedError):
        await tab.send("stdin", "x")
    other = await look("1")
    await other.run("true")
    await other.until("done\r\n")


@pytest.fixture
def host(api, jp_asyncio_loop):
    """A real OpenSSH server, attached as the workspace `gpu01`, whose terminals go to its root folder first."""
    if os.geteuid() != 0:
        pytest.skip("no-kernel-feature: chown of a terminal needs root")
    host = TerminalHost().start()
    run = jp_asyncio_loop.run_until_complete
    wish = {"target": host.line, "name": "gpu01", "startup": "cd /; echo start''ed"}
    status, attached = run(api("workspaces", method="POST", body=wish))
    assert (status, attached["question"]) == (200, None), attached
    yield host
    run(api("workspaces", "gpu01", method="DELETE"))
    host.stop()


async def test_a_host_of_ones_own_has_terminals_and_a_lost_one_is_a_new_shell_that_says_so(
    host, call, look, api
):
    assert (await call("POST", machine="gpu01"))[0] == 200
    tab, other = await look("1", "gpu01"), await look("1", "gpu01")
    for one in (tab, other):
        await one.until("started\r\n")
    await tab.run("here=old; pwd; printf 'gr\\303\\274n\\n'; echo $COLORTERM")
    await tab.until("/\r\ngrün\r\ntruecolor\r\ndone")
    host.cut()
    for one in (tab, other):
        await one.until("The connection to gpu01 was lost at ")
        await one.until("; this is a new shell.")
        await one.until("started\r\n")
    await tab.run("echo [$here]")
    await tab.until("[]\r\ndone")
    late = await look("1", "gpu01")
    await late.until("[]\r\ndone")


async def test_a_host_that_stays_away_is_tried_again_when_somebody_asks(host, call, look, rmx):
    rmx._terminals._pace = Pace(retries_s=(0.0, 0.1))
    assert (await call("POST", machine="gpu01"))[0] == 200
    tab = await look("1", "gpu01")
    await tab.until("started\r\n")
    host.down()
    await tab.until("was lost at ")
    await tab.until("Press Enter to try again.")
    await tab.send("stdin", "\r")
    await tab.until("Connecting to gpu01")
    await tab.until("Press Enter to try again.")
    host.start()
    await tab.send("stdin", "\r")
    await tab.until("this is a new shell.")
    await tab.until("started\r\n")


async def test_letting_go_of_a_host_ends_its_terminals(host, call, look, api):
    assert (await call("POST", machine="gpu01"))[0] == 200
    tab = await look("1", "gpu01")
    await tab.until("started\r\n")
    assert (await api("workspaces", "gpu01", method="DELETE"))[0] == 200
    assert await tab.end() == (["disconnect", 1], 1000)
