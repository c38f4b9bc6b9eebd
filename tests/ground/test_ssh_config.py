"""Our reading of ssh_config is held against `ssh -G` of the OpenSSH that is installed."""

import glob
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.ssh.argv import parse_argv
from jupyter_rmx.ssh.config import evaluate, host_names
from jupyter_rmx.ssh.jump import hop_target
from jupyter_rmx.ssh.resolved import parse_ssh_G
from jupyter_rmx.ssh.syntax import matches, seconds
from jupyter_rmx.ssh.target import parse_target, target_of
from jupyter_rmx.ssh.tokens import expand_path, expand_proxy_command, expand_tokens, path_tokens
from tests.ground.openssh import ENVIRON, HERE, ssh_G

# (configuration, targets). DIR is the folder of the test.
TABLE = {
    "nothing": ("", ["host", "me@Host.Example.ORG", "ssh://me@[::1]:2200"]),
    "a host": ("Host gpu\n HostName gpu01.example.org\n User me\n Port 2200\n", ["gpu", "gpu01", "you@gpu", "GPU"]),
    "equals": ("Host=gpu\nHostName=a\nPort = 22\nUser =me\nCompression= yes\n", ["gpu"]),
    "first wins": ("Port 1\nHost *\nPort 2\nUser a\nUser b\n", ["h", "ssh -p 3 h", "ssh -o User=c h"]),
    "patterns": ("Host *.lab !bad.lab gpu?\nPort 9\nHost !x\nUser no\nHost * !y\nUser yes\n", ["a.lab", "bad.lab", "gpu1", "gpu", "y", "x"]),
    "negated alone": ("Host !a\nPort 5\n", ["a", "b"]),
    "negated first": ("Host !a *\nPort 5\n", ["a", "b"]),
    "case of patterns": ("Host GPU\nPort 5\nHost gpu\nPort 6\n", ["GPU", "gpu"]),
    "comments": ("# a\n\n  # b\nPort 22 # c\nUser me#d\nHost a#b # c\nCompression yes\n", ["a#b".replace("#", "x"), "h"]),
    "quotes": ('User "a b"\nIdentityFile "/k e/y"\nIdentityFile \'/o\'\nIdentityFile /x\\ y\n', ["h"]),
    "quotes inside": ('IdentityFile /a"b c"d\nUser a\\"b\n', ["h"]),
    "backslashes": ('User DOM\\\\me\nIdentityFile "/a\\\\b"\nIdentityFile /c\\d\nCertificateFile "/e\\ f"\n', ["h"]),
    "tabs and ends": ("Host\tgpu  \r\n\tPort\t2200\r\n  User me \t\r\n", ["gpu"]),
    "keyword case": ("hOST gpu\nhOSTnAME x\nPORT 7\n", ["gpu"]),
    "identities": ("IdentityFile ~/.ssh/%h_%r\nHost a\nIdentityFile /k\nIdentityFile ~/.ssh/%h_%r\nCertificateFile ~/c\n", ["a", "b"]),
    "identity none": ("IdentityFile none\n", ["h", "ssh -o IdentityFile=/etc/passwd h"]),
    "hostname tokens": ("Host *\nHostName %h.example.org\n", ["gpu", "me@GPU"]),
    "percent": ("Host a\nHostName b%%c\n", ["a"]),
    "proxy command": ('Host a\nProxyCommand nc -x "q r" %h %p # c\nProxyJump j\n', ["a", "ssh -J k a", "ssh -o ProxyCommand=none a"]),
    "proxy jump": ("Host a\nProxyJump me@b:22,ssh://c:33,d\nProxyCommand x\n", ["a", "ssh -J none a", "ssh -o ProxyCommand=y a"]),
    "proxy comment": ("ProxyJump a,b # c\n", ["h"]),
    "proxy none": ("Host a\nProxyJump none\nProxyCommand x\nHost b\nProxyCommand none\nProxyJump j\n", ["a", "b"]),
    "proxy none first": ("Host a\nProxyJump none\nHost *\nProxyJump j\n", ["a", "b"]),
    "match host": ("Match host *.lab\nPort 5\nMatch host a,!b,b* user me\nPort 6\n", ["x.lab", "a", "me@a", "me@b", "me@bc"]),
    "match after hostname": ("Host gpu\nHostName gpu.lab\nMatch host *.lab\nPort 5\nMatch originalhost gpu\nUser me\n", ["gpu", "x"]),
    "match user": ("Match user me\nPort 5\nMatch user root,you\nPort 6\n", ["me@h", "you@h", "h", "ssh -l me h"]),
    "match user of config": ("User me\nMatch user me\nPort 5\n", ["h", "you@h"]),
    "match negated": ("Match !host a\nPort 5\nMatch host * !user me\nUser x\n", ["a", "b", "me@b"]),
    "match all": ("Match all\nPort 5\nHost a\nPort 6\nMatch all\nUser me\n", ["a", "b"]),
    "match case": ("Match host GPU\nPort 5\nMatch originalhost gpu*\nUser me\n", ["gpu", "GPU"]),
    "match local user": (f"Match localuser {HERE.user}\nPort 5\nMatch localuser nobody-here\nUser x\n", ["h"]),
    "match exec is left out": ("Match exec false\nPort 5\nMatch canonical\nUser me\n", ["h"]),
    "match equals": ("Match host=a user=me\nPort 5\nMatch !host=a\nPort 6\n", ["a", "me@a", "b"]),
    "match quoted": ('Match host "a,b" user "me"\nPort 5\nMatch host c # d\nPort 6\n', ["me@b", "me@c", "c"]),
    "match many": ("Match host a,b, user *\nPort 5\nMatch host *,!a\nUser x\n", ["a", "b", "c"]),
    "host commas": ('Host a,b c\nPort 5\nHost "d e" f\nPort 6\n', ["a", "c", "f"]),
    "equals again": ("ProxyCommand = =x y\n", ["a"]),
    "include": ("Include DIR/one\nPort 5\n", ["a", "b"]),
    "include in a block": ("Host a\nInclude DIR/one DIR/two*\nPort 7\nHost *\nUser last\n", ["a", "b"]),
    "include twice": ("Host b\n Include DIR/one\nHost *\n Include DIR/outer\n", ["a", "b"]),
    "include nothing": ("Include DIR/none*\nPort 3\n", ["a"]),
    "host keys": ('Host a\nHostKeyAlias Foo\nUserKnownHostsFile ~/k_%h "/b" ${KEYS}/%k\nGlobalKnownHostsFile /g /h\nStrictHostKeyChecking off\nHost b\nStrictHostKeyChecking accept-new\nHost c\nStrictHostKeyChecking yes\n', ["a", "b", "c", "d"]),
    "host key places": ("HashKnownHosts yes\nCheckHostIP yes\nNoHostAuthenticationForLocalhost yes\nVerifyHostKeyDNS ask\nRevokedHostKeys /r\nKnownHostsCommand /x %H\n", ["h"]),
    "known hosts none": ("UserKnownHostsFile none\n", ["h"]),
    "agent": ("Host a\nIdentityAgent ~/ag_%r\nIdentitiesOnly yes\nAddKeysToAgent confirm 1h\nHost b\nIdentityAgent none\nHost c\nIdentityAgent SSH_AUTH_SOCK\nHost d\nIdentityAgent $SOCK\nForwardAgent yes\nAddKeysToAgent ask\n", ["a", "b", "c", "d", "ssh -A a"]),
    "times": ("Host a\nConnectTimeout 1m30\nServerAliveInterval 2h1s\nServerAliveCountMax 4\nHost b\nConnectTimeout none\nServerAliveInterval 0\n", ["a", "b", "c"]),
    "families": ("AddressFamily inet6\nBindAddress ::1\nBindInterface lo\nTCPKeepAlive no\nConnectionAttempts 3\n", ["h", "ssh -4 h"]),
    "methods": ("PreferredAuthentications publickey,password\nPubkeyAuthentication no\nPasswordAuthentication no\nChallengeResponseAuthentication no\nGSSAPIAuthentication yes\nHostbasedAuthentication yes\nNumberOfPasswordPrompts 1\n", ["h"]),
    "unbound": ("PubkeyAuthentication unbound\n", ["h"]),
    "batch": ("BatchMode yes\nServerAliveInterval 5\nPKCS11Provider /p.so\n", ["h"]),
    "commands": ('Host a\nRemoteCommand tmux new -s "%n %u" # c\nRequestTTY force\nHost b\nRemoteCommand none\nRequestTTY yes\n', ["a", "b"]),
    "environment": ('SendEnv LANG LC_*\nSetEnv A=b "C=d e"\nHost a\nSendEnv -LC_* X LANG\nSetEnv X=y\n', ["a", "b"]),
    "algorithms": ("Ciphers aes128-gcm@openssh.com,aes256-ctr\nMACs +hmac-sha1\nCompression yes\n", ["h"]),
    "options win": ("Port 5\nCompression no\nServerAliveInterval 9\n", ["ssh -C -o ServerAliveInterval=3 -o 'ConnectTimeout 2' h", "ssh -o serveraliveinterval=1m h"]),
    "ipv6": ("Host ::1\nPort 5\nHost 2001:*\nPort 6\n", ["::1", "me@[2001:db8::1]:7", "2001:db8::2"]),
    "old names": ("TISAuthentication no\nKeepAlive no\nDSAAuthentication no\n", ["h"]),
    "ignored": ("IgnoreUnknown UseKeychain\nUseKeychain yes\nLocalForward 80 a:80\nDynamicForward 1080\nControlMaster auto\n", ["h"]),
}  # fmt: skip
FILES = {
    "one": "Host a\n Port 41\n Host b\n User inner\n",
    "two-a": "User two\nMatch host a\n Compression yes\n",
    "two-b": "ConnectTimeout 9\n",
    "outer": "Include DIR/one\nServerAliveInterval 8\n",
}
CASES = [(name, target) for name, (_, targets) in TABLE.items() for target in targets]


