"""What is kept of a terminal's output, and what brings it back."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_rmx.terminals.answers import is_answer
from jupyter_rmx.terminals.scrollback import RESET, Scrollback, safe_cut, whole_characters

TEXT = st.text(
    st.characters(exclude_characters="\x1b\x05\x07\x18\x1a", exclude_categories=["Cs"]),
    min_size=1,
    max_size=40,
).map(str.encode)
SEQUENCES = st.sampled_from(
    [
        b"\x1b[31m",
        b"\x1b[0m",
        b"\x1b[38;2;1;2;3m",
        b"\x1b[2J",
        b"\x1b[12;40H",
        b"\x1b[?2004h",
        b"\x1b[?2004l",
        b"\x1b[?1049h",
        b"\x1b[?1049l",
        b"\x1b[?1;1000h",
        b"\x1b[!p",
        b"\x1b7",
        b"\x1b(B",
        b"\x1bM",
        "\x1b]0;a title with ü 🙂\x07".encode(),
        b"\x1b]8;;http://localhost:1/\x1b\\",
        b"\x1bPq#0;2;0;0;0#0~~\n@@vv\x1b\\",
        b"\x1b_Gf=100;AAAA\x1b\\",
    ]
)
TOKENS = st.lists(TEXT | SEQUENCES, max_size=60)


def _starts(tokens):
    """Where the output may be cut: before a token, and before each character of a text."""
    places, at = {0}, 0
    for token in tokens:
        if not token.startswith(b"\x1b"):
            inside = 0
            for character in token.decode():
                places.add(at + inside)
                inside += len(character.encode())
        at += len(token)
        places.add(at)
    return places


@given(TOKENS, st.integers(0, 2000))
def test_a_cut_is_inside_nothing_and_drops_no_more_than_it_must(tokens, wish):
    data = b"".join(tokens)
    wish = min(wish, len(data))
    assert safe_cut(data, wish) == min(place for place in _starts(tokens) if place >= wish)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.integers(1, 7)))
def test_characters_are_whole_however_the_packets_fall(text, cuts):
    data, shown, rest = text.encode(), "", b""
    for size in [*cuts, len(data)]:
        packet, data = data[:size], data[size:]
        whole, rest = whole_characters(rest + packet)
        shown += whole.decode()
        assert len(rest) < 4
    assert (shown, rest) == (text, b"")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_text_are_not_held_back(data):
    whole, rest = whole_characters(data)
    assert whole + rest == data
    assert len(rest) < 4


@given(TOKENS, st.integers(1, 400))
def test_what_was_switched_on_is_on_after_a_replay_whatever_was_cut(tokens, limit):
    small, whole = Scrollback(limit, slack=0), Scrollback()
    for token in tokens:
        small.add(token)
        whole.add(token)
    assert small.full_screen() == whole.full_screen()
    assert _modes(small.replay()) == _modes(whole.replay())
    assert len(small) <= max(limit, 1)
    assert small.replay().startswith(RESET)


def _modes(data):
    """An own reading of the modes, of one number or two, and of the colours since they were last reset."""
    modes, colours = {}, []
    for mode, on, colour in re.findall(rb"\x1b\[\?([0-9;]+)([hl])|(\x1b\[[0-9;]*m)", data):
        if colour == b"\x1b[0m":
            colours = []
        elif colour:
            colours.append(colour)
        modes.update(dict.fromkeys(mode.split(b";") if mode else (), on))
    return modes, colours[-31:]


def test_much_output_is_kept_within_the_limit_and_its_end_is_whole():
    chance = random.Random(4)
    kept = Scrollback()
    for number in range(3000):
        kept.add(b"\x1b[3%dmline %d \xc3\xbc\x1b[0m\r\n" % (chance.randrange(8), number) * 40)
        assert len(kept) <= 1024 * 1024 + 64 * 1024
    replay = kept.replay()
    assert len(replay) >= 1024 * 1024
    assert replay.endswith(b"line 2999 \xc3\xbc\x1b[0m\r\n")
    assert re.match(rb"\x1bc(\x1b\[\d+m)*(\x1b\[3|[^\x1b\x80-\xbf])", replay)


@pytest.mark.parametrize(
    "question",
    [
        b"\x1b[c",
        b"\x1b[>0c",
        b"\x1b[6n",
        b"\x1b[?6n",
        b"\x1b[?2026$p",
        b"\x1b[>q",
        b"\x1b[18t",
        b"\x05",
        b"\x1bZ",
        b"\x1b]11;?\x07",
        b"\x1b]4;1;?\x1b\\",
        b"\x1bP$qm\x1b\\",
        b"\x1bP+q544e\x1b\\",
        b"\x1b[?u",
    ],
)
def test_a_programs_question_is_not_asked_again(question):
    kept = Scrollback()
    kept.add(b"before " + question + b" after")
    assert kept.replay() == RESET + b"before  after"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\x1b[?1;2c", True),
        ("\x1b[>0;276;0c", True),
        ("\x1b[24;80R", True),
        ("\x1b[1;1R", True),
        ("\x1b[0n", True),
        ("\x1b[?2026;2$y", True),
        ("\x1b]11;rgb:0000/0000/0000\x1b\\", True),
        ("\x1bP1$r0m\x1b\\", True),
        ("\x1b[1;2R", False),  # Shift+F3
        ("\x1b[A", False),
        ("\x1b[200~\x1b[0n\x1b[201~", False),
        ("\x1b", False),
        ("\x1b[I", False),
        ("ls\r", False),
        ("", False),
    ],
)
def test_answers_of_a_terminal_are_told_from_keys(text, answer):
    assert is_answer(text) is answer
