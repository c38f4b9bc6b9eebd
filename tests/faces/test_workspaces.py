"""Hosts of the user's own, over REST: a real Jupyter server in a process of its own, and a real OpenSSH server.

Attach, use, restart, let go; names; who asks at the same time; what the server asks.
"""

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import itertools
import json
import os
import sqlite3
import threading
from urllib.parse import urlsplit

import pytest

from jupyter_rmx.client import HttpRemoteMachines
from jupyter_rmx.errors import ProviderError, RmxError, TransportError, UsageError, WorkflowError
from jupyter_rmx.models import ExecSpec, Exit, Output, VMSpec, Workspace
from tests.faces.fake_server import FakeServer
from tests.faces.ssh_host import FAIL_SAFE_S, Host, asking_host, asking_line, free_port

SECRETS = ("correct horse", "battery staple", "wrong guess")
ROUNDS = (
    ("First", [("Password: ", False, SECRETS[0])]),
    ("Second", [("Code: ", True, "123456"), ("PIN: ", False, SECRETS[1])]),
)


@pytest.fixture
def host():
    made = Host()
    yield made
    made.drop_clients()
    made.finish()


@pytest.fixture
def servers(tmp_path, jp_asyncio_loop):
    """Makes Jupyter servers on one store, and clients of them; all end with the test."""
    made, clients = [], []

    def make(name="jupyter", **options):
        server = FakeServer(tmp_path / name, data_dir=tmp_path / "data", **options)
        made.append(server.start())
        return server

    def client(server):
        clients.append(HttpRemoteMachines(server.connection))
        return clients[-1]

    make.client = client
    yield make
    for one in clients:
        jp_asyncio_loop.run_until_complete(one.aclose())
    for one in made:
        one.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for all tests that leave it as they found it."""
    with FakeServer(tmp_path_factory.mktemp("workspaces") / "jupyter") as running:
        yield running


@pytest.fixture
def machines(shared, jp_asyncio_loop):
    """A client of it; what is attached or made is gone afterwards."""
    made = HttpRemoteMachines(shared.connection)
    yield made

    async def tidy():
        for one in await made.list():
            await (made.detach if isinstance(one, Workspace) else made.destroy)(one.id)
        await made.aclose()

    jp_asyncio_loop.run_until_complete(tidy())


@pytest.fixture
def server(servers):
    return servers()


@pytest.fixture
def own(servers, server):
    """A client of a server of this test's own."""
    return servers.client(server)


@pytest.fixture
def asking(jp_asyncio_loop):
    """The line of a server that asks two rounds of questions."""
    server, port = jp_asyncio_loop.run_until_complete(asking_host(ROUNDS))
    yield asking_line(port)
    server.close()
    jp_asyncio_loop.run_until_complete(server.wait_closed())


async def run(machines, name, command):
    """Standard output and exit of a command."""
    session = await machines.exec(name, ExecSpec(command))
    try:
        events = [event async for event in session]
    finally:
        await session.aclose()
    output = b"".join(event.data for event in events if isinstance(event, Output))
    assert isinstance(events[-1], Exit)
    return output, events[-1].code


async def eventually(condition):
    async def wait():
        while not await condition():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(wait(), FAIL_SAFE_S)


async def follow(machines, wanted, seen):
    """Events of one type as they come."""
    async for event in machines.events():
        if event.type == wanted:
            seen.append(event)


# Use


async def test_a_pasted_line_becomes_a_machine_like_every_other(machines, host):
    attached = await machines.attach(host.line)
    workspace = attached.machine
    assert isinstance(workspace, Workspace)
    assert (attached.question, workspace.connection.status) == (None, "ready")
    assert (workspace.name, workspace.target.port) == ("127-0-0-1", host.port)
    assert await run(machines, workspace.name, "echo out; echo $((6*7)); exit 3") == (b"out\n42\n", 3)
    result = await machines.exec_buffered(workspace.id, "echo err >&2; printf end")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "end", "err\n")
    assert await machines.get(workspace.name) == await machines.get(workspace.id) == workspace
    assert [one.name for one in await machines.list()] == ["127-0-0-1"]
    assert await machines.workspaces() == [workspace]
    assert host.logins() == 1


