"""Parts of the magics without a server: keys, text, batches."""

import asyncio
import re
from datetime import datetime, timedelta, timezone

import pytest

from jupyter_rmx.magics.display import OpenPort
from jupyter_rmx.magics.keys import KEEP_S, Keys
from jupyter_rmx.magics.machines import DefaultCard, MachineCard, MachineTable
from jupyter_rmx.magics.stream import EVENTS_AHEAD, Running
from jupyter_rmx.magics.text import StreamText
from jupyter_rmx.models import VM, ConnectionState, Exit, Output, PortLink, SSHTarget, VMSpec, Workspace

NOW = datetime(2030, 1, 2, tzinfo=timezone.utc)


def test_a_key_is_kept_ten_minutes_for_the_same_parameters():
    now = [0.0]
    keys = Keys(lambda: now[0])
    first = keys.of(VMSpec("a"))
    assert keys.of(VMSpec("b")) != first
    assert keys.of(VMSpec("a", image="i")) != first
    now[0] = KEEP_S - 1
    assert keys.of(VMSpec("a")) == first
    now[0] = KEEP_S
    assert keys.of(VMSpec("a")) != first


def test_a_destroyed_machine_takes_its_keys_with_it():
    keys = Keys(lambda: 0.0)
    named, unnamed, other = keys.of(VMSpec("a")), keys.of(VMSpec()), keys.of(VMSpec("b"))
    keys.made(VMSpec("a"), "a", "vm_1")
    keys.made(VMSpec(), "brave-owl", "vm_2")
    keys.made(VMSpec("b"), "b", "vm_3")
    keys.drop("a")
    keys.drop("vm_2")
    assert keys.of(VMSpec("a")) != named
    assert keys.of(VMSpec()) != unnamed
    assert keys.of(VMSpec("b")) == other


TEXT = "π ≈ 3\r 10%\r 20% 😀\r\nend\r"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_text_survives_any_cut(size):
    raw = TEXT.encode()
    stream = StreamText()
    pieces = [stream.feed(raw[start : start + size]) for start in range(0, len(raw), size)]
    assert not any(piece.endswith("\r") for piece in pieces)
    assert "".join([*pieces, stream.finish()]) == TEXT


def test_bytes_that_are_no_text_become_a_mark():
    stream = StreamText()
    assert stream.feed(b"a\xffb\xc3") + stream.finish() == "a�b�"


class Endless:
    """A command that writes as fast as it is read."""

    def __init__(self):
        self.produced = 0

    async def __aiter__(self):
        while True:
            self.produced += 1
            yield Output("stdout", b"x" * 1000)
            await asyncio.sleep(0)

    async def aclose(self):
        pass


async def test_output_that_no_one_takes_is_not_read_ahead():
    assert EVENTS_AHEAD * 65536 <= 4 * 1024 * 1024  # bytes held here at most: frames of 64 KiB
    session = Endless()
    running = Running(session, None)
    for _ in range(EVENTS_AHEAD * 20):
        await asyncio.sleep(0)
    stalled = session.produced
    assert EVENTS_AHEAD <= stalled <= EVENTS_AHEAD + 2
    batch = await running.batch()
    assert len(batch) <= EVENTS_AHEAD
    for _ in range(EVENTS_AHEAD * 20):
        await asyncio.sleep(0)
    assert session.produced > stalled  # and goes on once it is taken
    await running.aclose()


class Ends:
    def __init__(self, events):
        self._events = events

    async def __aiter__(self):
        for event in self._events:
            yield event

    async def aclose(self):
        pass


async def test_a_burst_is_one_batch_and_loses_nothing():
    events = [Output("stdout", b"%d" % number) for number in range(500)]
    running = Running(Ends([*events, Exit(code=0)]), None)
    seen = []
    batches = 0
    while not seen or not isinstance(seen[-1], Exit):
        seen += await running.batch()
        batches += 1
    assert seen == [*events, Exit(code=0)]
    assert batches < 100
    await running.aclose()


def vm(name="demo", status="running", **fields):
    return VM("vm_1", name, "me", "local", status, NOW - timedelta(hours=2), **fields)


def workspace(name="gpu01", destination="me@gpu01.lab", **fields):
    state = fields.pop("connection", ConnectionState("ready"))
    startup = fields.pop("startup", None)
    target = SSHTarget(destination, **fields)
    return Workspace("ws_1", name, "me", target, NOW - timedelta(days=3), startup, state)


def test_no_machines_says_what_to_do():
    bundle = MachineTable([])._repr_mimebundle_()
    for kind in ("text/plain", "text/html"):
        assert "%vm create demo" in bundle[kind] and "%vm attach me@host" in bundle[kind]


