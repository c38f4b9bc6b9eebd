"""One small process per machine: launches it, outlives Jupyter, ends it when it is forgotten.

Run as a script, with the standard library only. Standard input: one line of JSON (see `launcher`), then `cancel` or
nothing; its end means only that Jupyter went away, which stops no machine. Standard output: one line of JSON,
`{"ready": true}` or `{"failed": kind, "reason": text, "errno": number}`.
"""

# ruff: noqa: PTH100, PTH116, PTH118 - pathlib would double the time to start

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_rmx.providers.drivers.local.processes import Machine

LOG_MAX_BYTES = 256 * 1024
INFO_FD = 3
_ALL_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class StartFailedError(Exception):
    """The machine did not come up; `kind` is isolation, guest, disk_full, timeout or cancelled."""

    def __init__(self, kind: str, reason: str, errno: int | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.errno = errno


class Pipes:
    """The keeper's open ends, read as they fill: the guest's answers, its log, what bubblewrap tells, the parent's word."""

    def __init__(self, log_path: str) -> None:
        self.answers, self.answers_inner = os.pipe()
        self.log, self.log_inner = os.pipe()
        self.info, self.info_inner = os.pipe()
        self.text: dict[int, bytes] = {self.answers: b"", self.info: b"", 0: b""}
        self.ended: set[int] = set()
        self.poll = select.poll()
        for fd in (self.answers, self.log, self.info, 0):
            os.set_blocking(fd, False)
            self.poll.register(fd, select.POLLIN)
        self.log_file = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.log_room = LOG_MAX_BYTES
        self.log_tail = b""

    def close_inner(self) -> None:
        """Let go of the ends that belong to the machine."""
        for fd in (self.answers_inner, self.log_inner, self.info_inner):
            os.close(fd)

    def wait(self, timeout_s: float) -> set[int]:
        """Read all that came within `timeout_s`; return the descriptors that had something."""
        seen: set[int] = set()
        for fd, _ in self.poll.poll(max(0.0, timeout_s) * 1000):
            seen.add(fd)
            if fd == self.log or fd in self.text:
                self._take(fd)
        return seen

    def _take(self, fd: int) -> None:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        if not data:
            self.poll.unregister(fd)
            self.ended.add(fd)
        elif fd == self.log:
            self._keep(data)
        else:
            self.text[fd] += data

    def _keep(self, data: bytes) -> None:
        """Append to the log while there is room; what comes later is read and dropped."""
        self.log_tail = (self.log_tail + data)[-2000:]
        kept, self.log_room = data[: self.log_room], max(0, self.log_room - len(data))
        try:
            os.write(self.log_file, kept)
        except OSError:
            self.log_room = 0  # a full disk: the machine matters more than its log

    def last_words(self) -> str:
        """The last line of the log."""
        self.wait(0)
        lines = self.log_tail.decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "it ended at once and said nothing"


class Keeper:
    """Keeps one machine."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.deadline = time.monotonic() + float(config["start_timeout_s"])
        self.child = 0
        self.machine: Machine | None = None
        self.pipes = Pipes(config["log"])

    def start(self) -> None:
        """Launch, wait until the guest serves, write the record."""
        self._spawn()
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
        from jupyter_rmx.providers.drivers.local import processes

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

        from jupyter_rmx.providers.drivers.local import layout, processes

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
        from jupyter_rmx.providers.drivers.local import processes

        if self.child and self.machine is None:
            # Killing bubblewrap before it has told the pid would leave its child waiting for ever.
            self.deadline = time.monotonic() + 10.0
            try:
                self._identify(None)
            except StartFailedError:
                pass  # there is no first process: nothing but the child to end
        if self.machine is not None:
            processes.end(self.machine)
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
        from jupyter_rmx.providers.drivers.local import processes

        assert self.machine is not None
        pulse = Pulse(self.config["heartbeat"], float(self.config["orphan_after_s"]))
        watched = self._watch()
        interval = float(self.config["check_every_s"]) if watched >= 0 else 1.0
        while watched not in self.pipes.wait(interval):
            if processes.init_of(self.machine) is None:
                break
            if pulse.is_lost():
                break
        processes.end(self.machine)
        self._reap()

    def _watch(self) -> int:
        """A descriptor that turns readable at the machine's end; -1 where the kernel has none."""
        from jupyter_rmx.providers.drivers.local import processes

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


class Pulse:
    """Tells whether any Jupyter of this user still lives.

    What counts is how long the heartbeat file has not changed by a clock that neither jumps nor runs while the laptop
    sleeps: the file's own time would end all machines on waking, before Jupyter can touch it.
    """

    def __init__(self, path: str, lost_after_s: float) -> None:
        self._path = path
        self._lost_after_s = lost_after_s
        self._seen = self._look()
        self._since = time.monotonic()

    def _look(self) -> int:
        try:
            return os.stat(self._path).st_mtime_ns
        except OSError:
            return 0

    def is_lost(self) -> bool:
        """True once the file has stayed the same for too long."""
        now = self._look()
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        return time.monotonic() - self._since > self._lost_after_s


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
