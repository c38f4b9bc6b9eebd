"""The keys that are shown to a server, in OpenSSH's order, each signing only when the server has said it takes it.

So an encrypted key's passphrase is asked for only where the key is of use. A file that others may read is left out, as
OpenSSH leaves it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from jupyter_rmx.models import Prompt
from jupyter_rmx.transports.ssh_hostkeys import fingerprint
from jupyter_rmx.transports.ssh_keyfiles import is_encrypted, is_private, openssh_line, public_line, read_key
from jupyter_rmx.transports.ssh_questions import Questions

PASSPHRASE_TRIES = 3
AGENT_ANSWERS_WITHIN_S = 10.0

Sign = Callable[[bytes, bytes], Awaitable[bytes]]
"""Signs data (first) by an algorithm (second); ValueError if it cannot, and the next key is tried."""


class LateKeyPair(asyncssh.SSHKeyPair):
    """A public key (with a certificate or not) whose private part is asked for once it is needed."""

    _key_type = "late"

    def __init__(self, public: asyncssh.SSHKey, certificate: asyncssh.SSHCertificate | None, sign: Sign):
        algorithms = public.sig_algorithms
        super().__init__(
            public.algorithm, public.algorithm, algorithms, algorithms, public.public_data, None, certificate
        )
        self._sign = sign

    async def sign_async(self, data: bytes) -> bytes:
        """Awaited by asyncssh where it is there, as for the keys of an agent."""
        return await self._sign(data, self.sig_algorithm)


@dataclass
class Identity:
    """One key of the user's: what it is called in messages, and how it signs (None: only an agent could)."""

    name: str
    public: asyncssh.SSHKey | None = None
    sign: Sign | None = None
    certificates: list[asyncssh.SSHCertificate] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """For messages."""
        return f"{self.name} ({fingerprint(self.public.public_data)})" if self.public else self.name


