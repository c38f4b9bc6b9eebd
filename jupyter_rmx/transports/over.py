"""What a process that stands over another one passes on unchanged."""

from __future__ import annotations

from jupyter_rmx.models import SignalName
from jupyter_rmx.transports.base import Process


class OverProcess:
    """The base of those that change what a process says, but not what is said to it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def signal(self, name: SignalName) -> None:
        """Signal the whole process group there."""
        await self._process.signal(name)

    async def write(self, data: bytes) -> None:
        """Send to standard input; waits while the command does not read."""
        await self._process.write(data)

    async def write_eof(self) -> None:
        """Close standard input."""
        await self._process.write_eof()