def _include(pattern, _source):
    return [(path, Path(path).read_text()) for path in sorted(glob.glob(pattern))]


def _comparable(found, explicit=()):
    """Algorithms that the configuration does not list are OpenSSH's to know."""
    names = {"ciphers", "macs", "kex_algorithms", "host_key_algorithms", "pubkey_algorithms"} - set(explicit)
    return replace(found, **dict.fromkeys(names, ()))


@pytest.mark.parametrize(("name", "text"), CASES, ids=[f"{name}: {target}" for name, target in CASES])
def test_openssh_reads_a_configuration_as_we_do(name, text, tmp_path):
    for file, inner in FILES.items():
        (tmp_path / file).write_text(inner.replace("DIR", str(tmp_path)))
    config = tmp_path / "config"
    written = TABLE[name][0].replace("DIR", str(tmp_path))
    config.write_bytes(written.encode())
    target = replace(parse_target(text), config_file=str(config))
    theirs = parse_ssh_G(ssh_G(target.argv()))
    ours = evaluate([(str(config), written)], target, HERE, _include)
    explicit = ("ciphers",) if name == "algorithms" else ()
    assert _comparable(ours, explicit) == _comparable(theirs, explicit)


def test_the_first_file_counts():
    files = [("user", "Host a\n Port 1\n"), ("system", "Port 2\nUser sys\n")]
    found = evaluate(files, SSHTarget("a"), HERE)
    assert (found.port, found.user) == (1, "sys")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("User me\nPort abc\n", None),
        ("Port==5\n", None),
        ("\nUser 'a\n", "config line 2: 'user'"),
        ("Port\n", "config line 1: 'port'"),
        ("Match host\n", "config line 1: 'match'"),
        ("Match all host a\n", "config line 1: 'match'"),
        ("ConnectTimeout soon\n", "config line 1: 'connecttimeout'"),
        ("StrictHostKeyChecking maybe\n", None),
        ("Include loop\n", "config line 1: 'include'"),
        ("HostName %x\n", None),
        ("UserKnownHostsFile ${NOT_SET_HERE}/k\n", None),
    ],
)
def test_what_openssh_refuses_is_refused_with_its_place(text, place, tmp_path):
    with pytest.raises(UsageError) as refused:
        evaluate([("config", text)], SSHTarget("a"), HERE, lambda pattern, _: [("config", text)])
    assert refused.value.code == "usage_bad_ssh_config"
    assert refused.value.hint
    assert place is None or refused.value.message.startswith(place)
    if "loop" not in text:
        (tmp_path / "config").write_text(text)
        with pytest.raises(AssertionError):
            ssh_G(["-F", str(tmp_path / "config"), "a"])