BLOCKED = ConnectionState(
    "blocked", code="ssh_auth_failed", reason="gpu03 takes no key of yours.", hint="Do so: %vm attach gpu03"
)
AGAIN = ConnectionState("reconnecting", 3, 4.0, "ssh_unreachable", "gpu02 does not answer.", "")


def test_the_list_shows_vms_and_workspaces():
    machines = MachineTable(
        [
            vm(),
            workspace(port=2200),
            workspace("gpu02", connection=AGAIN, jump_host="bastion"),
            workspace("gpu03", connection=BLOCKED),
            workspace("gpu04", "::1", port=22, connection=ConnectionState()),
        ],
        NOW,
        default="gpu01",
    )
    lines = machines.text().splitlines()
    assert [re.split(r" {2,}", line) for line in lines[:6]] == [
        ["NAME", "STATUS", "KIND", "WHERE", "CREATED"],
        ["demo", "running", "VM", "local", "2 h ago"],
        ["gpu01", "ready", "workspace", "me@gpu01.lab:2200 over SSH", "3 d ago"],
        [
            "gpu02",
            "reconnecting (attempt 3, next in 4 s)",
            "workspace",
            "me@gpu01.lab over SSH through bastion",
            "3 d ago",
        ],
        ["gpu03", "blocked", "workspace", "me@gpu01.lab over SSH", "3 d ago"],
        ["gpu04", "idle", "workspace", "[::1]:22 over SSH", "3 d ago"],
    ]
    assert (
        len({line.index(word) for line, word in zip(lines[:3], ("WHERE", "local", "me@"), strict=True)}) == 1
    )
    assert lines[6:] == [
        "gpu02: gpu02 does not answer.",
        "gpu03: gpu03 takes no key of yours. Do so: %vm attach gpu03",
        "Default machine: gpu01",
    ]
    html = machines.html()
    assert html.count("<tr>") == 6
    assert "--jp-error-color1" in html and "gpu03 takes no key of yours." in html


def test_all_that_is_known_of_a_workspace():
    card = MachineCard(
        workspace(
            identity_files=("/k/a", "/k/b"),
            options=("HostKeyAlias=x",),
            forward_agent=True,
            startup="tmux new -A",
            connection=BLOCKED,
        ),
        full=True,
    )
    text = card.text().splitlines()
    assert text[:3] == [
        "gpu01: blocked (me@gpu01.lab over SSH)",
        "gpu03 takes no key of yours. Do so: %vm attach gpu03",
        "Try again with: %vm attach gpu01",
    ]
    assert text[3] == "id: ws_1" and text[4].startswith("created: 20")
    assert text[5:] == [
        "keys: /k/a, /k/b",
        "options: HostKeyAlias=x",
        "flags: -A",
        "its terminals run first: tmux new -A",
    ]
    assert "HostKeyAlias=x" in card.html()
    assert "facts" not in MachineCard(workspace()).text() and "ws_1" not in MachineCard(workspace()).text()


def test_the_list_is_a_table_and_a_sequence():
    machines = MachineTable([vm(), vm("other", "failed")], NOW)
    assert machines.text().splitlines()[1].split() == ["demo", "running", "VM", "local", "2", "h", "ago"]
    assert machines[1].status == "failed"
    assert machines.html().count("<tr>") == 3


def test_html_is_escaped():
    evil = workspace("<b>x", "<b>x")
    for shown in (MachineCard(vm("<b>x")), MachineTable([vm("<b>x"), evil], NOW), DefaultCard(evil)):
        assert "<b>x" not in shown.html()
        assert "&lt;b&gt;x" in shown.html()


def test_a_link_holds_no_secret():
    link = PortLink(
        "demo",
        "vm_1",
        8000,
        "http://a/",
        "http://a/?ticket=hunter2",
        "http://localhost:8000/x?y=1",
        NOW,
        "o1",
    )
    bundle = OpenPort(link, "/x?y=1", "http://127.0.0.1:8888/base/")._repr_mimebundle_()
    assert "hunter2" not in repr(bundle)
    assert 'href="http://localhost:8888/base/rmx/open/demo/8000/x?y=1"' in bundle["text/html"]
    assert bundle["application/vnd.jupyter-rmx.open+json"] == {
        "version": 1,
        "machine": "demo",
        "machine_id": "vm_1",
        "port": 8000,
        "path": "/x?y=1",
        "shown": "http://localhost:8000/x?y=1",
        "open_id": "o1",
    }
