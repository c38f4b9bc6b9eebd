"""Tab completion of verbs, options and machine names on a line that begins with `%vm` or `%%vm`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from jupyter_rmx.magics.session import Session
from jupyter_rmx.verbs import CELL, VERBS, Verb, common_of, verbs_of
from jupyter_rmx.wording import kind_of, status_of

_LINE = re.compile(r"^\s*(?P<percent>%%?)vm\s+(?P<words>.*)$")
_BY_NAME = {verb.name: verb for verb in VERBS}
_installed: list[Callable[[CompletionContext], Any]] = []


def _options(verb: Verb, face: Any) -> list[SimpleCompletion]:
    arguments = (*verb.arguments, common_of(face))
    return [SimpleCompletion(text=item.name, type="option") for item in arguments if item.is_option]


def _names(session: Session) -> list[SimpleCompletion]:
    return [
        SimpleCompletion(text=one.name, type=f"{kind_of(one)}, {status_of(one)}")
        for one in session.machines_for_completion()
    ]


def _targets(session: Session) -> list[SimpleCompletion]:
    """What can be attached: machines of the list, and hosts of ssh_config that are not called as one of these."""
    names = _names(session)
    taken = {item.text for item in names}
    hosts = [host.name for host in session.hosts_for_completion() if host.name not in taken]
    return [*names, *(SimpleCompletion(text=name, type="ssh host") for name in hosts)]


def candidates(line: str, session: Session) -> list[SimpleCompletion] | None:
    """What may stand where `line` ends; None where completion is not ours (no `%vm`, or a file's name)."""
    match = _LINE.match(line)
    if match is None:
        return None
    words = match["words"].split()
    word = "" if not words or line[-1].isspace() else words.pop()
    if "--" in words:
        return None
    if match["percent"] == "%%":
        found = _options(CELL, "cell") if words or word.startswith("-") else _names(session)
    elif not words:
        found = [SimpleCompletion(text=verb.name, type="verb") for verb in verbs_of("magic")]
    elif words[0] not in _BY_NAME:
        return None
    else:
        found = _of_verb(_BY_NAME[words[0]], words[1:], word, session)
    return [item for item in found if item.text.startswith(word)] or None


def _of_verb(verb: Verb, words: list[str], word: str, session: Session) -> list[SimpleCompletion]:
    if word.startswith("-"):
        return _options(verb, "magic")
    if verb.name == "attach":
        return _targets(session) if _target_is_open(verb, words) else []
    takes_name = any(item.name == "machine" for item in verb.arguments) and not words
    takes_names = any(item.name == "machines" for item in verb.arguments)
    return _names(session) if takes_name or takes_names else []


def _target_is_open(verb: Verb, words: list[str]) -> bool:
    """Whether a target may stand behind `words`: none is there yet, or it is the host in an `ssh …` line."""
    if verb.verbatim in words:
        return True
    valued = {item.name for item in verb.arguments if item.is_option and item.kind != "flag"}
    before = ["", *words]
    named = [word for last, word in zip(before, words, strict=False) if last not in valued]
    return before[-1] not in valued and all(word.startswith("--") for word in named)


def matcher_for(session: Session) -> Callable[[CompletionContext], Any]:
    """IPython's custom matcher (its API version 2)."""

    @context_matcher()
    def vm_matcher(context: CompletionContext) -> Any:
        line = context.line_with_cursor[: context.cursor_position]
        found = candidates(line, session)
        return {"completions": found or [], "suppress": bool(found)}

    return vm_matcher


def install(ip: Any, session: Session) -> None:
    """Complete in this shell; repeatable."""
    remove(ip)
    matcher = matcher_for(session)
    _installed.append(matcher)
    ip.Completer.custom_matchers.append(matcher)


def remove(ip: Any) -> None:
    """No longer complete."""
    for matcher in _installed:
        if matcher in ip.Completer.custom_matchers:
            ip.Completer.custom_matchers.remove(matcher)
    _installed.clear()
