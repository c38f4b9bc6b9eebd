"""Hosts as a person has them: a real OpenSSH server behind an ssh_config, and one that asks several things at once.

The second is asyncssh's, since OpenSSH asks by keyboard-interactive only with PAM.
"""

import asyncio
import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import asyncssh

FAIL_SAFE_S = 60
PASSPHRASE = "correct-horse-battery"

SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
"""

CLIENT = """
Host gpu01
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/locked
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null

Host gpu02
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentityFile {folder}/open
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile /dev/null

Host *.lab
    User nobody
"""


class OwnHost:
    """`gpu01` asks for a passphrase, `gpu02` for nothing; `line(name)` is what a person pastes."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rmx-host-"))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        for name, passphrase in (("host_key", ""), ("open", ""), ("locked", PASSPHRASE)):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", self.folder / name]
            subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
        keys = [(self.folder / f"{name}.pub").read_text() for name in ("open", "locked")]
        (self.folder / "authorized").write_text("".join(keys))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        values = {"port": self.port, "folder": self.folder, "user": getpass.getuser()}
        (self.folder / "sshd_config").write_text(SSHD.format(**values))
        self.config = self.folder / "config"
        self.config.write_text(CLIENT.format(**values))
        self.log = self.folder / "sshd.log"
        self.start()

    def start(self):
        """Start the server, and wait until it answers."""
        command = [shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin"), "-D", "-e"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command, "-f", self.folder / "sshd_config"], stderr=log)
        deadline = time.monotonic() + FAIL_SAFE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def line(self, name="gpu01"):
        """The ssh command line."""
        return f"ssh -F {self.config} {name}"

    def stop(self):
        """End the server; its connections end with their own processes."""
        self.process.terminate()
        self.process.wait(FAIL_SAFE_S)

    def finish(self):
        """End it and remove all of it."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Curious(asyncssh.SSHServer):
    ANSWERS = ("seen-by-all-4711", "hidden-0815")

    def password_auth_supported(self):
        return False

    def kbdint_auth_supported(self):
        return True

    def get_kbdint_challenge(self, _username, _lang, _submethods):
        return "Two steps", "Type what your device shows.", "en", [("Code: ", True), ("PIN: ", False)]

    def validate_kbdint_response(self, _username, responses):
        return tuple(responses) == self.ANSWERS


def _echo(process):
    process.stdout.write("curious\n")
    process.exit(0)


class CuriousHost:
    """Asks for a code, which may be seen, and for a PIN, which may not; then every command is refused."""

    ANSWERS = _Curious.ANSWERS

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="rmx-asks-"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(FAIL_SAFE_S)
        self.port = self._server.get_port()

    async def _start(self):
        return await asyncssh.create_server(
            _Curious,
            "127.0.0.1",
            0,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            process_factory=_echo,
        )

    def line(self):
        """The ssh command line."""
        return (
            f"ssh -F /dev/null -p {self.port} -o UserKnownHostsFile={self.folder}/known_hosts "
            "-o PubkeyAuthentication=no me@127.0.0.1"
        )

    def finish(self):
        """End it."""

        async def end():
            self._server.close()
            await self._server.wait_closed()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(FAIL_SAFE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(FAIL_SAFE_S)
        self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def files_with(secret, *folders):
    """Files in which the secret stands."""
    return [
        path
        for folder in folders
        for path in Path(folder).rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]
