"""A real OpenSSH server to open terminals on: a user of its own, whose shell is bash with a short prompt."""

import os
import signal

import psutil

from tests.login_shells import USER, LoginServer

PLAIN = {
    ".bash_profile": "PS1='> '; unset HISTFILE\n",
    ".inputrc": "set enable-bracketed-paste off\n",
    ".hushlogin": "",
}


class TerminalHost(LoginServer):
    """`line` is what a person pastes to attach it; it can be cut off, and started again."""

    def __init__(self, files=None):
        super().__init__("/bin/bash", files or PLAIN)
        key = self.folder / "key"
        key.touch(0o600)
        self._key.write_private_key(key)
        self.line = (
            f"ssh -o IdentitiesOnly=yes -o IdentityAgent=none -p {self._port} -i {key} {USER}@127.0.0.1"
        )

    def _processes(self):
        return psutil.Process(self._server.pid).children(recursive=True)

    def cut(self):
        """End the connections, without a word; the server goes on."""
        for process in self._processes():
            if process.name().startswith("sshd"):
                os.kill(process.pid, signal.SIGKILL)

    def down(self):
        """The host is away: its connections end, and nobody answers."""
        self.cut()
        self._server.terminate()
        self._server.wait()
