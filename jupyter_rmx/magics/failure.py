"""Errors as one line: IPython shows what an exception's `_render_traceback_` returns in place of a traceback."""

from __future__ import annotations

from jupyter_rmx.errors import RmxError


def one_line(name: str, text: str) -> str:
    """`Name: text`, on one line whatever is in the text."""
    return f"{name}: {' '.join(text.split())}"


def show_in_one_line(error: BaseException, text: str | None = None) -> None:
    """Make IPython show `error` as one line instead of a traceback; the cell still fails with it."""
    line = one_line(type(error).__name__, str(error) if text is None else text)
    # A documented hook of IPython (used by ipyparallel); looked up on the exception itself.
    error._render_traceback_ = lambda: [line]  # type: ignore[attr-defined] # IPython's hook, in no stub


def interrupted(text: str) -> KeyboardInterrupt:
    """A KeyboardInterrupt that says what was interrupted."""
    error = KeyboardInterrupt(text)
    show_in_one_line(error, text)
    return error


def tame(error: RmxError | KeyboardInterrupt, *, debug: bool) -> None:
    """One line, unless `debug` asks for the traceback."""
    if debug:
        vars(error).pop("_render_traceback_", None)
    elif isinstance(error, RmxError):
        show_in_one_line(error)