class Identities:
    """All keys for one server, and what became of those that could not be used."""

    def __init__(self, questions: Questions) -> None:
        self.tried: list[str] = []
        self.problems: list[str] = []
        """One line each, for the error message."""
        self.locked_out: list[str] = []
        """Files that others may read."""
        self._questions = questions
        self._waiting: Iterator[tuple[Identity, LateKeyPair]] = iter(())
        self._agent: asyncssh.SSHAgentClient | None = None

    async def gather(
        self, files: tuple[str, ...], certificates: tuple[str, ...], agent: str | None, *, only: bool
    ) -> None:
        """Read the files and ask the agent. `only`: no keys of the agent but those that the files name too."""
        from_files = [found for path in files if (found := await self._of_file(path)) is not None]
        extra = [cert for path in certificates for cert in self._certificates(path)]
        for identity in from_files:
            # OpenSSH looks beside the key only where no CertificateFile is named.
            path = Path(f"{identity.name}-cert.pub")
            beside = self._certificates(str(path)) if not extra and path.is_file() else []
            identity.certificates = [*extra, *beside]
        from_agent = await self._of_agent(agent)
        self._waiting = _pairs(_in_order(from_files, from_agent, extra, only=only))

    async def next_pair(self) -> LateKeyPair | None:
        """The next key to show; None after the last one."""
        for identity, pair in self._waiting:
            if identity.shown not in self.tried:
                self.tried.append(identity.shown)
            return pair
        return None

    def close(self) -> None:
        """Let go of the agent."""
        if self._agent is not None:
            self._agent.close()

    # files

    async def _of_file(self, path: str) -> Identity | None:
        try:
            data = read_key(path)
        except FileNotFoundError:
            # OpenSSH's own default places are mostly empty, and it does not speak of them either.
            return None
        except OSError as error:
            self.problems.append(f"{path} cannot be read: {error.strerror}.")
            return None
        identity = Identity(path, public=_public_of(path, data))
        if b"PRIVATE KEY-----" not in data:
            if identity.public is None:
                self.problems.append(f"{path} is no key.")
            return identity if identity.public is not None else None
        if not is_private(path):
            self.locked_out.append(path)
            return identity if identity.public is not None else None
        return await self._with_private(identity, data)

    async def _with_private(self, identity: Identity, data: bytes) -> Identity | None:
        """A key whose private part lies in a file: read now if it is open, later if it is encrypted."""
        try:
            key = asyncssh.import_private_key(data)
        except asyncssh.KeyEncryptionError as error:
            self.problems.append(f"{identity.name} cannot be opened: {error}.")
            return None
        except asyncssh.KeyImportError:
            if not is_encrypted(data):
                self.problems.append(f"{identity.name} cannot be read as a key.")
                return None
            unlock = _Unlock(identity.name, data, self._questions, self.problems)
            if (
                identity.public is None
            ):  # an old PEM file without its .pub: only the passphrase tells which key it is
                opened = await unlock.open()
                if opened is None:
                    return None
                identity.public = opened
            identity.sign = unlock.sign
            return identity
        identity.public = key
        identity.sign = self._of_security_key(key) if _needs_touch(key) else _of_key(key)
        return identity

    def _of_security_key(self, key: asyncssh.SSHKey) -> Sign:
        async def sign(data: bytes, algorithm: bytes) -> bytes:
            try:
                async with self._questions.meanwhile("Touch your security key."):
                    return await asyncio.to_thread(key.sign, data, algorithm)
            except ValueError as error:
                self.problems.append(
                    f"The security key could not sign ({error}); add it to ssh-agent, or install the package fido2."
                )
                raise

        return sign

    def _certificates(self, path: str) -> list[asyncssh.SSHCertificate]:
        try:
            return list(asyncssh.load_certificates(path))
        except (OSError, asyncssh.KeyImportError, ValueError) as error:
            self.problems.append(f"The certificate {path} cannot be read: {error}.")
            return []

    # the agent

    async def _of_agent(self, path: str | None) -> list[Identity]:
        if path is None:
            return []
        self._agent = asyncssh.SSHAgentClient(path)
        try:
            pairs = await asyncio.wait_for(self._agent.get_keys(), AGENT_ANSWERS_WITHIN_S)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            self.problems.append(f"The agent at {path} does not answer{f': {error}' if str(error) else ''}.")
            return []
        return [self._agent_identity(pair) for pair in pairs if pair.public_data]

    def _agent_identity(self, pair: asyncssh.SSHKeyPair) -> Identity:
        comment = pair.get_comment(errors="replace") or "a key"
        identity = Identity(f"{comment} of the agent")
        line = openssh_line(pair.public_data)
        try:
            if pair.has_cert:
                certificate = asyncssh.import_certificate(line)
                identity.public = certificate.key
                identity.certificates = [certificate]
            else:
                identity.public = asyncssh.import_public_key(line)
        except asyncssh.KeyImportError:
            return identity  # of a kind that asyncssh does not know
        identity.sign = self._of_agent_key(pair)
        return identity

    def _of_agent_key(self, pair: asyncssh.SSHKeyPair) -> Sign:
        touch = pair.algorithm.startswith(b"sk-")
        text = (
            "Touch your security key."
            if touch
            else "Your SSH agent may want you to confirm the use of a key."
        )

        async def sign(data: bytes, algorithm: bytes) -> bytes:
            pair.set_sig_algorithm(algorithm)
            assert isinstance(pair, asyncssh.SSHAgentKeyPair)
            if touch:
                async with self._questions.meanwhile(text):
                    return await pair.sign_async(data)
            with self._questions.patient():
                return await pair.sign_async(data)

        return sign


