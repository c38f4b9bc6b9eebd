"""The words of an `ssh` command line, read as OpenSSH reads them (ssh.c, ssh(1)).

Flags may be bundled with a value (`-vp 2200`) and may stand behind the host; `--` ends them; the first value of an
option wins, whether it came by flag, `-o` or URI; a destination may be a URI.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jupyter_rmx.ssh.destination import Destination, bad_target, parse_destination, parse_port, shown
from jupyter_rmx.ssh.options import split_option

PLAIN_FLAGS = frozenset("46AaCfGgKkMNnqsTtVvXxYy")
# `-P tag` is of OpenSSH 9.4; before, -P was a flag without meaning.
VALUE_FLAGS = frozenset("BbcDEeFIiJLlmOoPpQRSWw")
# Flags that are only another way to write an option.
_AS_OPTION = {
    "B": "BindInterface",
    "b": "BindAddress",
    "c": "Ciphers",
    "I": "PKCS11Provider",
    "m": "MACs",
    "P": "Tag",
}
_PLAIN_AS_OPTIONS = {
    "K": ("GSSAPIAuthentication=yes", "GSSAPIDelegateCredentials=yes"),
    "k": ("GSSAPIDelegateCredentials=no",),
}


@dataclass
class SSHCommand:
    """What an `ssh` command line says. `flags` are the letters seen; `command` the words it runs there.

    `options` holds what stood behind `-o`, verbatim, but for those that fill a field; `flag_options` what other flags
    mean as options. `forward_agent` None: neither -A nor -a.
    """

    destination: Destination | None = None
    port: int | None = None
    user: str | None = None
    user_by_flag: bool = False
    identity_files: list[str] = field(default_factory=list)
    config_file: str | None = None
    jump_host: str | None = None
    control_path: str | None = None
    use_ipv4: bool = False
    use_ipv6: bool = False
    forward_agent: bool | None = None
    compression: bool = False
    options: list[str] = field(default_factory=list)
    flag_options: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    command: tuple[str, ...] = ()

    def option(self, key: str) -> str | None:
        """The first value of an option by its key in lower case."""
        return next((value for found, value in map(split_option, self.options) if found == key), None)

    @property
    def login(self) -> str:
        """`[user@]host` with the user that wins."""
        assert self.destination is not None
        return str(Destination(self.destination.host, self.user))


def is_ssh(word: str) -> bool:
    """The name of the ssh program, with or without a folder."""
    name = word.replace("\\", "/").rpartition("/")[2].lower()
    return name in {"ssh", "ssh.exe"}


def parse_argv(argv: Sequence[str]) -> SSHCommand:
    """Read the words of a command line, `ssh` first; UsageError `usage_bad_target` if ssh would not take them."""
    if not argv or not is_ssh(argv[0]):
        raise bad_target("This is not an ssh command line.")
    words = list(argv[1:])
    found = SSHCommand()
    ended = _read_flags(words, found)
    if not words:
        raise bad_target("The ssh line names no host.")
    found.destination = parse_destination(words.pop(0), port_may_follow=False)
    found.user = found.user if found.user is not None else found.destination.user
    found.port = found.port if found.port is not None else found.destination.port
    if not ended:
        _read_flags(words, found)
    found.command = tuple(words)
    return found


def _read_flags(words: list[str], found: SSHCommand) -> bool:
    """Take flags from the front of `words`; whether `--` ended them."""
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            return True
        for letter, value in _letters(word, words):
            found.flags.add(letter)
            _take(letter, value, found)
    return False


def _letters(word: str, words: list[str]) -> Iterator[tuple[str, str]]:
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        if letter in VALUE_FLAGS:
            if not rest and not words:
                raise bad_target(f"A value is missing behind -{letter}.")
            value = rest or words.pop(0)
            if not value.strip() or not value.isprintable():
                raise bad_target(f"The value behind -{letter} is empty or cannot be printed.")
            yield letter, value
            return
        if letter not in PLAIN_FLAGS:
            raise bad_target(
                f"ssh has no flag {shown('-' + letter, 10)}.", "ssh(1) lists the flags; check the line."
            )
        yield letter, ""


def _take(letter: str, value: str, found: SSHCommand) -> None:
    if letter in _AS_OPTION:
        found.flag_options.append(f"{_AS_OPTION[letter]}={value}")
    elif letter in _PLAIN_AS_OPTIONS:
        found.flag_options += _PLAIN_AS_OPTIONS[letter]
    elif letter in "46":
        found.use_ipv4, found.use_ipv6 = letter == "4", letter == "6"
    elif letter in "Aa":
        found.forward_agent = letter == "A"
    elif letter == "C":
        found.compression = True
    elif letter == "o":
        _take_option(value, found)
    else:
        _fill(letter, value, found)


# The option that fills the same field as a flag.
_FIELD_OF_OPTION = {
    "port": "p",
    "user": "l",
    "identityfile": "i",
    "proxyjump": "J",
    "controlpath": "S",
}


def _take_option(option: str, found: SSHCommand) -> None:
    key, value = split_option(option)
    if not key or not value:
        raise bad_target(f"-o {shown(key or option, 40)} has no value.", "An option is written -o Key=Value.")
    flag = _FIELD_OF_OPTION.get(key)
    if flag is None:
        found.options.append(option.strip())
    else:
        _fill(flag, value, found)


def _fill(letter: str, value: str, found: SSHCommand) -> None:
    """Fields whose first value wins; all identities are kept, and of -F the last one counts (ssh.c)."""
    value = value.strip()
    if letter == "p":
        port = parse_port(value)
        found.port = port if found.port is None else found.port
    elif letter == "l":
        found.user, found.user_by_flag = (
            (value, True) if found.user is None else (found.user, found.user_by_flag)
        )
    elif letter == "i":
        if value not in found.identity_files:
            found.identity_files.append(value)
    elif letter == "F":
        found.config_file = value
    elif letter == "J":
        # Whichever of ProxyCommand and ProxyJump comes first decides (ssh_config(5)).
        if found.jump_host is None and found.option("proxycommand") is None:
            found.jump_host = value
    elif letter == "S":
        found.control_path = value if found.control_path is None else found.control_path