PIECES = st.sampled_from(
    [
        *[
            "Host",
            "Match",
            "Include",
            "=",
            '"',
            "'",
            "\\",
            "#",
            "all",
            "host",
            "!",
            "*",
            "a",
            ",",
            "%h",
            "~",
            "Port",
            "22",
            "ProxyJump",
            "none",
            "user",
            "exec",
        ],
        *["\n", "\r\n", "\t", " ", "\0", "${HOME}", "IdentityFile", "UserKnownHostsFile"],
    ]
)


@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_any_text_is_a_configuration_or_a_usage_error(text):
    host_names([("f", text)], lambda pattern, _: [("g", text)] if len(pattern) > 3 else [])
    try:
        found = evaluate([("f", text)], SSHTarget("me@a"), HERE, lambda _pattern, _source: [("g", "Port 3")])
    except UsageError as error:
        assert error.code.startswith("usage_bad_")
        assert "\n" not in error.message
        return
    assert found.hostname == found.hostname.lower()


@given(st.text(alphabet="ab*?", max_size=12), st.text(alphabet="abc\n", max_size=12))
def test_patterns_are_those_of_a_shell_without_brackets(pattern, text):
    expected = re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL)
    assert matches(text, pattern) == (expected is not None)


def test_a_pattern_cannot_hold_up_the_server():
    assert not matches("a" * 2000, "*a" * 500 + "b")  # a backtracking matcher would not end


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("smhdwSMHDW")), min_size=1, max_size=4))
def test_times_add_up(parts):
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert seconds(text) == str(sum(count * units[unit.lower()] for count, unit in parts))


