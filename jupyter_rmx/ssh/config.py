"""ssh_config(5) where there is no OpenSSH to ask: files as text in, the same value as from `ssh -G` out.

Left out, since it needs a network or a process, or would read the files twice: CanonicalizeHostname, and of Match
the criteria canonical, final, exec, localnetwork and tagged (a block with one of them does not apply). A keyword that
is not known is passed over, where OpenSSH would stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import SSHHost, SSHTarget
from jupyter_rmx.ssh.keywords import ALIASES, APPENDED, DEFAULTS, REST, canonical
from jupyter_rmx.ssh.resolved import Resolved, from_values
from jupyter_rmx.ssh.syntax import matches_any, split_line, split_words
from jupyter_rmx.ssh.tokens import expand_path, expand_tokens, path_tokens

ConfigText = tuple[str, str]
"""Where a text is from, for messages and for Include; and the text."""
Include = Callable[[str, str], Sequence[ConfigText]]
"""(pattern, source of the file it stands in) → the files, in order; an unreadable one is left out, as by ssh."""
DEPTH_MAX = 16


def nothing_included(_pattern: str, _source: str) -> Sequence[ConfigText]:
    """For configurations that stand alone."""
    return ()


@dataclass(frozen=True)
class Here:
    """What tokens need to know of this computer: `%u %d %l %i` and variables."""

    user: str
    home: str
    host: str = "localhost"
    uid: int = 0
    environ: Mapping[str, str] = field(default_factory=dict)


def evaluate(
    files: Iterable[ConfigText], target: SSHTarget, here: Here, include: Include = nothing_included
) -> Resolved:
    """What ssh would do for `target`; UsageError `usage_bad_ssh_config`, with file and line, for what it refuses.

    `files` are the user's file, then the system's; with `target.config_file` only that one (none for `none`). The
    first value of a keyword counts; what the target itself says comes before every file.
    """
    found = _Evaluation(target, here, include)
    for source, text in files:
        found.read(source, text, active=True, depth=0)
    return found.resolved()


class _Evaluation:
    """Values gathered so far, by keyword, as `ssh -G` writes them."""

    def __init__(self, target: SSHTarget, here: Here, include: Include) -> None:
        user, at, self._host = target.destination.rpartition("@")
        self._here = here
        self._include = include
        self._values: dict[str, list[str]] = {"user": [user]} if at else {}
        for keyword, value in _of_target(target):
            self._values.setdefault(keyword, []).append(value)
        for option in target.options:
            try:
                self._take(*(split_line(option) or ("", "")))
            except ValueError:
                raise _bad("command line", option) from None

    def read(self, source: str, text: str, *, active: bool, depth: int) -> None:
        """One file. Where `active` is False no block of it applies; with it True all before the first block does."""
        applies = active
        for number, line in enumerate(text.split("\n"), 1):
            place = f"{source} line {number}"
            try:
                keyword, rest = split_line(line) or ("", "")
                if keyword == "host":
                    applies = active and matches_any(self._host, split_words(rest))
                elif keyword == "match":
                    applies = active and self._matches(split_words(rest))
                elif keyword == "include":
                    for pattern in split_words(rest):
                        self._read_included(pattern, source, applies, depth)
                elif keyword and applies:
                    self._take(keyword, rest)
            except ValueError:
                raise _bad(place, line) from None

    def _read_included(self, pattern: str, source: str, applies: bool, depth: int) -> None:
        if not applies:
            return
        if depth >= DEPTH_MAX:
            raise ValueError(pattern)
        for name, text in self._include(pattern, source):
            self.read(name, text, active=True, depth=depth + 1)

    def _matches(self, words: list[str]) -> bool:
        left = [part for word in words for part in _criterion(word)]
        if not left:
            raise ValueError("Match")
        if [word.lower() for word in left] == ["all"]:
            return True
        applies = True
        while left:
            name = left.pop(0).lower()
            negated, name = name.startswith("!"), name.removeprefix("!")
            if name in {"canonical", "final"}:
                applies = False
                continue
            if name == "all" or not left:
                raise ValueError(name)
            applies = self._fits(name, left.pop(0).split(",")) != negated and name in _CRITERIA and applies
        return applies

    def _fits(self, name: str, patterns: list[str]) -> bool:
        if name in {"host", "originalhost"}:
            host = self._hostname() if name == "host" else self._host
            return matches_any(host.lower(), [pattern.lower() for pattern in patterns])
        if name == "user":
            return matches_any(self._values.get("user", [self._here.user])[0], patterns)
        return name == "localuser" and matches_any(self._here.user, patterns)

    def _hostname(self) -> str:
        return expand_tokens(self._values.get("hostname", ["%h"])[0], {"h": self._host})

    def _take(self, keyword: str, rest: str) -> None:
        keyword = ALIASES.get(keyword, keyword)
        words = [rest.lstrip(" \t=")] if keyword in REST else split_words(rest)
        if keyword == "proxyjump":
            words = [words[0].partition("#")[0].rstrip()]
        if not words or not words[0]:
            raise ValueError(keyword)
        self._keep(keyword, words)

    def _keep(self, keyword: str, words: list[str]) -> None:
        held = self._values.get(keyword, [])
        if keyword in {"proxycommand", "proxyjump"} and self._proxy_is_set(keyword):
            return
        if keyword == "sendenv":
            self._values[keyword] = _send_env(held, words)
        elif keyword in APPENDED:
            self._values[keyword] = held + [word for word in words[:1] if word not in held]
        elif not held:
            self._values[keyword] = words if keyword == "setenv" else [canonical(keyword, words)]

    def _proxy_is_set(self, keyword: str) -> bool:
        """The first of the two decides; a jump host of `none` only ends the search for jump hosts."""
        jump = self._values.get("proxyjump", ["none"])[0].lower()
        return "proxycommand" in self._values or (jump != "none" and keyword == "proxycommand")

    def resolved(self) -> Resolved:
        """The value, with the tokens expanded that `ssh -G` expands."""
        defaults = DEFAULTS | {"user": [self._here.user], "host": [self._host]}
        values = {**defaults, **self._values, "hostname": [self._hostname().lower()]}
        found = from_values(values)
        alias = found.host_key_alias and found.host_key_alias.lower()
        found = replace(found, host_key_alias=alias)
        return self._expanded(found)

    def _expanded(self, found: Resolved) -> Resolved:
        here = self._here
        tokens = path_tokens(found, home=here.home, local_user=here.user, local_host=here.host, uid=here.uid)

        def path(text: str) -> str:
            return expand_path(text, tokens, home=here.home, environ=here.environ)

        agent = found.identity_agent
        if agent is not None and agent not in {"SSH_AUTH_SOCK", "none"} and not agent.startswith("$"):
            agent = path(agent)
        return replace(
            found,
            identity_agent=agent,
            user_known_hosts_files=tuple(map(path, found.user_known_hosts_files)),
            remote_command=found.remote_command and expand_tokens(found.remote_command, tokens),
        )


_CRITERIA = frozenset({"host", "originalhost", "user", "localuser"})


def _criterion(word: str) -> list[str]:
    """`host=a` is `host a`."""
    name, equals, value = word.partition("=")
    return [name, value] if equals and name.lower().removeprefix("!") in _CRITERIA else [word]


def _of_target(target: SSHTarget) -> Iterator[tuple[str, str]]:
    """What flags say, by keyword."""
    if target.port is not None:
        yield "port", str(target.port)
    if target.jump_host is not None:
        yield "proxyjump", target.jump_host
    for path in target.identity_files:
        yield "identityfile", path
    flags = {
        "addressfamily": ("inet6", target.use_ipv6) if target.use_ipv6 else ("inet", target.use_ipv4),
        "forwardagent": ("yes", target.forward_agent),
        "compression": ("yes", target.compression),
    }
    yield from ((keyword, value) for keyword, (value, on) in flags.items() if on)


def _send_env(held: list[str], words: list[str]) -> list[str]:
    """`-PATTERN` takes back what was named before."""
    for word in words:
        if word.startswith("-"):
            held = [name for name in held if not matches_any(name, [word[1:]])]
        else:
            held = [*held, word]
    return held


def _bad(place: str, line: str) -> UsageError:
    keyword = (split_line(line) or ("", ""))[0]
    return UsageError(
        f"{place}: {keyword[:40] or 'this line'!r} cannot be read.",
        hint="Correct that line of your ssh_config.",
        code="usage_bad_ssh_config",
    )


def host_names(files: Iterable[ConfigText], include: Include = nothing_included) -> list[SSHHost]:
    """The names that `Host` lines give, in order and once each, for lists and completion; patterns are left out.

    Included files count wherever their Include stands, since nobody can tell which host is meant yet. What cannot be
    read is passed over: a list of names is not the place to complain.
    """
    found: dict[str, SSHHost] = {}
    read: set[str] = set()
    for source, text in files:
        for name, origin in _names(source, text, include, read):
            found.setdefault(name, SSHHost(name, origin))
    return list(found.values())


def _names(source: str, text: str, include: Include, read: set[str]) -> Iterator[tuple[str, str]]:
    if source in read:  # once is enough, and a file that includes itself must end
        return
    read.add(source)
    for line in text.split("\n"):
        keyword, rest = split_line(line) or ("", "")
        if keyword not in {"host", "include"}:
            continue
        try:
            words = split_words(rest)
        except ValueError:
            continue
        if keyword == "host":
            yield from ((word, source) for word in words if word and not set("*?!") & set(word))
        else:
            for pattern in words:
                for name, included in include(pattern, source):
                    yield from _names(name, included, include, read)
