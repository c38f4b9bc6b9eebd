"""Launches one machine and keeps it. Standard library only: this runs in the keeper."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from typing import Any

from jupyter_rmx.providers.drivers.local import freezing, processes
from jupyter_rmx.providers.drivers.local.keeper_pipes import Pipes
from jupyter_rmx.providers.drivers.local.pulse import Pulse

INFO_FD = 3
_ALL_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class StartFailedError(Exception):
    """The machine did not come up; `kind` is isolation, guest, disk_full, timeout or cancelled."""

    def __init__(self, kind: str, reason: str, errno: int | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.errno = errno


class Keeper:
    """Keeps one machine."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.deadline = time.monotonic() + float(config["start_timeout_s"])
        self.child = 0
        self.machine: processes.Machine | None = None
        self.pipes = Pipes(config["log"])

    def start(self) -> None:
        """Launch, wait until the guest serves, write the record."""
        self._spawn()
        import jupyter_rmx.providers.drivers.local.layout  # noqa: F401 - loaded while the guest loads its own

        hello = self._answer()
        self._identify(hello)
        answer = self._answer()
        if "error" in answer:
            raise StartFailedError("guest", answer["error"], answer.get("errno"))
        self._record(answer)

    def _spawn(self) -> None:
        words, words_inner = os.pipe()
        pipes = self.pipes
        actions = [
            (os.POSIX_SPAWN_DUP2, words, 0),
            (os.POSIX_SPAWN_DUP2, pipes.answers_inner, 1),
            (os.POSIX_SPAWN_DUP2, pipes.log_inner, 2),
            (os.POSIX_SPAWN_DUP2, pipes.info_inner, INFO_FD),
        ]
        argv = self.config["argv"]
        try:
            # Signals as they are by default: a server started with `nohup … &` ignores HUP and INT, a machine must not.
            self.child = os.posix_spawn(
                argv[0], argv, self.config["env"], file_actions=actions, setsigmask=[], setsigdef=_ALL_SIGNALS
            )
        except OSError as error:
            raise StartFailedError("isolation", f"{argv[0]}: {error.strerror}", error.errno) from error
        os.close(words)
        pipes.close_inner()
        try:
            os.write(words_inner, json.dumps(self.config["guest"]).encode())
        except BrokenPipeError:
            pass  # it ended at once; its last words tell why
        os.close(words_inner)

    def _answer(self) -> dict[str, Any]:
        """The guest's next line."""
        pipes = self.pipes
        fd = pipes.answers
        while b"\n" not in pipes.text[fd]:
            if b"cancel" in pipes.text[0]:
                raise StartFailedError("cancelled", "cancelled")
            if fd in pipes.ended:
                raise StartFailedError("guest" if self.machine else "isolation", pipes.last_words())
            if time.monotonic() > self.deadline:
                raise StartFailedError("timeout", "its guest did not answer")
            pipes.wait(self.deadline - time.monotonic() + 0.001)
        line, _, pipes.text[fd] = pipes.text[fd].partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _identify(self, hello: dict[str, Any] | None) -> None:
        """Find the machine's first process as this side sees it."""
        method = self.config["method"]
        if method == "bubblewrap":
            pid = self._told_by_bubblewrap()
        elif method == "unshare":
            pid = next((p.pid for p in processes.snapshot().values() if p.parent == self.child), 0)
        else:
            pid = int(hello["pid"]) if hello else self.child
        found = processes.look(pid) if pid else None
        if found is None:
            raise StartFailedError("isolation", self.pipes.last_words())
        namespace = None if method == "plain" else processes.namespace_of(pid)
        self.machine = processes.Machine(pid, found.started, namespace, self.config["marker"])

    def _told_by_bubblewrap(self) -> int:
        """The pid from `--info-fd`; bubblewrap writes it before it lets the machine's first process go on."""
        info = self.pipes.info
        while True:
            try:
                return int(json.loads(self.pipes.text[info])["child-pid"])
            except (ValueError, KeyError):
                if info in self.pipes.ended or time.monotonic() > self.deadline:
                    return 0
                self.pipes.wait(self.deadline - time.monotonic() + 0.001)

    def _record(self, answer: dict[str, Any]) -> None:
        from pathlib import Path

        from jupyter_rmx.providers.drivers.local import layout

        assert self.machine is not None
        where = layout.MachineDir(Path(self.config["root"]), self.config["id"])
        layout.write_private(where.client_key, answer["client_key"].encode())
        own = processes.look(os.getpid())
        record = layout.Record(
            **self.config["record"],
            created_at=time.time(),
            init_pid=self.machine.pid,
            init_started=self.machine.started,
            namespace=self.machine.namespace,
            keeper_pid=os.getpid(),
            keeper_started=own.started if own else "",
            host_key=answer["host_key"],
        )
        layout.write_record(where, record)

    def abandon(self) -> None:
        """End what was started of a machine that did not come up."""
        if self.child and self.machine is None:
            # Killing bubblewrap before it has told the pid would leave its child waiting for ever.
            self.deadline = time.monotonic() + 10.0
            try:
                self._identify(None)
            except StartFailedError:
                pass  # there is no first process: nothing but the child to end
        if self.machine is not None:
            freezing.end(self.machine)
        self._reap()

    def _reap(self) -> None:
        if self.child:
            try:
                os.kill(self.child, signal.SIGKILL)
                os.waitpid(self.child, 0)
            except (ProcessLookupError, ChildProcessError):
                pass  # it was reaped, or is not ours to reap

    def keep(self) -> None:
        """Wait for the machine's end; end it when no Jupyter of its user has been heard of for too long."""
        assert self.machine is not None
        pulse = Pulse(self.config["heartbeat"], float(self.config["orphan_after_s"]))
        watched = self._watch()
        interval = float(self.config["check_every_s"]) if watched >= 0 else 1.0
        while watched not in self.pipes.wait(interval):
            if processes.init_of(self.machine) is None:
                break
            if pulse.is_lost():
                break
        freezing.end(self.machine)
        self._reap()

    def _watch(self) -> int:
        """A descriptor that turns readable at the machine's end; -1 where the kernel has none."""
        if self.machine is None or not hasattr(os, "pidfd_open"):
            return -1
        try:
            fd = os.pidfd_open(self.machine.pid)
        except OSError:
            return -1
        # Checked after opening: now the descriptor cannot stand for a process that took over the pid.
        if processes.init_of(self.machine) is None:
            os.close(fd)
            return -1
        self.pipes.poll.register(fd, select.POLLIN)
        return fd
