"""From what a user typed to a verb and its values, by the table in `verbs.py`. No I/O.

argparse does the work, tamed: it neither prints nor exits. A mistake is a UsageError, and a wish for help is answered
by its text.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import check_timeout
from jupyter_rmx.verbs import CELL, Argument, Face, Verb, common_of, verbs_of

_SEPARATOR = re.compile(r"(?:^|\s)--(?:\s|$)")
_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""")
_PROMPTS = frozenset("$%>#\u276f")
DEFAULT_MACHINE = "Without it: the default machine, see %vm use."
_ENV = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>.*)", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Request:
    """What was asked for. `tail` is the text after `--`, as typed; None if there was none."""

    verb: str
    values: dict[str, Any] = field(default_factory=dict)
    tail: str | None = None
    help_text: str = ""
    """Set: help was asked for, and nothing else is to be done."""


class _Parser(argparse.ArgumentParser):
    flags_hint = ""

    def error(self, message: str) -> NoReturn:
        text = message[:1].upper() + message[1:].rstrip(".")
        hint = f"{self.flags_hint} Help: {self.prog} -h".strip()
        raise UsageError(f"{text}.", hint=hint, code="usage_bad_arguments")


def _add(parser: argparse.ArgumentParser, argument: Argument, face: Face) -> None:
    has_default = face in argument.defaults_in
    text = f"{argument.help} {DEFAULT_MACHINE}" if has_default else argument.help
    options: dict[str, Any] = {"help": text.replace("%", "%%")}
    if argument.kind == "flag":
        options["action"] = "store_true"
    elif argument.metavar:
        options["metavar"] = argument.metavar
    if argument.kind == "list":
        options.update(action="append", default=[])
    if argument.kind == "many":
        options["nargs"] = "+"
    elif not argument.is_option and (has_default or not argument.required):
        options["nargs"] = "?"
    parser.add_argument(argument.name, **options)


def prefix_of(face: Face) -> str:
    """How a face is called."""
    return {"magic": "%vm", "cell": "%%vm", "cli": "jupyter rmx"}[face]


