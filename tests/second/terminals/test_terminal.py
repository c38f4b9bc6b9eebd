"""A terminal on a real OpenSSH server: viewers, sizes, scrollback, pace, and its end."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from jupyter_rmx.terminals import terminal as room
from jupyter_rmx.terminals.terminal import Pace


async def test_keys_go_there_and_their_output_comes_back_in_unicode_and_colour(terminals, look):
    screen = look(await terminals.open("gpu01"), (100, 30))
    await screen.until("> ")
    assert await screen.say("stty size") == "30 100\r\n"
    shown = await screen.say(r"printf '\033[38;2;1;200;3mgr\303\274n \360\237\231\202\033[0m\n'")
    assert shown == "\x1b[38;2;1;200;3mgrün 🙂\x1b[0m\r\n"
    assert await screen.say("printf '%s' 'ü🙂' | od -An -tx1") == " c3 bc f0 9f 99 82\r\n"


async def test_the_smallest_viewer_decides_and_the_last_size_stays(terminals, look):
    terminal = await terminals.open("gpu01")
    one = look(terminal, (100, 40))
    await one.until("> ")
    assert await one.say("stty size") == "40 100\r\n"
    two = look(terminal, (120, 30))
    assert await one.say("stty size") == "30 100\r\n"
    three = look(terminal)  # has not said its size yet
    assert await one.say("stty size") == "30 100\r\n"
    one.leave()
    await two.until("30 100\r\ndone\r\n> ")
    await two.until("30 100\r\ndone\r\n")
    assert await two.say("stty size") == "30 120\r\n"
    two.leave()
    await three.until("30 120\r\ndone\r\n")
    assert await three.say("stty size") == "30 120\r\n"


async def test_who_comes_later_sees_what_was_shown_and_then_the_same(terminals, look):
    terminal = await terminals.open("gpu01")
    first = look(terminal, (80, 24))
    await first.until("> ")
    await first.say("echo ear''lier")
    first.leave()
    await asyncio.sleep(0)
    later = look(terminal)
    assert (await later.until("earlier\r\n")).startswith("\x1bc")
    third = look(terminal)
    await third.type("echo to''gether\r")
    await later.until("together\r\n")
    await third.until("together\r\n")


async def test_a_full_screen_program_paints_again_for_who_comes_later(terminals, look):
    terminal = await terminals.open("gpu01")
    first = look(terminal, (80, 24))
    await first.until("> ")
    program = 'trap "echo painted \\$(stty size)" WINCH; echo; echo ready; while :; do sleep 0.05; done'
    await first.type(f"printf '\\033[?1049h'; bash -c '{program}'\r")
    await first.until("\nready")
    first.leave()
    later = look(terminal)
    await later.until("painted 24 80\r\n")
    plain = look(terminal)
    await plain.type("\x03")


async def test_output_without_a_viewer_goes_on_and_its_end_is_kept(terminals, look, eventually):
    terminal = await terminals.open("gpu01")
    first = look(terminal, (80, 24))
    await first.until("> ")
    await first.type("seq 400000; echo al''l\r")
    first.leave()

    async def done():
        return b"all\r\n" in terminal._scrollback.replay()

    await eventually(done)
    shown = await look(terminal).until("all\r\n")
    assert 1024 * 1024 <= len(shown) <= 1200 * 1024
    numbers = [int(line) for line in shown.split("\r\n")[1:] if line.isdigit()]
    assert numbers == list(range(numbers[0], 400001))


async def test_a_viewer_that_stops_is_dropped_and_the_others_see_all(terminals, look):
    terminal = await terminals.open("gpu01")
    quick = look(terminal, (80, 24))
    await quick.until("> ")
    stopped = look(terminal)
    await quick.type("seq 1500000; echo al''l\r")
    shown = await quick.until("all\r\n")
    numbers = [int(line) for line in shown.split("\r\n") if line.isdigit()]
    assert numbers == list(range(1, 1500001))
    assert stopped.view.ending == "slow"
    assert stopped.view.behind == 0
    assert await stopped.view.take() is None
    again = look(terminal)
    await again.until("1500000\r\nall\r\n")


async def test_a_lone_viewer_that_is_slow_slows_the_machine_and_misses_nothing(terminals, look):
    terminal = await terminals.open("gpu01")
    slow = look(terminal, (80, 24))
    await slow.until("> ")
    await slow.type("seq 1500000; echo al''l\r")
    most, text = 0, ""
    while "all\r\n" not in text[-100:]:
        most = max(most, slow.view.behind)
        text += await asyncio.wait_for(slow.view.take(), 60)
        await asyncio.sleep(0.001)
    numbers = [int(line) for line in text.split("\r\n") if line.isdigit()]
    assert numbers == list(range(1, 1500001))
    assert most <= room.KEEPING_UP + room.READ


async def test_where_all_viewers_have_stopped_the_program_goes_on(machines, terminals, look, eventually):
    terminals._pace = Pace(stall_s=0.2)
    terminal = await terminals.open("gpu01")
    asleep = look(terminal, (80, 24))
    await asleep.until("> ")
    await asleep.type("seq 400000; touch do''ne.here\r")

    async def done():
        return asleep.view.ending == "slow" and b"400000" in terminal._scrollback.replay()

    await eventually(done)
    screen = look(terminal)
    assert await screen.say("ls done.here") == "done.here\r\n"


async def test_a_programs_question_is_answered_by_one_viewer(terminals, look):
    terminal = await terminals.open("gpu01")
    one, two = look(terminal, (80, 24)), look(terminal)
    await one.until("> ")
    await one.type("stty -echo; echo rea''dy; IFS= read -r answer; printf '%q\\n' \"$answer\"\r")
    await one.until("ready\r\n")
    for screen in (one, two):
        await screen.type("\x1b[?1;2c")
    await two.type("typed\r")
    await one.until("$'\\E[?1;2ctyped'\r\n")


async def test_a_large_paste_arrives_whole(terminals, look):
    terminal = await terminals.open("gpu01")
    screen = look(terminal, (80, 24))
    await screen.until("> ")
    await screen.type("stty raw -echo; echo rea''dy; head -c 3000000 | sha256sum; stty sane\r")
    await screen.until("ready\n")
    paste = "".join(f"{number:07d}ü" for number in range(3000000))[:2666667]
    data = paste.encode()[:3000000]
    await screen.type(data.decode("utf-8", "ignore"))
    await screen.until(hashlib.sha256(data).hexdigest())


async def test_the_shells_end_is_the_terminals(terminals, look):
    terminal = await terminals.open("gpu01")
    screen = look(terminal)
    await screen.until("> ")
    await screen.type("exit\r")
    await screen.rest()
    assert (screen.view.ending, terminal.state) == ("ended", "ended")
    assert await terminals.list("gpu01") == []
    late = look(terminal)
    assert "exit" in await late.rest()
    await late.type("nobody reads this\r")


async def test_closing_hangs_up_what_runs_there(terminals, machines, look, eventually):
    terminal = await terminals.open("gpu01")
    screen = look(terminal)
    await screen.until("> ")
    pid = int(await screen.say("echo $$"))
    await screen.type("exec sleep 1000\r")
    await terminals.close("gpu01", terminal.name)
    assert screen.view.ending == "ended"

    async def gone():
        return not Path(f"/proc/{pid}").exists()

    await eventually(gone)


@pytest.mark.parametrize("command", ["export STARTED=yes; cd /", "printf 'a\\n'\nexport STARTED=yes; cd /"])
async def test_the_start_up_command_runs_first_in_the_shell_itself(terminals, machines, look, command):
    machines.startup = command
    terminals._pace = Pace(quiet_s=1.0)
    screen = look(await terminals.open("gpu01"), (100, 30))
    shown = await screen.until("cd /\r\n")
    assert shown.count("STARTED") == 1
    assert await screen.say("echo $STARTED $PWD") == "yes /\r\n"
