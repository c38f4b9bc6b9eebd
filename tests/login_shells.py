"""SSH servers whose one user has the login shell and the home that a test wants: OpenSSH's sshd, or dropbear.

The user is in no file of this machine: libnss_wrapper (Debian: libnss-wrapper) gives the server its own table of
users. The server's program, the shells and their start-up files are the real ones.
"""

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import asyncssh

from jupyter_rmx.models import SSHEndpoint

FAIL_SAFE_S = 30
USER = "rmxuser"
USER_ID = 47123 if os.geteuid() == 0 else os.geteuid()
SSHD_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/home/.ssh/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
Subsystem sftp internal-sftp
MaxStartups 100
{more}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LoginServer:
    """A server; `endpoint` reaches it. `shell` is its user's login shell, `files` go into the home directory."""

    def __init__(self, shell, files=None, *, kind="sshd", more="", user_id=USER_ID):
        self.folder = Path(tempfile.mkdtemp(prefix="rmx-login-"))
        self.home = self.folder / "home"
        self.shell, self._kind, self._more, self._user_id = shell, kind, more, user_id
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._port = free_port()
        self._make_home(files or {})
        self._server = None

    def _make_home(self, files):
        self.folder.chmod(0o755)
        (self.home / ".ssh").mkdir(parents=True)
        self._key.write_public_key(self.home / ".ssh/authorized_keys")
        for name, text in files.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        table = f"{USER}:x:{self._user_id}:{self._user_id}::{self.home}:{self.shell}\n"
        own = (
            ""
            if os.geteuid()
            else "root:x:0:0:root:/root:/bin/sh\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        (self.folder / "passwd").write_text(own + table)
        (self.folder / "group").write_text(f"root:x:0:\nnogroup:x:65534:\n{USER}:x:{self._user_id}:\n")
        if os.geteuid() == 0:
            for path in [self.home, *self.home.rglob("*")]:
                os.chown(path, self._user_id, self._user_id)
        for folder in [self.home, *filter(Path.is_dir, self.home.rglob("*"))]:
            folder.chmod(0o700)
        (self.home / ".ssh/authorized_keys").chmod(0o600)

    def start(self):
        """Start the server and wait until it answers."""
        library = glob.glob("/usr/lib/*/libnss_wrapper.so")[0]
        environment = os.environ | {
            "LD_PRELOAD": library,
            "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.folder / "group"),
        }
        log = self.folder / "log"
        with log.open("wb") as output:
            self._server = subprocess.Popen(self._command(), env=environment, stdout=output, stderr=output)
        deadline = time.monotonic() + FAIL_SAFE_S
        while time.monotonic() < deadline and self._server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return self
            time.sleep(0.02)
        text = log.read_text()
        self.stop()
        raise AssertionError(f"{self._kind} did not start: {text}")

    def _command(self):
        if self._kind == "dropbear":
            key = self.folder / "host_key"
            subprocess.run(["dropbearkey", "-t", "ed25519", "-f", key], check=True, capture_output=True)
            told = subprocess.run(
                ["dropbearkey", "-y", "-f", key], check=True, capture_output=True, text=True
            )
            self._public = next(line for line in told.stdout.splitlines() if line.startswith("ssh-"))
            return [
                "dropbear",
                "-F",
                "-E",
                "-s",
                "-r",
                key,
                "-p",
                f"127.0.0.1:{self._port}",
                *self._more.split(),
            ]
        (self.folder / "host_key").touch(0o600)
        self._host_key.write_private_key(self.folder / "host_key")
        self._public = self._host_key.export_public_key().decode()
        config = self.folder / "config"
        config.write_text(SSHD_CONFIG.format(port=self._port, folder=self.folder, more=self._more))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        return ["/usr/sbin/sshd", "-D", "-e", "-f", config]

    @property
    def endpoint(self):
        """How to reach it."""
        return SSHEndpoint(
            username=USER,
            host_key=self._public,
            host="127.0.0.1",
            port=self._port,
            client_key=self._key.export_private_key().decode(),
        )

    @property
    def pid(self):
        """The listening server's process."""
        return self._server.pid

    @property
    def log(self):
        """What the server has said."""
        return (self.folder / "log").read_text()

    def stop(self):
        """End it, and remove all that was made."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
        shutil.rmtree(self.folder)
