"""A host of the user's own: a real OpenSSH server, and one that asks questions, for tests of whole Jupyter servers."""

import asyncio
import contextlib
import getpass
import os
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

import asyncssh

FAIL_SAFE_S = 30
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
MaxStartups 100
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Host:
    """OpenSSH's sshd on a port of its own; `line` is what a person would paste."""

    def __init__(self, folder):
        folder.mkdir()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "log"
        self.port = free_port()
        for name in ("host_key", "key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        (folder / "authorized").write_bytes((folder / "key.pub").read_bytes())
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder))
        self._server = None

    @property
    def user(self):
        return getpass.getuser()

    @property
    def line(self):
        options = "-o IdentitiesOnly=yes -o IdentityAgent=none"
        return f"ssh {options} -p {self.port} -i {self.folder}/key {self.user}@127.0.0.1"

    def start(self):
        command = ["/usr/sbin/sshd", "-D", "-f", self.folder / "config", "-E", self.log]
        self._server = subprocess.Popen(command)
        deadline = time.monotonic() + FAIL_SAFE_S
        while time.monotonic() < deadline and self._server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise RuntimeError(self.log.read_text())

    def logins(self):
        """How many connections got in."""
        return self.log.read_text().count("Accepted publickey")

    def connections(self):
        """Process ids of the connections that are live, by the children of the listener."""
        import psutil

        return [child.pid for child in psutil.Process(self._server.pid).children()]

    def cut(self):
        """End the connections; the listener goes on."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self):
        """End it, and the connections."""
        if self._server is not None:
            self.cut()
            self._server.terminate()
            self._server.wait()
            self._server = None


class Asking(asyncssh.SSHServer):
    """Lets in whoever answers the right words, asked for in rounds of keyboard-interactive."""

    rounds = ()

    def __init__(self):
        self._round = 0

    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return False

    def public_key_auth_supported(self):
        return False

    def kbdint_auth_supported(self):
        return True

    def get_kbdint_challenge(self, username, lang, submethods):
        return self._challenge()

    def _challenge(self):
        title, prompts = self.rounds[self._round]
        return title, "Only for tests.", "", [(text, echo) for text, echo, _ in prompts]

    def validate_kbdint_response(self, username, responses):
        _, prompts = self.rounds[self._round]
        if list(responses) != [right for _, _, right in prompts]:
            return False
        self._round += 1
        return True if self._round == len(self.rounds) else self._challenge()


async def asking_host(rounds):
    """A server that asks `rounds` of (title, [(prompt, echo, right answer)]), and runs commands; and its port."""

    class Server(Asking):
        pass

    Server.rounds = rounds
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=_run,
        encoding=None,
    )
    return server, server.get_port()


async def _run(process):
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "true",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.redirect(child.stdin, child.stdout, child.stderr)
    process.exit(await child.wait())
    await process.wait_closed()


def asking_line(port):
    """What a person would paste to get there."""
    options = "-o IdentityAgent=none -o IdentityFile=none -o PubkeyAuthentication=no"
    return f"ssh {options} -p {port} {shlex.quote(getpass.getuser())}@127.0.0.1"
