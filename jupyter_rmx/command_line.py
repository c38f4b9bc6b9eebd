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
from jupyter_rmx.verbs import CELL, Argument, Face, Verb, common_of, verbs_of

_SEPARATOR = re.compile(r"(?:^|\s)--(?:\s|$)")
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
    def error(self, message: str) -> NoReturn:
        text = message[:1].upper() + message[1:].rstrip(".")
        raise UsageError(f"{text}.", hint=f"Help: {self.prog} -h", code="usage_bad_arguments")


def _add(parser: argparse.ArgumentParser, argument: Argument) -> None:
    options: dict[str, Any] = {"help": argument.help.replace("%", "%%")}
    if argument.kind == "flag":
        options["action"] = "store_true"
    elif argument.metavar:
        options["metavar"] = argument.metavar
    if argument.kind == "list":
        options.update(action="append", default=[])
    if argument.kind == "many":
        options["nargs"] = "+"
    elif not argument.is_option and not argument.required:
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
    for argument in (*verb.arguments, common_of(face)):
        _add(parser, argument)
    if verb.tail:
        usage = f"{parser.format_usage().removeprefix('usage: ').strip()} -- {verb.tail}"
        parser.usage = usage.replace("%", "%%")
    return parser


def overview(face: Face) -> str:
    """The list of verbs, for `%vm` alone and `jupyter rmx`."""
    rows = [(f"{prefix_of(face)} {verb.name}", verb.help) for verb in verbs_of(face)]
    if face == "magic":
        rows.insert(3, ("%%vm NAME", CELL.help))
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
    return Request(verb.name, values, tail)


def parse_line(line: str, face: Face) -> Request:
    """As `parse_words`, of the line behind a magic. What stands after ` -- ` stays exactly as typed."""
    tail = None
    match = _SEPARATOR.search(line)
    if match is not None:
        line, tail = line[: match.start()], line[match.end() :]
    elif face == "magic":
        line = line.rstrip().removesuffix(";")  # IPython's sign for a result that is not to be shown
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(
            f"The line cannot be read: {error}.",
            hint="Check the quotation marks.",
            code="usage_bad_arguments",
        ) from error
    return parse_words(words, face, tail)


def parse_argv(argv: Sequence[str], face: Face) -> Request:
    """As `parse_words`, of a process's arguments.

    One word after `--` is shell text; several are a program and its arguments, quoted for the shell there.
    """
    words = list(argv)
    tail = None
    if "--" in words:
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
