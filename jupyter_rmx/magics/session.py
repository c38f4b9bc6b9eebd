"""The face's state in this process: the server it uses, the client, idempotency keys, the names it has seen."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jupyter_rmx.magics.keys import Keys
from jupyter_rmx.magics.names import Remembered
from jupyter_rmx.magics.runner import Runner, current_runner
from jupyter_rmx.models import VM, Machine, SSHHost

if TYPE_CHECKING:
    from jupyter_rmx.background import ServerUse
    from jupyter_rmx.client import HttpRemoteMachines

NAMES_KEEP_S = 5.0
HOSTS_KEEP_S = 30.0


class Session:
    """What `%vm` remembers between two calls."""

    def __init__(self) -> None:
        self.keys = Keys()
        self._use: ServerUse | None = None
        self._client: HttpRemoteMachines | None = None
        self._stop_beats: Callable[[], None] = lambda: None
        self._names: Remembered[Machine] = Remembered(NAMES_KEEP_S)
        self._hosts: Remembered[SSHHost] = Remembered(HOSTS_KEEP_S)
        self.default_machine: str | None = None
        """What `%%vm` means without a name; of this kernel only."""
        self._said: set[str] = set()
        self._pid = os.getpid()

    @property
    def runner(self) -> Runner:
        """Where requests run."""
        return current_runner()

    def service(self) -> HttpRemoteMachines:
        """The client of the server that lives now; a background one is started if there is none.

        Raises TransportError `ssh_no_server`.
        """
        from jupyter_rmx.background import use_server
        from jupyter_rmx.connection import find_connection

        found = find_connection()
        if self._client is None or self._use is None or found != self._use.connection or self._is_forked():
            self.close()
            self._adopt(use_server(_say))
        assert self._client is not None
        return self._client

    def service_if_there(self) -> HttpRemoteMachines | None:
        """The client of a server that lives already, for what must not start one."""
        from jupyter_rmx.connection import find_connection

        return self.service() if find_connection() is not None else self._client

    def _is_forked(self) -> bool:
        return self._pid != os.getpid()

    def _adopt(self, use: ServerUse) -> None:
        from jupyter_rmx.background import BEAT_S
        from jupyter_rmx.client import HttpRemoteMachines

        self._pid = os.getpid()
        self._use = use
        client = self._client = HttpRemoteMachines(use.connection)
        if use.needs_beats:
            self._stop_beats = self.runner.every(BEAT_S, client.healthz)
            atexit.register(self.close)

    def close(self) -> None:
        """Let go of the server; a background one ends with its last user. Repeatable."""
        self._stop_beats()
        self._stop_beats = lambda: None
        client, self._client = self._client, None
        use, self._use = self._use, None
        if client is not None and not self._is_forked():
            self.runner.submit(client.aclose())
        if use is not None and not self._is_forked():
            use.release()
        atexit.unregister(self.close)

    def saw(self, machines: list[Machine]) -> None:
        """Remember the machines for the completion."""
        self._names.saw(machines)

    def forget(self, machine: str) -> None:
        """A machine is no longer there: neither offered, nor the default one."""
        self._names.forget()
        if self.default_machine == machine:
            self.default_machine = None

    def renamed(self, machine: str, new: str) -> None:
        """A machine has another name."""
        self._names.forget()
        if self.default_machine == machine:
            self.default_machine = new

    def notice_of(self, vm: VM) -> str:
        """What the provider wants said of its machine (as that its ports are shared), the first time only."""
        notice = str(vm.details.get("notice") or "")
        if notice in self._said:
            return ""
        self._said.add(notice)
        return notice

    def machines_for_completion(self) -> Sequence[Machine]:
        """The machines, at most some seconds old."""
        client = self.service_if_there()
        return self._names.get(self.runner, client.list if client is not None else None)

    def hosts_for_completion(self) -> Sequence[SSHHost]:
        """The hosts that could be attached."""
        client = self.service_if_there()
        return self._hosts.get(self.runner, client.ssh_hosts if client is not None else None)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


_session: Session | None = None


def current_session() -> Session:
    """The one session of this process."""
    global _session  # noqa: PLW0603 - a process has one server in use, also if the extension is loaded twice
    if _session is None:
        _session = Session()
    return _session
