"""How keywords of ssh_config gather their values, and what holds where nobody says anything (ssh_config(5))."""

from __future__ import annotations

from jupyter_rmx.ssh.syntax import seconds

ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
    "tisauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "keepalive": "tcpkeepalive",
    "pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
    "smartcarddevice": "pkcs11provider",
}
"""Older names of keywords."""
REST = frozenset({"proxycommand", "proxyjump", "remotecommand", "localcommand", "knownhostscommand"})
"""The rest of the line is the value, quotes, comments and all."""
APPENDED = frozenset({"identityfile", "certificatefile"})
"""Every line adds a value."""
MANY = frozenset({"userknownhostsfile", "globalknownhostsfile"})
"""All words of the line are the value."""
_TIMES = frozenset({"connecttimeout", "serveraliveinterval"})
_ALGORITHMS = frozenset({"ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms"})

# In the order of OpenSSH 9.2; where none of them exists the order does not matter.
_KEYS = ("rsa", "ecdsa", "ecdsa_sk", "ed25519", "ed25519_sk", "xmss", "dsa")
DEFAULTS: dict[str, list[str]] = {
    "port": ["22"],
    "identityfile": [f"~/.ssh/id_{kind}" for kind in _KEYS],
    "userknownhostsfile": ["~/.ssh/known_hosts ~/.ssh/known_hosts2"],
    "globalknownhostsfile": ["/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"],
}
"""Values that a Resolved has no default for."""


def canonical(keyword: str, words: list[str]) -> str:
    """The value as `ssh -G` writes it; ValueError if OpenSSH would refuse it."""
    if keyword in _TIMES:
        return seconds(words[0])
    if keyword == "addkeystoagent":
        return " ".join([words[0], *map(seconds, words[1:])])
    if keyword in _ALGORITHMS and words[0][0] in "+-^":
        return ""  # a change to a list that only OpenSSH knows: the library's own holds
    return " ".join(words) if keyword in MANY else words[0]
