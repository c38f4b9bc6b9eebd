"""What asyncssh asks us while a connection is made: is the host key right, and how do we prove who we are."""

# ruff: noqa: ARG002 - the signatures are asyncssh's
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import asyncssh

from jupyter_rmx.models import Prompt
from jupyter_rmx.ssh.resolved import Resolved
from jupyter_rmx.transports.ssh_auth import Identities, LateKeyPair
from jupyter_rmx.transports.ssh_hostkeys import HostKeys, Judgement
from jupyter_rmx.transports.ssh_questions import Patience, Questions

AFTER_AN_ANSWER_S = 120.0
"""A server that checks an answer may wait for a telephone; OpenSSH's own LoginGraceTime is as long."""
NEW_PASSWORD_TRIES = 3


@dataclass
class HostProof:
    """What is known of the host's key, and what was decided. `accept_new`: an unknown key is taken and kept."""

    keys: HostKeys
    accept_new: bool
    any_key: bool = False
    """NoHostAuthenticationForLocalhost."""
    kind: str = ""
    blob: bytes = b""
    judgement: Judgement = field(default_factory=lambda: Judgement("right"))
    is_new: bool = False

    def takes(self, key: asyncssh.SSHKey) -> bool:
        """Whether `key` is right for this host, or may become so."""
        self.kind, self.blob = key.algorithm.decode(), key.public_data
        if self.any_key:
            return True
        self.judgement = self.keys.judge(self.blob)
        self.is_new = self.judgement.verdict == "unknown" and self.accept_new
        return self.is_new or self.judgement.verdict == "right"


class Login(asyncssh.SSHClient):
    """One attempt to log in.

    `allowed` are the methods that the user's configuration allows; others are never used, but asyncssh must know them
    so that it tells us what the server offers. `gather` reads the keys, once they are wanted. `lost` is called once
    the link is gone, also if it never was one.
    """

    def __init__(
        self,
        allowed: frozenset[str],
        resolved: Resolved,
        proof: HostProof,
        identities: Identities,
        gather: Callable[[], Awaitable[None]],
        questions: Questions,
        patience: Patience,
        lost: Callable[[Exception | None], None],
    ) -> None:
        self.methods: list[str] = []
        """Ways to log in that the server has offered."""
        self.server_version: str | None = None
        self.keeping: asyncio.Task[None] | None = None
        self._allowed = allowed
        self._resolved = resolved
        self._proof = proof
        self._identities = identities
        self._gather: Callable[[], Awaitable[None]] | None = gather
        self._questions = questions
        self._patience = patience
        self._lost = lost
        self._connection: asyncssh.SSHClientConnection | None = None
        self._passwords = 0
        self._interactive = 0
        self._mistaken = False

    # the link

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Called once the way to the server is there."""
        self._connection = conn
        self._patience.touch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once by asyncssh."""
        if self._connection is not None:
            self.server_version = self._connection.get_extra_info("server_version")
            self._connection = None
        self._lost(exc)

    # the host

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called with the key that the server shows, before it has proved that it is its own."""
        return self._proof.takes(key)

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Called with the key that signed the server's certificate."""
        return self._proof.keys.trusts_authority(key.public_data)

    def begin_auth(self, username: str) -> None:
        """Called once the server has proved that the key is its own: a new one is kept now, before any secret goes."""
        self._patience.touch()
        if self._proof.is_new:
            self.keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        proof = self._proof
        try:
            proof.judgement = await asyncio.to_thread(proof.keys.keep, proof.kind, proof.blob)
        except OSError as error:
            # As OpenSSH: the key could not be kept, so next time it is new again.
            logging.getLogger(__name__).warning("The host key could not be kept: %s", error.strerror or error)

    async def kept(self) -> None:
        """Wait for a new key to be kept; asyncssh.HostKeyNotVerifiable if another process has kept another meanwhile."""
        if self.keeping is not None:
            await self.keeping
        if self._proof.judgement.verdict == "changed":
            raise asyncssh.HostKeyNotVerifiable("Host key is not trusted")

    # who we are

    def _note(self) -> None:
        if self._connection is not None:
            for method in self._connection.get_server_auth_methods():
                if method not in self.methods:
                    self.methods.append(method)

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """What the server wants read before anybody logs in."""
        self._patience.touch()
        self._questions.tell(msg)

    def auth_completed(self) -> None:
        """Called once we are in."""
        self._patience.touch()

    async def public_key_auth_requested(self) -> LateKeyPair | None:
        """The next key to try."""
        self._note()
        self._patience.touch()
        if "publickey" not in self._allowed:
            return None
        await self.kept()
        if self._gather is not None:
            gather, self._gather = self._gather, None
            await gather()
        return await self._identities.next_pair()

    async def password_auth_requested(self) -> str | None:
        """The password; asked for again while it is wrong, as often as NumberOfPasswordPrompts says."""
        self._note()
        if "password" not in self._allowed:
            return None
        if not self._questions.possible:
            self._questions.cannot("a password")
            return None
        if self._passwords >= self._resolved.number_of_password_prompts:
            return None
        await self.kept()
        self._introduce(self._passwords > 0)
        self._passwords += 1
        (password,) = await self._ask(
            "a password", [Prompt(f"Password of {self._resolved.user}:", kind="password")]
        )
        return password

    def _introduce(self, mistaken: bool) -> None:
        """What is shown above the question: why it comes again, and why it comes at all."""
        if mistaken:
            self._questions.tell("That was not right. Please try again.")
            return
        for path in self._identities.locked_out:
            self._questions.tell(
                f"The key {path} was not used, since others may read it. To mend it: chmod 600 {path}"
            )

    async def _ask(self, what: str, prompts: Sequence[Prompt]) -> list[str]:
        answers = await self._questions.ask(what, prompts)
        self._patience.touch(AFTER_AN_ANSWER_S)
        return answers

    async def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:
        """The old password and a new one, for a server that says the old one has expired."""
        self._questions.tell(prompt or "The password has expired.")
        prompts = [
            Prompt("Current password:", kind="password"),
            Prompt("New password:", kind="new_password"),
            Prompt("New password again:", kind="new_password"),
        ]
        for _ in range(NEW_PASSWORD_TRIES):
            old, new, again = await self._ask("a new password", prompts)
            if new == again:
                return old, new
            self._questions.tell("The two new passwords differ.")
        raise asyncssh.PermissionDenied("the new passwords differ")

    def password_change_failed(self) -> None:
        """The server did not take the new password."""
        self._questions.tell("The server did not take the new password.")

    async def kbdint_auth_requested(self) -> str | None:
        """Begin to be asked by the server itself (RFC 4256); "" leaves the choice of how to it."""
        self._note()
        if "keyboard-interactive" not in self._allowed:
            return None
        if not self._questions.possible:
            self._questions.cannot("answers to questions of its own")
            return None
        if self._interactive >= self._resolved.number_of_password_prompts:
            return None
        await self.kept()
        self._introduce(self._interactive > 0)
        self._interactive += 1
        return ""

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """One round of the server's own questions; a round without any only tells something."""
        for text in (name, instructions):
            self._questions.tell(text)
        if not prompts:
            self._patience.touch(AFTER_AN_ANSWER_S)
            return []
        asked = [
            Prompt(text, echo, "password" if not echo and "password" in text.lower() else "answer")
            for text, echo in prompts
        ]
        return await self._ask("answers to questions of its own", asked)
