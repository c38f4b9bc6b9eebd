"""The keeper's open ends. Standard library only."""

from __future__ import annotations

import os
import select

LOG_MAX_BYTES = 256 * 1024


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