def parser_of(verb: Verb, face: Face) -> argparse.ArgumentParser:
    """The parser of one verb."""
    prog = f"{prefix_of(face)} {verb.name}".strip()
    parser = _Parser(
        prog=prog,
        description=verb.help,
        epilog=f"Example: {prefix_of(face)} {verb.example}" if verb.example else None,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if verb.verbatim:
        parser.flags_hint = (
            f"Flags of {verb.verbatim} stand behind that word: {prog} {verb.verbatim} -p 2200 me@gpu01"
        )
    for argument in (*verb.arguments, common_of(face)):
        _add(parser, argument, face)
    if verb.tail:
        usage = f"{parser.format_usage().removeprefix('usage: ').strip()} -- {verb.tail}"
        parser.usage = usage.replace("%", "%%")
    return parser


def overview(face: Face) -> str:
    """The list of verbs, for `%vm` alone and `jupyter rmx`."""
    rows = [(f"{prefix_of(face)} {verb.name}", verb.help) for verb in verbs_of(face)]
    if face == "magic":
        rows.insert([verb.name for verb in verbs_of(face)].index("exec"), ("%%vm NAME", CELL.help))
    width = max(len(call) for call, _ in rows)
    lines = [f"  {call.ljust(width)}   {text}" for call, text in rows]
    return "\n".join([*lines, "", f"Help on one of them: {prefix_of(face)} create -h"])


def parse_words(words: Sequence[str], face: Face, tail: str | None = None) -> Request:
    """The request that `words` make; `tail` is the text after `--`, if there was a `--`.

    Raises UsageError `usage_unknown_verb`, `usage_bad_arguments`, `usage_bad_env`.
    """
    if face == "cell":
        return _parse_verb(CELL, list(words), face, tail)
    if not words or words[0] in {"-h", "--help", "help"}:
        return Request("", help_text=overview(face))
    for verb in verbs_of(face):
        if verb.name == words[0]:
            return _parse_verb(verb, list(words[1:]), face, tail)
    names = [verb.name for verb in verbs_of(face)]
    near = difflib.get_close_matches(words[0], names, n=1)
    raise UsageError(
        f"There is no verb {words[0][:40]!r}.",
        hint=f"Did you mean: {prefix_of(face)} {near[0]}" if near else f"There are: {', '.join(names)}.",
        code="usage_unknown_verb",
    )


def _parse_verb(verb: Verb, words: list[str], face: Face, tail: str | None) -> Request:
    parser = parser_of(verb, face)
    if "-h" in words or "--help" in words:
        return Request(verb.name, help_text=parser.format_help().rstrip())
    if tail is not None and not verb.tail:
        raise UsageError(
            f"{parser.prog} takes no command after '--'.",
            hint=f"Help: {parser.prog} -h",
            code="usage_bad_arguments",
        )
    values = vars(parser.parse_args(words))
    if verb.tail and not (tail or "").strip():
        raise UsageError(
            "There is no command to run.",
            hint=f"It stands after '--', as in: {prefix_of(face)} {verb.example}",
            code="usage_bad_command",
        )
    if "env" in values:
        values["env"] = parse_env(values["env"])
    if "timeout" in values:
        values["timeout"] = check_timeout(values["timeout"])
    return Request(verb.name, values, tail)


def parse_line(line: str, face: Face) -> Request:
    """As `parse_words`, of the line behind a magic. What stands after ` -- ` stays exactly as typed."""
    tail = None
    line, verbatim = _cut_verbatim(line, face)
    match = _SEPARATOR.search(line)
    if verbatim:
        pass
    elif match is not None:
        line, tail = line[: match.start()], line[match.end() :]
    elif face == "magic":
        line = _shown(line)
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(
            f"The line cannot be read: {error}.",
            hint="Check the quotation marks.",
            code="usage_bad_arguments",
        ) from error
    return parse_words([*words, *verbatim], face, tail)


def _shown(line: str) -> str:
    """Without IPython's sign for a result that is not to be shown."""
    return line.rstrip().removesuffix(";").rstrip()


def _verbatim_start(words: Sequence[str], face: Face) -> int | None:
    """Which word begins what is taken as typed; None where the verb has no such, or it does not stand there.

    A word that is the value of an option of ours does not begin it.
    """
    verb = next((verb for verb in verbs_of(face) if words and verb.name == words[0]), None)
    if verb is None or not verb.verbatim:
        return None
    valued = {item.name for item in verb.arguments if item.is_option and item.kind != "flag"}
    for place in range(1, len(words)):
        if not words[place].startswith("-") and words[place - 1] not in valued:
            return place if _begins(verb.verbatim, words[place:]) else None
    return None


def _begins(program: str, words: Sequence[str]) -> bool:
    """Whether words are a command line of that program, a shell's prompt before it or not, or its arguments with flags."""
    if words[0] in _PROMPTS and len(words) > 1:
        words = words[1:]
    has_flags = len(words) > 1 and re.match(r"-[^-]", words[1]) is not None
    return words[0].rpartition("/")[2] == program or has_flags


def _cut_verbatim(line: str, face: Face) -> tuple[str, list[str]]:
    """The line up to what is taken as typed, and that, if there is any."""
    if face == "cell":
        return line, []
    words = list(_WORD.finditer(line))
    start = _verbatim_start([word.group() for word in words], face)
    if start is None:
        return line, []
    place = words[start].start()
    return line[:place], [_shown(line[place:])]


def parse_argv(argv: Sequence[str], face: Face) -> Request:
    """As `parse_words`, of a process's arguments.

    One word after `--` is shell text; several are a program and its arguments, quoted for the shell there.
    """
    words = list(argv)
    tail = None
    start = _verbatim_start(words, face)
    if start is not None:
        words = [*words[:start], shlex.join(words[start + (words[start] in _PROMPTS) :])]
    elif "--" in words:
        rest = words[words.index("--") + 1 :]
        words = words[: words.index("--")]
        tail = rest[0] if len(rest) == 1 else shlex.join(rest)
    return parse_words(words, face, tail)


def parse_env(pairs: Sequence[str]) -> dict[str, str]:
    """`K=V` texts as a dict; UsageError `usage_bad_env` for any other text. The value is not repeated: it may be secret."""
    env: dict[str, str] = {}
    for pair in pairs:
        match = _ENV.fullmatch(pair)
        if match is None:
            raise UsageError(
                f"{pair.split('=', 1)[0][:40]!r} is not an environment variable with a value.",
                hint="Write it as NAME=value, as in: --env LEVEL=3",
                code="usage_bad_env",
            )
        env[match["name"]] = match["value"]
    return env


def parse_target(target: str) -> tuple[str, str]:
    """`PORT[/path]` as a port, not yet checked, and a path that begins with "/"."""
    port, slash, path = target.partition("/")
    return port, f"/{path}" if slash else "/"
