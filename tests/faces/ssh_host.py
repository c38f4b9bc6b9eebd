"""A host of the user's own: a real OpenSSH server, and one that asks questions, for tests of whole Jupyter servers."""

import asyncio
import getpass
import shlex

import asyncssh
import psutil

from tests.sshd import FAIL_SAFE_S, OpenSSHServer, free_port, keygen

__all__ = ["FAIL_SAFE_S", "Host", "asking_host", "asking_line", "free_port"]

# bash takes a shell below another one for none that sshd started, and leaves the user's own ~/.bashrc alone: what that
# does on the computer of whoever runs the tests is not tested here.
EXTRA = """
SetEnv SHLVL=1
Subsystem sftp internal-sftp
MaxStartups 100
"""


class Host(OpenSSHServer):
    """OpenSSH's sshd that lets one key in; `line` is what a person would paste."""

    def __init__(self):
        super().__init__(extra=EXTRA)
        self.key = keygen(self.folder / "key")
        self.authorize(self.key)

    def line_with(self, key):
        """The same with another key."""
        options = "-o IdentitiesOnly=yes -o IdentityAgent=none"
        return f"ssh {options} -p {self.port} -i {key} {getpass.getuser()}@127.0.0.1"

    @property
    def line(self):
        return self.line_with(self.key)

    def logins(self):
        """How many connections got in."""
        return self.log.read_text().count("Accepted publickey")

    def knocks(self):
        """How many connections came, let in or not."""
        return self.log.read_text().count("Connection from ")

    def connections(self):
        """The processes of the connections that are live: the children of the listener."""
        return psutil.Process(self.process.pid).children()


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
