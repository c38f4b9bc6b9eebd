"""A server's questions, put to a person one prompt after another; the faces say how a line is read. No I/O.

The texts are the server's own (RFC 4256 § 3.1), so they are cleaned of what would steer a terminal. What is answered
is given on, and kept nowhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import Prompt, Question

NEEDS_ANSWER = "ssh_needs_answer"
_HELP = {
    "passphrase": "Load the key into ssh-agent once (ssh-add FILE)",
    "password": "Let the server know a key of yours (ssh-copy-id), named by IdentityFile in ~/.ssh/config",
    "answer": "A key or a certificate that the server takes by itself, named by IdentityFile in ~/.ssh/config, helps",
    "new_password": "The server wants a new password",
}


class NobodyToAsk(Exception):  # noqa: N818 - is no failure, but a fact that the faces tell each in its words
    """There is no one who could type an answer here."""


def clean(text: str) -> str:
    """The text without characters that steer a terminal or turn the direction of what is read; lines stay lines."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        one for one in plain if one in "\n\t" or unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Co"}
    )


def introduction(question: Question) -> str:
    """What stands before the prompts; empty if the server says nothing."""
    return "\n".join(filter(None, (clean(text).strip() for text in (question.title, question.instructions))))


def prompt_line(prompt: Prompt) -> str:
    """The prompt as it is shown: on one line, with a blank before what is typed."""
    return " ".join(clean(prompt.text).split()) + " "


def ask(
    question: Question,
    *,
    tell: Callable[[str], None],
    read: Callable[[str, bool], str],
    somebody: bool = True,
) -> list[str] | None:
    """The answers to all prompts, in order; None if the person gave up (Ctrl-C, or the end of the input).

    `tell` shows a text; `read` takes a prompt and whether what is typed may be seen. Raises NobodyToAsk if `read` does,
    or if there is something to type and it is known that there is not `somebody`.
    """
    answers: list[str] = []
    if question.prompts and not somebody:
        raise NobodyToAsk
    try:
        text = introduction(question)
        if text:
            tell(text)
        for prompt in question.prompts:
            answers.append(read(prompt_line(prompt), prompt.echo))  # noqa: PERF401 - a comprehension would hide the order of asking
    except (KeyboardInterrupt, EOFError):
        return None
    return answers


def nobody_answers(question: Question, where: str) -> TransportError:
    """The error where a question meets no one; `where` says where someone could answer it."""
    asked = ", ".join(f"“{prompt_line(prompt).strip()}”" for prompt in question.prompts)
    kind = question.prompts[0].kind if question.prompts else "answer"
    return TransportError(
        f"{question.machine} asks {asked or 'something'}, and nobody can answer here.",
        hint=f"{_HELP[kind]}; or attach it {where}, where you can answer.",
        code=NEEDS_ANSWER,
        retryable=False,
    )
