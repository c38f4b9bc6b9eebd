"""`%vm` and `%%vm` in IPython.

vm          VMMagics: parses, calls one service method, renders
session     the face's state: server, client, idempotency keys, known names
runner      the thread with the event loop that all requests run on
stream      a command's output into the cell, and Ctrl-C out of it
text        bytes into text, cut where it does not hurt
attach      attach, detach, use, and the default machine
ask         a server's questions, put to whoever sits there
display     what line magics return
machines    machines as cards and tables
names       what completion offers, remembered
failure     errors as one line
keys        idempotency keys
complete    tab completion
"""

from __future__ import annotations

from typing import Any


def load(ip: Any) -> None:
    """Register the magics and the completion; repeatable."""
    from jupyter_rmx.magics.complete import install
    from jupyter_rmx.magics.session import current_session
    from jupyter_rmx.magics.vm import VMMagics

    session = current_session()
    ip.register_magics(VMMagics(ip, session))
    install(ip, session)


def unload(ip: Any) -> None:
    """Take them away again, let go of the server, and forget the default machine."""
    from jupyter_rmx.magics.complete import remove
    from jupyter_rmx.magics.session import current_session

    for kind in ("line", "cell"):
        ip.magics_manager.magics[kind].pop("vm", None)
    remove(ip)
    current_session().close()
    current_session().default_machine = None
