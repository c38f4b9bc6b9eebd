"""A link that breaks under a terminal, on a real OpenSSH server whose connections are cut."""

import asyncio

import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.terminals.notices import line
from jupyter_rmx.terminals.terminal import RETRIES_S, Pace


@pytest.fixture
def pauses(terminals):
    """The pauses that a terminal makes between its tries; none of them takes time."""
    made = []

    async def sleep(seconds):
        made.append(seconds)
        await asyncio.sleep(0)

    terminals._pace = Pace(sleep=sleep)
    return made


def _refusal(*, retryable):
    return TransportError(
        "It is\x1b[2J away.", hint="Wait for it.", code="ssh_unreachable", retryable=retryable
    )


async def test_a_cut_gives_a_new_shell_of_the_same_size_and_says_so(
    server, machines, terminals, look, pauses
):
    terminal = await terminals.open("gpu01")
    screen = look(terminal, (90, 33))
    await screen.until("> ")
    await screen.say("here=old; printf '\\033[?1000h'")
    server.cut()
    await screen.until("The connection to gpu01 was lost at ")
    await screen.until("; this is a new shell.")
    await screen.until("> ")
    assert await screen.say("echo [$here] $(stty size)") == "[] 33 90\r\n"
    assert machines.woken == [True, False]
    assert pauses[:1] == [0.0]
    replay = terminal._scrollback.replay()
    assert replay.rindex(b"\x1b[?1000l") > replay.rindex(b"\x1b[?1000h")


async def test_an_editors_screen_is_left_when_its_link_breaks(server, terminals, look, pauses):
    terminal = await terminals.open("gpu01")
    screen = look(terminal)
    await screen.until("> ")
    await screen.say("printf '\\033[?1049h'")
    assert terminal._scrollback.full_screen()
    server.cut()
    await screen.until("this is a new shell.")
    assert not terminal._scrollback.full_screen()


async def test_it_is_tried_a_few_times_then_when_somebody_asks(server, machines, terminals, look, pauses):
    terminal = await terminals.open("gpu01")
    screen = look(terminal)
    await screen.until("> ")
    machines.refusal = _refusal(retryable=True)
    server.cut()
    await screen.until("No connection to gpu01: It is [2J away. Wait for it. Press Enter to try again.")
    assert pauses == list(RETRIES_S)
    assert terminal.state == "lost"
    assert machines.woken[1:] == [False] * len(RETRIES_S)
    await screen.type("x")
    await asyncio.sleep(0)
    assert terminal.state == "lost"
    machines.refusal = None
    await screen.type("\r")
    await screen.until("Connecting to gpu01")
    await screen.until("this is a new shell.")
    await screen.until("> ")
    assert machines.woken[-1] is True
    assert await screen.say("echo back") == "back\r\n"


async def test_what_no_try_can_help_is_said_at_once(server, machines, terminals, look, pauses):
    terminal = await terminals.open("gpu01")
    screen = look(terminal)
    await screen.until("> ")
    machines.refusal = _refusal(retryable=False)
    server.cut()
    await screen.until("Press Enter to try again.")
    assert pauses == [0.0]
    await terminals.close("gpu01", terminal.name)
    assert screen.view.ending == "ended"
    assert await terminals.list("gpu01") == []


async def test_a_first_shell_that_cannot_be_opened_is_an_error_and_no_terminal(machines, terminals):
    machines.refusal = _refusal(retryable=True)
    with pytest.raises(TransportError) as refused:
        await terminals.open("gpu01")
    assert refused.value is machines.refusal
    assert await terminals.list("gpu01") == []
    machines.refusal = None
    assert (await terminals.open("gpu01")).name == "1"


async def test_nothing_is_left_behind_after_many_cuts(server, terminals, look, pauses, eventually):
    terminal = await terminals.open("gpu01")
    screen = look(terminal)
    await screen.until("> ")
    await screen.say("true")
    before = len(asyncio.all_tasks())
    for _ in range(5):
        server.cut()
        await screen.until("this is a new shell.")
        await screen.until("> ")
        await screen.say("true")

    async def as_before():
        return len(asyncio.all_tasks()) <= before

    await eventually(as_before)
    await terminals.aclose()
    assert screen.view.ending == "closed"
    with pytest.raises(TransportError) as refused:
        await terminals.open("gpu01")
    assert refused.value.code == "ssh_closed"


def test_a_notice_cannot_steer_the_terminal():
    told = line("a\x1b[2J\r\n\x9b31mb\x07")
    assert told == "\r\n\x1b[0;7m a [2J 31mb \x1b[0m\r\n"