async def test_a_file_goes_there_whole(machines, host, tmp_path):
    name = (await machines.attach(host.line)).machine.name
    data = os.urandom(300_000)

    async def chunks():
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    target = tmp_path / "there"
    result = await machines.upload(name, str(target), chunks(), size=len(data), mode=0o600)
    assert target.read_bytes() == data
    assert (result.size, result.sha256) == (len(data), hashlib.sha256(data).hexdigest())


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello from {self.headers['Host']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def app():
    """The port of a small HTTP server, which is on the host since the host is this computer."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def get(server, url, cookie=None):
    """Ask Jupyter's own port for a URL of an alias; status, headers, body."""
    parts, there = urlsplit(url), urlsplit(server.connection.url)
    connection = http.client.HTTPConnection("127.0.0.1", there.port, timeout=FAIL_SAFE_S)
    with contextlib.closing(connection):
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc} | ({"Cookie": cookie} if cookie else {})
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


async def test_a_port_of_it_is_an_origin_of_its_own_and_follows_a_new_name(shared, machines, host, app):
    attached = await machines.attach(host.line, name="gpu01")
    origin = shared.connection.url.rstrip("/").replace("127.0.0.1", "localhost")
    link = await machines.open_port("gpu01", app, origin=origin)
    assert (link.machine, link.machine_id) == ("gpu01", attached.machine.id)
    status, headers, _ = await asyncio.to_thread(get, shared, link.open_url)
    assert status in {302, 303}
    cookie = headers["Set-Cookie"].split(";")[0]
    status, _, body = await asyncio.to_thread(get, shared, link.url, cookie)
    assert (status, body) == (200, f"hello from localhost:{app}".encode())
    renamed = await machines.rename("gpu01", "big")
    assert (renamed.id, renamed.name) == (attached.machine.id, "big")
    status, _, body = await asyncio.to_thread(get, shared, link.url, cookie)
    assert (status, body) == (200, f"hello from localhost:{app}".encode())
    await machines.detach("big")
    status, _, _ = await asyncio.to_thread(get, shared, link.url, cookie)
    assert status >= 400


async def test_it_is_there_after_a_restart_and_the_first_use_connects(servers, server, own, host):
    attached = await own.attach(host.line, name="gpu01", startup="tmux attach || tmux")
    server.stop()
    again = servers.client(server.start())
    (found,) = await again.workspaces()
    assert (found.id, found.target, found.startup) == (
        attached.machine.id,
        attached.machine.target,
        "tmux attach || tmux",
    )
    assert found.connection.status == "idle"
    assert await run(again, "gpu01", "echo here") == (b"here\n", 0)
    assert (await again.get("gpu01")).connection.status == "ready"


async def test_a_lost_connection_is_mended_and_each_change_told_once(machines, host):
    await machines.attach(host.line, name="gpu01")
    seen = []

    def stop_all():
        host.drop_clients()
        host.stop()

    following = asyncio.ensure_future(follow(machines, "machine.connection", seen))
    try:
        await asyncio.to_thread(stop_all)

        async def reconnecting():
            return (await machines.get("gpu01")).connection.status == "reconnecting"

        await eventually(reconnecting)
        state = (await machines.get("gpu01")).connection
        assert (state.attempt >= 1, state.code is not None, bool(state.reason)) == (True, True, True)
        with pytest.raises(TransportError):
            await run(machines, "gpu01", "true")
        host.start()
        assert await run(machines, "gpu01", "echo back") == (b"back\n", 0)

        async def told():
            return bool(seen) and seen[-1].data["status"] == "ready"

        await eventually(told)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert {event.machine for event in seen} == {"gpu01"}
    news = [(event.data["status"], event.data["code"]) for event in seen]
    assert all(one != other for one, other in itertools.pairwise(news))
    assert "reconnecting" in {status for status, _ in news}