class _Unlock:
    """Opens an encrypted key file once, when the first signature is needed."""

    def __init__(self, path: str, data: bytes, questions: Questions, problems: list[str]) -> None:
        self._path = path
        self._data = data
        self._questions = questions
        self._problems = problems
        self._key: asyncssh.SSHKey | None = None
        self._failed = False

    async def sign(self, data: bytes, algorithm: bytes) -> bytes:
        """Sign, asking for the passphrase if that was not done yet; ValueError if it cannot be opened."""
        key = await self.open()
        if key is None:
            raise ValueError("no passphrase")
        return key.sign(data, algorithm)

    async def open(self) -> asyncssh.SSHKey | None:
        """The key; None if nobody knows its passphrase. An empty answer passes over the key, as in ssh."""
        if self._key is not None or self._failed:
            return self._key
        if not self._questions.possible:
            self._questions.cannot(f"the passphrase of {self._path}")
            return None
        for _ in range(PASSPHRASE_TRIES):
            prompt = Prompt(f"Passphrase of the key {self._path}:", kind="passphrase")
            (passphrase,) = await self._questions.ask(f"the passphrase of {self._path}", [prompt])
            if not passphrase:
                break
            try:
                self._key = await asyncio.to_thread(asyncssh.import_private_key, self._data, passphrase)
            except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
                self._questions.tell("That was not the passphrase.")
            else:
                return self._key
        self._failed = True
        self._problems.append(f"{self._path} was not opened: no right passphrase was given.")
        return None


def _in_order(
    from_files: list[Identity],
    from_agent: list[Identity],
    extra: list[asyncssh.SSHCertificate],
    *,
    only: bool,
) -> list[Identity]:
    """OpenSSH's order (sshconnect2.c, pubkey_prepare): agent keys that the files name too, other agent keys, files."""
    named = {one.public.public_data: one for one in from_files if one.public is not None}
    certified = {cert.key.public_data for cert in extra}
    first: list[Identity] = []
    others: list[Identity] = []
    for one in from_agent:
        if one.public is None or one.sign is None:
            continue
        blob = one.public.public_data
        if blob in named:
            one.name = named[blob].name
            one.certificates = [*one.certificates, *named[blob].certificates]
            first.append(one)
        elif blob in certified or not only:
            one.certificates = [*one.certificates, *extra]
            others.append(one)
    order = [one.public.public_data for one in from_files if one.public is not None]
    first.sort(key=lambda one: order.index(one.public.public_data) if one.public else 0)
    with_agent = {one.public.public_data for one in first if one.public is not None}
    rest = [
        one
        for one in from_files
        if one.sign is not None and one.public is not None and one.public.public_data not in with_agent
    ]
    return [*first, *others, *rest]


def _pairs(identities: list[Identity]) -> Iterator[tuple[Identity, LateKeyPair]]:
    """Certificates first, as OpenSSH does; then the bare keys."""
    shown: set[bytes] = set()
    for with_certificate in (True, False):
        for one in identities:
            if one.public is None or one.sign is None:
                continue
            fitting: list[asyncssh.SSHCertificate | None] = [None]
            if with_certificate:
                fitting = [c for c in one.certificates if c.key.public_data == one.public.public_data]
            for certificate in fitting:
                blob = certificate.public_data if certificate else one.public.public_data
                if blob not in shown:
                    shown.add(blob)
                    yield one, LateKeyPair(one.public, certificate, one.sign)


def _of_key(key: asyncssh.SSHKey) -> Sign:
    async def sign(data: bytes, algorithm: bytes) -> bytes:
        return key.sign(data, algorithm)

    return sign


def _needs_touch(key: asyncssh.SSHKey) -> bool:
    return key.algorithm.startswith(b"sk-")


def _public_of(path: str, data: bytes) -> asyncssh.SSHKey | None:
    """The public key of a file: in it, or beside it as `.pub`."""
    for text in (public_line(data), data if b"PRIVATE KEY-----" not in data else None):
        if text is not None:
            try:
                return asyncssh.import_public_key(text)
            except asyncssh.KeyImportError:
                pass
    try:
        return asyncssh.import_public_key(read_key(f"{path}.pub"))
    except (OSError, asyncssh.KeyImportError):
        return None
