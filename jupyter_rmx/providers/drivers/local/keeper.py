"""One small process per machine: launches it, outlives Jupyter, ends it when it is forgotten.

Run as a script, with the standard library only. Standard input: one line of JSON (see `launcher`), then `cancel` or
nothing; its end means only that Jupyter went away, which stops no machine. Standard output: one line of JSON,
`{"ready": true}` or `{"failed": kind, "reason": text, "errno": number}`.
"""

# ruff: noqa: PTH100, PTH118 - pathlib would double the time to start

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_rmx.providers.drivers.local.keeping import Keeper


def _report(answer: dict[str, Any]) -> bool:
    """Tell the parent; False if there is none any more."""
    try:
        os.write(1, json.dumps(answer).encode() + b"\n")
    except OSError:
        return False
    return True


def _let_go(lock_fd: int) -> None:
    """Close what ties the keeper to its parent, and the lock."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.close(lock_fd)


def _fail(keeper: Keeper | None, config: dict[str, Any], error: Exception) -> None:
    if keeper is not None:
        keeper.abandon()
    kind = getattr(error, "kind", "os")
    answer = {"failed": kind, "reason": str(error)[:500], "errno": getattr(error, "errno", None)}
    if not _report(answer) and config["fresh"]:
        import shutil

        shutil.rmtree(os.path.join(config["root"], config["id"]), ignore_errors=True)


def run(config: dict[str, Any]) -> None:
    """Start the machine, report, keep it."""
    os.set_inheritable(config["lock_fd"], False)  # ours and our parent's, not the machine's
    from jupyter_rmx.providers.drivers.local.keeping import Keeper

    keeper: Keeper | None = None
    try:
        keeper = Keeper(config)
        keeper.start()
    except Exception as error:  # noqa: BLE001 - whatever it was: nothing may stay behind, and the parent must hear
        _fail(keeper, config, error)
        return
    if 0 not in keeper.pipes.ended:
        keeper.pipes.poll.unregister(0)
    _report({"ready": True})
    _let_go(config["lock_fd"])
    keeper.keep()


def _first_line() -> bytes:
    """The configuration; read byte-wise enough that a `cancel` behind it stays in the pipe."""
    data = b""
    while not data.endswith(b"\n"):
        part = os.read(0, 1)
        if not part:
            raise SystemExit(1)
        data += part
    return data


def main() -> None:
    """Become a process of its own, at once."""
    if os.fork():
        os._exit(0)  # nobody has to reap the keeper
    sys.path.append(os.path.abspath(__file__ + "/../../../../.."))
    os.chdir("/")
    run(json.loads(_first_line()))


if __name__ == "__main__":
    main()