async def test_a_page_does_not_knock_at_a_host_that_lets_nobody_in_but_a_person_does(
    shared, machines, host, app
):
    await machines.attach(host.line, name="gpu01")
    origin = shared.connection.url.rstrip("/").replace("127.0.0.1", "localhost")
    link = await machines.open_port("gpu01", app, origin=origin)
    _, headers, _ = await asyncio.to_thread(get, shared, link.open_url)
    cookie = headers["Set-Cookie"].split(";")[0]
    host.authorize()  # nobody
    await asyncio.to_thread(host.drop_clients)

    async def blocked():
        return (await machines.get("gpu01")).connection.status == "blocked"

    await eventually(blocked)
    state = (await machines.get("gpu01")).connection
    assert (state.code, bool(state.reason), bool(state.hint)) == ("ssh_auth_failed", True, True)
    knocks = host.knocks()
    status, _, _ = await asyncio.to_thread(get, shared, link.url, cookie)
    assert (status >= 500, host.knocks()) == (True, knocks)
    with pytest.raises(TransportError):
        await run(machines, "gpu01", "true")
    assert host.knocks() > knocks
    host.authorize(host.key)
    assert await run(machines, "gpu01", "echo in") == (b"in\n", 0)
    status, _, _ = await asyncio.to_thread(get, shared, link.url, cookie)
    assert status == 200


async def test_to_let_go_forgets_the_host_and_changes_nothing_there(servers, machines, host, tmp_path):
    await machines.attach(host.line, name="gpu01")
    before = sorted(path.name for path in host.folder.iterdir())
    await machines.detach("gpu01")

    async def alone():
        return host.connections() == []

    await eventually(alone)
    assert sorted(path.name for path in host.folder.iterdir()) == before
    assert await machines.list() == []
    for call in (
        machines.get("gpu01"),
        machines.detach("gpu01"),
        machines.exec_buffered("gpu01", "true"),
        machines.open_port("gpu01", 80),
    ):
        with pytest.raises(WorkflowError) as caught:
            await call
        assert (caught.value.code, caught.value.status) == ("vm_not_found", 404)


async def test_what_only_vms_can_is_refused_with_the_way_out(machines, host):
    await machines.attach(host.line, name="gpu01")
    for call in (
        machines.pause("gpu01"),
        machines.resume("gpu01"),
        machines.snapshot("gpu01"),
        machines.fork("gpu01", name="copy"),
        machines.destroy("gpu01"),
        machines.ssh_endpoint("gpu01"),
        machines.attach_endpoint("gpu01"),
    ):
        with pytest.raises(ProviderError) as caught:
            await call
        assert (caught.value.code, caught.value.status) == ("vm_unsupported", 501)
        assert "%vm detach gpu01" in caught.value.hint
    assert await run(machines, "gpu01", "echo still here") == (b"still here\n", 0)


# Names


async def test_a_name_is_unique_over_vms_and_workspaces_both_ways(machines, host):
    await machines.attach(host.line, name="gpu01")
    await machines.create(VMSpec("demo"))
    clashes = (
        (machines.create(VMSpec("gpu01")), "vm_name_taken"),
        (machines.rename("demo", "gpu01"), "vm_name_taken"),
        (machines.rename("gpu01", "demo"), "vm_name_taken"),
        (machines.attach(f"ssh -p {free_port()} me@127.0.0.1", name="demo"), "vm_name_taken"),
        (machines.attach(f"ssh -p {free_port()} me@127.0.0.1", name="gpu01"), "vm_name_taken"),
        (machines.attach(host.line, name="other"), "ssh_has_a_name"),
    )
    for call, code in clashes:
        with pytest.raises(WorkflowError) as caught:
            await call
        assert (caught.value.code, caught.value.status) == (code, 409)
        assert caught.value.hint
    assert sorted(one.name for one in await machines.list()) == ["demo", "gpu01"]


async def test_pages_mix_vms_and_workspaces_newest_first_each_once(machines, host):
    made = [(await machines.attach(host.line, name="h-1")).machine]
    made.append(await machines.create(VMSpec("v-1")))
    made.append((await machines.attach(host.line.replace("ssh -o", "ssh -C -o"), name="h-2")).machine)
    made.append(await machines.create(VMSpec("v-2")))
    for limit in (1, 2, 3, 4):
        seen, cursor = [], None
        while cursor is not None or not seen:
            page = await machines.page(limit=limit, cursor=cursor)
            assert len(page.machines) <= limit
            seen += [one.id for one in page.machines]
            cursor = page.next
        assert seen == [one.id for one in reversed(made)]