def test_names_for_lists_leave_patterns_out():
    files = [
        ("~/.ssh/config", 'Host a *.b !c d\nInclude more\nMatch host e\nHost a "f" g?\nhost=h\n'),
        ("/etc/ssh/ssh_config", "Host a z\n"),
    ]
    texts = {"more": [("~/.ssh/more", "Host m a\nInclude more\nInclude more more\n")]}
    found = host_names(files, lambda pattern, _: texts[pattern])
    assert [(one.name, one.source) for one in found] == [
        ("a", "~/.ssh/config"),
        ("d", "~/.ssh/config"),
        ("m", "~/.ssh/more"),
        ("f", "~/.ssh/config"),
        ("h", "~/.ssh/config"),
        ("z", "/etc/ssh/ssh_config"),
    ]


def test_tokens_are_expanded_as_ssh_does(tmp_path):
    """OpenSSH runs the proxy command: what it was given is what we say it is given."""
    script, out, config = tmp_path / "proxy", tmp_path / "out", tmp_path / "config"
    script.write_text(f"printf '%s|' \"$@\" > {out}\n")  # its stdout stays open until it ends: ssh waits
    config.write_text(
        f"Host gpu\nHostName %h.lab\nPort 2200\nUser me\nProxyCommand sh {script} %h '%n %p' %r %% a%%p\n"
    )
    target = SSHTarget("gpu", config_file=str(config))
    subprocess.run(["ssh", *target.argv()], capture_output=True, stdin=subprocess.DEVNULL, env=ENVIRON)
    theirs = out.read_text()
    out.unlink()
    found = parse_ssh_G(ssh_G(target.argv()))
    subprocess.run(["sh", "-c", expand_proxy_command(found.proxy_command, found)], check=False)
    assert out.read_text() == theirs == "gpu.lab|gpu 2200|me|%|a%p|"


def test_a_jump_host_is_reached_as_openssh_would(tmp_path):
    """ssh -v tells the command by which it reaches the last hop, tokens expanded; nobody listens there."""
    config = tmp_path / "config"
    config.write_text("Host gpu\nProxyJump me@127.0.0.1:1,%r@127.0.0.2:2\nUser them\nCompression yes\n")
    target = SSHTarget("gpu", config_file=str(config), identity_files=("/etc/passwd",), forward_agent=True)
    said = subprocess.run(
        ["ssh", "-v", *target.argv()], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=ENVIRON
    ).stderr
    command = shlex.split(re.search(r"Executing proxy command: exec (.*)", said)[1])
    first, last = parse_ssh_G(ssh_G(target.argv())).jump_hops
    theirs = parse_argv(command)
    ours = replace(hop_target(last, target), jump_host=str(first) + f":{first.port}")
    assert replace(target_of(theirs), options=()) == ours


def test_paths_are_expanded():
    found = evaluate([], SSHTarget("me@gpu", options=("HostName=%h.lab", "HostKeyAlias=al")), HERE)
    tokens = path_tokens(found, home="/h%d", local_user="u", local_host="here.lan", uid=7)
    environ = {"A": "50%"}
    path = expand_path("~/%d/%h.%n.%p.%r.%k.%u.%L.%l.%i.%%/${A}", tokens, home="/h%d", environ=environ)
    assert path == "/h%d//h%d/gpu.lab.gpu.22.me.al.u.here.here.lan.7.%/50%"
    for bad in ("%C", "%", "%%%"):
        with pytest.raises(UsageError):
            expand_tokens(bad, tokens)
    with pytest.raises(UsageError):
        expand_path("${B}", tokens, home="/h", environ=environ)


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_any_output_is_a_value_or_a_usage_error(text):
    try:
        parse_ssh_G(text)
    except UsageError as error:
        assert error.code == "usage_bad_ssh_config"


def test_lines_that_are_not_known_are_passed_over():
    text = (
        "Pseudo-terminal will not be allocated\nnew keyword\n\nhostname h\nport 2\nuser \nproxyjump a,b:3\n"
    )
    found = parse_ssh_G(text)
    assert (found.hostname, found.port, found.user, found.tcp_probe) == ("h", 2, "", ("a", None))
    with pytest.raises(UsageError):
        parse_ssh_G("hostname h\nport many\n")
