"""Real SSH servers on loopback, one configuration each, and the ssh_config of a person who uses them."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from jupyter_rmx.models import SSHTarget

FAIL_SAFE_S = 60
SSHD = """
Port {port}
ListenAddress {address}
PidFile none
AuthorizedKeysFile {folder}/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
LogLevel VERBOSE
"""


def free_port(address="127.0.0.1"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def keygen(path, *options, passphrase="", kind="ed25519"):
    """A key pair of ssh-keygen's own; gives its path."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", path, *options]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def public(path):
    """The public key as one line without its comment."""
    return " ".join(Path(f"{path}.pub").read_text().split()[:2])


def fingerprint(path):
    """As ssh-keygen shows it."""
    shown = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], check=True, capture_output=True, text=True)
    return shown.stdout.split()[1]


class Daemon:
    """A server process of ours in a folder of its own."""

    def __init__(self, address="127.0.0.1"):
        self.address = address
        self.port = free_port(address)
        self.folder = Path(tempfile.mkdtemp(prefix="rmx-sshd-"))
        self.log = self.folder / "log"
        self.process = None

    def launch(self, command):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + FAIL_SAFE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 1):
                return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(FAIL_SAFE_S)

    def finish(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class OpenSSHServer(Daemon):
    """sshd(8); `extra` are lines of sshd_config. Its host keys stand in `host_keys` by kind."""

    def __init__(self, *, kinds=("ed25519",), address="127.0.0.1", extra="", first=""):
        super().__init__(address)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        self.host_keys = {kind: keygen(self.folder / f"host_{kind}", kind=kind) for kind in kinds}
        (self.folder / "authorized").touch()
        self.extra = extra
        self.first = first  # in front, since the first value counts
        self.start()

    def start(self):
        keys = "".join(f"HostKey {path}\n" for path in self.host_keys.values())
        config = self.folder / "sshd_config"
        text = SSHD.format(port=self.port, address=self.address, folder=self.folder)
        config.write_text(self.first + keys + text + self.extra.format(folder=self.folder))
        self.launch([shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin"), "-D", "-e", "-f", config])

    def drop_clients(self):
        """End the server's own processes of all connections; what runs for them is left to end by itself.

        A profile that is killed in the middle may leave locks behind in the home of who runs the tests.
        """
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name().startswith("sshd"):
                    child.kill()

    def authorize(self, *keys):
        """Let in who holds one of these keys."""
        (self.folder / "authorized").write_text("".join(f"{public(key)}\n" for key in keys))

    def new_host_key(self, kind="ed25519"):
        """The machine was made anew: same place, another key."""
        self.stop()
        path = self.host_keys[kind]
        for file in (path, Path(f"{path}.pub")):
            file.unlink()
        keygen(path, kind=kind)
        self.start()

    @property
    def known(self):
        """The line of known_hosts that is right for it."""
        return f"[{self.address}]:{self.port} {public(next(iter(self.host_keys.values())))}\n"


class Person:
    """Somebody with a folder of keys and an ssh_config; every host is reached as `gpu01` unless it is said otherwise."""

    def __init__(self, folder):
        self.folder = folder
        self.config = folder / "config"
        self.known_hosts = folder / "known_hosts"
        self._hosts = {}
        self.settings_dir = folder / "rmx"
        (folder / "empty").touch()

    def key(self, name="id", **options):
        return keygen(self.folder / name, **options)

    def host(self, name="gpu01", server=None, **options):
        """Write a Host entry; options are keywords of ssh_config, a list is given several times."""
        entry = {
            "User": getpass.getuser(),
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": self.folder / "empty",
            "IdentityFile": "none",
            "IdentityAgent": "none",
        }
        if server is not None:
            entry |= {"HostName": server.address, "Port": server.port}
        entry |= options
        self._hosts[name] = entry
        lines = []
        for host, wanted in self._hosts.items():
            lines.append(f"Host {host}")
            for keyword, value in wanted.items():
                values = value if isinstance(value, list) else [value]
                lines += [f"    {keyword} {one}" for one in values]
        self.config.write_text("\n".join(lines) + "\n")
        return SSHTarget(destination=name, config_file=str(self.config))

    def ssh(self, name="gpu01", *options, env=None):
        """What the real client says: whether it gets in without asking anybody, and its last words."""
        done = subprocess.run(
            ["ssh", "-F", self.config, "-o", "BatchMode=yes", *options, name, "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FAIL_SAFE_S,
            env=env,
        )
        return done.returncode == 0, done.stderr


class Agent:
    """A real ssh-agent."""

    def __init__(self, folder):
        self.socket = str(folder / "agent.sock")
        self.process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", self.socket], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + FAIL_SAFE_S
        while not os.path.exists(self.socket):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def add(self, key, *options):
        environment = os.environ | {"SSH_AUTH_SOCK": self.socket}
        subprocess.run(
            ["ssh-add", "-q", *options, key], env=environment, check=True, stdin=subprocess.DEVNULL
        )

    def finish(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(FAIL_SAFE_S)


PASSWORD = "open sesame ✓"


def separate_accounts(folder, pam=""):
    """The words in front of a command that make it see a password of its own for this user, and its own PAM rules.

    Nothing of the computer is changed: the files are put over /etc in a mount namespace. Skips where there are none.
    """
    name = getpass.getuser()
    crypt = 'binmode(STDIN); $p = <STDIN>; print crypt($p, "\\$6\\$rmxtests\\$")'
    made = subprocess.run(["perl", "-e", crypt], input=PASSWORD.encode(), capture_output=True, check=True)
    (folder / "shadow").touch(0o600)
    (folder / "shadow").write_text(f"{name}:{made.stdout.decode()}:19000:0:99999:7:::\nsshd:*:19000::::::\n")
    (folder / "pam").write_text(pam)
    mounts = f"mount --bind {folder}/shadow /etc/shadow"
    if pam:
        mounts += f" && mount --bind {folder}/pam /etc/pam.d/sshd"
    inside = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "sh", "-c"]
    if subprocess.run([*inside, mounts], capture_output=True).returncode:
        pytest.skip("no-kernel-feature: no mount namespaces for a password of its own")
    return [*inside, f'{mounts} && exec "$@"', "sh"]


class PasswordServer(OpenSSHServer):
    """sshd that knows this user's PASSWORD. `pam`: it asks by keyboard-interactive, by these rules of pam.conf(5)."""

    def __init__(self, *, pam="", extra=""):
        self.pam = pam
        ways = "UsePAM yes\nKbdInteractiveAuthentication yes\n" if pam else "PasswordAuthentication yes\n"
        super().__init__(extra=f"PermitRootLogin yes\n{extra}", first=ways)

    def launch(self, command):
        super().launch([*separate_accounts(self.folder, self.pam), *command])


class DropbearServer(Daemon):
    """dropbear, with this user's PASSWORD."""

    def __init__(self):
        super().__init__()
        host = self.folder / "host"
        subprocess.run(["dropbearkey", "-t", "ed25519", "-f", host], check=True, capture_output=True)
        program = shutil.which("dropbear", path="/usr/sbin:/usr/bin")
        place = f"{self.address}:{self.port}"
        command = [program, "-F", "-E", "-r", host, "-p", place, "-P", self.folder / "pid"]
        self.launch([*separate_accounts(self.folder), *command])