async def test_the_same_way_in_other_words_is_the_same_workspace(machines, host):
    first = (await machines.attach(host.line)).machine
    words = host.line.replace("ssh -o", "ssh -T -o").replace(f"-p {host.port}", f"-p{host.port}")
    assert (await machines.attach(f"$ {words} ", startup="fish")).machine == Workspace(
        **(vars(first) | {"startup": "fish"})
    )
    other = (await machines.attach(f"{host.line.replace('ssh -o', 'ssh -C -o')}")).machine
    assert (other.name, other.id == first.id) == ("127-0-0-1-2", False)
    assert host.logins() == 2


async def test_a_vm_of_that_name_comes_first_unless_ssh_is_forced(machines, host):
    vm = await machines.create(VMSpec("demo"))
    await machines.pause("demo")
    with pytest.raises(RmxError) as caught:  # the fake's machines cannot be reached
        await machines.attach("demo")
    assert caught.value.code != "vm_not_found"
    assert (await machines.get("demo")).status == "running"
    for target, force in (("ssh:demo", False), ("demo", True)):
        with pytest.raises(RmxError) as caught:
            await machines.attach(target, force_ssh=force)
        assert isinstance(caught.value, TransportError)
        assert "demo" in caught.value.message
    assert [one.id for one in await machines.list()] == [vm.id]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"target": "-oProxyCommand=id"}, "usage_bad_target"),
        ({"target": "ssh"}, "usage_bad_target"),
        ({"target": "a\0b"}, "usage_bad_target"),
        ({"target": "h", "name": "No Name"}, "usage_bad_name"),
        ({"target": "h", "startup": "a\nb"}, "usage_bad_startup"),
        ({"target": "h", "startup": "a" * 9000}, "usage_bad_startup"),
    ],
)
async def test_a_wrong_wish_is_refused_and_leaves_nothing(machines, wish, code):
    with pytest.raises(UsageError) as caught:
        await machines.attach(**wish)
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert await machines.list() == []


async def test_a_host_that_lets_nobody_in_leaves_nothing_in_the_list(machines, host):
    with pytest.raises(TransportError) as refused:
        await machines.attach(f"ssh -p {free_port()} me@127.0.0.1", name="closed")
    assert refused.value.hint
    with pytest.raises(TransportError):
        await machines.attach(host.line_with(host.host_keys["ed25519"]), name="stranger")
    assert await machines.list() == []


# At the same time


async def test_many_that_attach_at_once_make_one_row_and_one_connection(machines, host):
    attached = await asyncio.gather(*(machines.attach(host.line) for _ in range(16)))
    assert len({one.machine.id for one in attached}) == 1
    assert {one.question for one in attached} == {None}
    assert host.logins() == 1


async def test_two_jupyter_servers_share_the_list_and_not_the_connection(servers, host):
    one, two = (servers.client(servers(name)) for name in ("one", "two"))
    attached = await asyncio.gather(*(of.attach(host.line) for of in (one, two) * 4))
    assert len({found.machine.id for found in attached}) == 1
    assert host.logins() == 2
    renamed = await two.rename("127-0-0-1", "gpu01")
    assert (await one.get("gpu01")).id == renamed.id
    assert await run(one, "gpu01", "echo one") == (b"one\n", 0)
    made = await asyncio.gather(
        one.create(VMSpec("both")), two.rename("gpu01", "both"), return_exceptions=True
    )
    lost = [answer for answer in made if isinstance(answer, RmxError)]
    assert [error.code for error in lost] == ["vm_name_taken"]
    assert sorted(one.name for one in await two.list()) in (["both"], ["both", "gpu01"])


async def test_owners_do_not_see_one_anothers(servers, host):
    mine = servers.client(servers("mine"))
    theirs = servers.client(servers("theirs", env={"LOGNAME": "someone-else"}))
    await mine.attach(host.line, name="gpu01")
    assert await theirs.list() == []
    with pytest.raises(WorkflowError):
        await theirs.exec_buffered("gpu01", "true")
    other = (await theirs.attach(host.line, name="gpu01")).machine
    assert (other.owner, len(await mine.list())) == ("someone-else", 1)
    await theirs.detach("gpu01")
    assert await run(mine, "gpu01", "echo mine") == (b"mine\n", 0)


# Questions


