"""An SSH session in one of Jupyter's own terminals is found, and nothing is done with it."""

import asyncio
import getpass
import json
import shlex

import pytest
from tornado.websocket import WebSocketClosedError

from tests.faces.ssh_host import FAIL_SAFE_S, Host, free_port


@pytest.fixture
def host():
    made = Host()
    yield made
    made.drop_clients()
    made.finish()


@pytest.fixture
def jp_server_config():
    return {"ServerApp": {"jpserver_extensions": {"jupyter_rmx": True, "jupyter_server_terminals": True}}}


@pytest.fixture
def rmx_home(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_RMX_DATA_DIR", str(tmp_path / "rmx"))


@pytest.fixture
def sessions(rmx_home, jp_fetch):
    async def get():
        answer = await jp_fetch("rmx", "api", "v1", "ssh-sessions")
        return json.loads(answer.body)["sessions"]

    return get


async def until(get, wanted):
    deadline = asyncio.get_running_loop().time() + FAIL_SAFE_S
    while not wanted(seen := await get()):
        assert asyncio.get_running_loop().time() < deadline, seen
        await asyncio.sleep(0.05)
    return seen


async def test_a_session_in_the_foreground_is_found_and_gone_with_its_end(
    sessions, jp_fetch, jp_ws_fetch, host
):
    assert await sessions() == []
    name = json.loads((await jp_fetch("api", "terminals", method="POST", body="{}")).body)["name"]
    assert await sessions() == []
    socket = await jp_ws_fetch("terminals", "websocket", name)
    trust = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    line = f"{host.line} {trust} -L {free_port()}:localhost:1 -o RequestTTY=auto"

    def type_(text):
        return socket.write_message(json.dumps(["stdin", text]))

    await type_(f"{host.line} {trust} true; sleep 600 | {line} & sleep 600\r")
    await until(host_has(host), lambda logins: logins >= 2)
    assert await sessions() == []  # one ran a command, and one is in the background
    await type_("\x03")
    await type_(f"kill %1; {line}\r")
    (found,) = await until(sessions, bool)
    assert (found["terminal"], found["machine"]) == (name, None)
    assert found["destination"] == f"{getpass.getuser()}@127.0.0.1"
    words = shlex.split(found["line"])
    assert (words[0], words[words.index("-p") + 1]) == ("ssh", str(host.port))
    assert not (await jp_list(jp_fetch)), "it is offered, never taken"

    body = json.dumps({"target": found["line"], "name": "mine"})
    answer = await jp_fetch("rmx", "api", "v1", "workspaces", method="POST", body=body)
    assert json.loads(answer.body)["question"] is None
    assert [one["machine"] for one in await sessions()] == ["mine"]

    await until(host_has(host), lambda logins: logins >= 4)
    await type_("exit\r")
    await until(sessions, lambda seen: not seen)
    await jp_fetch("rmx", "api", "v1", "workspaces", "mine", method="DELETE")
    await jp_fetch("api", "terminals", name, method="DELETE")
    with pytest.raises(WebSocketClosedError):
        for _ in range(1000):
            await type_("x")
            await asyncio.sleep(0.01)


def host_has(host):
    async def logins():
        return host.logins()

    return logins


async def jp_list(jp_fetch):
    answer = await jp_fetch("rmx", "api", "v1", "workspaces")
    return json.loads(answer.body)["workspaces"]