async def test_questions_come_one_after_another_until_it_is_ready(machines, asking):
    first = await machines.attach(asking, name="otp")
    assert first.machine.connection.status == "connecting"
    (prompt,) = first.question.prompts
    assert ("Password:" in prompt.text, prompt.echo) == (True, False)
    joined = await machines.attach(asking)  # somebody else at the same machine sees the same question
    assert joined.question == first.question
    second = await machines.answer(first.question.id, [SECRETS[0]])
    assert [(one.echo, one.text.strip()) for one in second.question.prompts] == [
        (True, "Code:"),
        (False, "PIN:"),
    ]
    with pytest.raises(UsageError) as caught:
        await machines.answer(second.question.id, ["only one"])
    assert (caught.value.code, "only one" in str(caught.value.to_wire())) == ("usage_bad_answers", False)
    ready = await machines.answer(second.question.id, ["123456", SECRETS[1]])
    assert (ready.question, ready.machine.connection.status) == (None, "ready")
    assert await run(machines, "otp", "echo in") == (b"in\n", 0)
    for old in (first.question.id, second.question.id, "q_0000", "../x"):
        with pytest.raises(WorkflowError) as gone:
            await machines.answer(old, ["x"])
        assert (gone.value.code, gone.value.status) == ("ssh_no_such_question", 404)


async def test_a_wrong_answer_is_asked_again_or_is_one_clear_error(machines, asking):
    attached = await machines.attach(asking, name="otp")
    tries = 0
    with pytest.raises(TransportError) as caught:
        while attached.question is not None:
            tries += 1
            assert tries < 20
            attached = await machines.answer(attached.question.id, [SECRETS[2]])
    assert caught.value.code == "ssh_auth_failed"
    assert tries >= 1
    assert await machines.list() == []


async def test_to_give_up_is_no_error_and_leaves_nothing(machines, asking):
    attached = await machines.attach(asking, name="otp")
    given_up = await machines.answer(attached.question.id, None)
    assert (given_up.question, given_up.machine.connection.status) == (None, "idle")
    assert await machines.list() == []
    again = await machines.attach(asking, name="otp")
    assert again.question.id != attached.question.id


async def test_a_client_that_goes_away_leaves_its_question_to_others(shared, machines, asking):
    first = await machines.attach(asking, name="otp")
    waiting = asyncio.ensure_future(machines.answer(first.question.id, [SECRETS[0]]))
    await asyncio.sleep(0)
    waiting.cancel()  # gone in the middle of the answer, or before it was sent
    await asyncio.gather(waiting, return_exceptions=True)
    other = HttpRemoteMachines(shared.connection)
    attached = await other.attach(asking)
    while attached.question is not None:
        answers = [SECRETS[0]] if len(attached.question.prompts) == 1 else ["123456", SECRETS[1]]
        attached = await other.answer(attached.question.id, answers)
    assert await run(other, "otp", "echo in") == (b"in\n", 0)
    await other.aclose()


async def test_where_nobody_can_answer_the_error_says_how_to(servers, server, own, asking):
    attached = await own.attach(asking, name="otp")
    attached = await own.answer(attached.question.id, [SECRETS[0]])
    await own.answer(attached.question.id, ["123456", SECRETS[1]])
    server.stop()
    again = servers.client(server.start())
    with pytest.raises(TransportError) as caught:
        await run(again, "otp", "true")
    assert caught.value.code == "ssh_needs_answer"
    assert "%vm attach otp" in caught.value.hint
    attached = await again.attach("otp")
    assert attached.question is not None
    await again.answer(attached.question.id, None)
    assert [one.name for one in await again.list()] == ["otp"]  # what was connected once stays
    assert (await again.attach("otp")).question is not None
    await again.detach("otp")  # also with a question that waits
    assert await again.list() == []


async def test_answers_are_kept_nowhere(server, own, asking, tmp_path):
    machines = own
    attached = await machines.attach(asking, name="otp")
    attached = await machines.answer(attached.question.id, [SECRETS[0]])
    with pytest.raises(UsageError):
        await machines.answer(attached.question.id, [SECRETS[2]])
    await machines.answer(attached.question.id, ["123456", SECRETS[1]])
    await run(machines, "otp", "true")
    server.stop()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"server.log", "store.sqlite3"} <= {path.name for path in files}
    for path in files:
        data = path.read_bytes()
        assert not [secret for secret in SECRETS if secret.encode() in data], path
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "store.sqlite3")) as store:
        ((target,),) = store.execute("SELECT target FROM workspaces").fetchall()
    assert json.loads(target)["destination"].endswith("@127.0.0.1")
