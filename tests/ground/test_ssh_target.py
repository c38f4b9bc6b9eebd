"""Whatever is pasted is a target that OpenSSH reads as we do, or one clear line that says what to do."""

import shlex
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jupyter_rmx.errors import UsageError
from jupyter_rmx.models import SSHTarget, check_machine_name
from jupyter_rmx.ssh.config import evaluate
from jupyter_rmx.ssh.detect import parse_ssh_argv
from jupyter_rmx.ssh.key import transport_key
from jupyter_rmx.ssh.options import durable_target
from jupyter_rmx.ssh.resolved import parse_ssh_G
from jupyter_rmx.ssh.target import parse_target, slug
from tests.ground.openssh import HERE, ssh_G

FEWER = settings(
    max_examples=max(60, settings.default.max_examples // 10),
    phases=[Phase.explicit, Phase.generate],  # each example is a process; shrinking one would take minutes
)

PIECES = [
    "ssh",
    "$",
    "-p",
    "22",
    "-vp",
    "-o",
    "Port=1",
    "-J",
    "a,b",
    "-l",
    "me",
    "me@host",
    "--",
    "ssh://",
    "[::1]",
    "'",
    '"',
    "\\",
    "-A",
    "-Z",
    "=",
    ":",
    "@",
    "x",
    "-i",
    "~",
    "#",
    "ü",
]
NEARLY = st.lists(st.sampled_from([*PIECES, "\n", "\0", "\x1b[0m", "\ud800"]), max_size=9)
TEXTS = (
    st.text(max_size=60)
    | NEARLY.map(" ".join)
    | NEARLY.map("".join)
    | NEARLY.map(lambda w: "ssh " + " ".join(w))
)


@given(TEXTS)
def test_any_text_is_a_target_or_a_usage_error(text):
    try:
        target = parse_target(text, home="/home/me")
    except UsageError as error:
        assert error.code == "usage_bad_target"
        assert error.hint
        assert str(error).isprintable()
        assert len(error.message) < 200
        return
    assert not target.destination.startswith("-")
    assert all(word.isprintable() for word in target.argv())
    assert not {" ", ";", "`", "|", "&", "<", "("} & set(target.destination)
    assert check_machine_name(slug(target)) == slug(target)
    # Words come back as what they were: nothing is read twice, nothing becomes a flag.
    again = parse_target(shlex.join(["ssh", *target.argv()]))
    assert again == target
    assert durable_target(target, home="/home/me") == target


HOSTS = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,20}", fullmatch=True) | st.sampled_from(
    ["::1", "2001:db8::1", "fe80::1%eth0", "10.0.0.1"]
)
USERS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._#%+/=\\@-]{0,10}[a-z]", fullmatch=True)
PORTS = st.none() | st.integers(1, 65535)
HOPS = st.builds(
    lambda user, host, port: f"{user}@{host}:{port}" if port else host,
    USERS.filter(lambda user: not {"/", "#"} & set(user)),
    HOSTS.filter(lambda host: ":" not in host),
    PORTS,
)
OPTIONS = st.lists(
    st.sampled_from(
        [
            "StrictHostKeyChecking=accept-new",
            "ServerAliveInterval 1m30",
            "ConnectTimeout = 7",
            "IdentitiesOnly=yes",
            'HostKeyAlias="Other"',
            "Compression=no",
            "ForwardAgent=no",
            "AddressFamily inet",
            "SetEnv A=b",
            "ProxyCommand=nc -x 'a b' %h %p",
            "PreferredAuthentications=publickey,password",
            "HostName=%h.example.org",
        ]
    ),
    max_size=4,
    unique_by=lambda option: option.split("=")[0].split()[0],
)


@st.composite
def targets(draw):
    user, six, four = draw(st.none() | USERS), draw(st.booleans()), draw(st.booleans())
    host = draw(HOSTS)
    return SSHTarget(
        destination=host if user is None else f"{user}@{host}",
        port=draw(PORTS),
        config_file="none",
        jump_host=draw(st.none() | st.lists(HOPS, min_size=1, max_size=3).map(",".join)),
        use_ipv4=four and not six,
        use_ipv6=six,
        forward_agent=draw(st.booleans()),
        compression=draw(st.booleans()),
        options=tuple(draw(OPTIONS)),
    )


def _known(found):
    """Without the algorithms, which are OpenSSH's to know, and with jump hosts as what they mean."""
    return found.jump_hops, replace(
        found,
        proxy_jump=None,
        ciphers=(),
        macs=(),
        kex_algorithms=(),
        host_key_algorithms=(),
        pubkey_algorithms=(),
    )


@FEWER
@given(targets())
def test_openssh_reads_a_target_as_we_do(target):
    line = shlex.join(["ssh", *target.argv()])
    if target.jump_host and any(option.startswith("ProxyCommand") for option in target.options):
        target = replace(target, options=tuple(o for o in target.options if not o.startswith("ProxyCommand")))
        line = shlex.join(["ssh", *target.argv()])
    assert parse_target(line) == target
    found = parse_ssh_G(ssh_G(target.argv()))
    assert _known(evaluate([], target, HERE)) == _known(found)
    user, at, host = target.destination.rpartition("@")
    assert (found.port, found.user) == (target.port or 22, user if at else HERE.user)
    assert found.host == host


LINES = [
    "ssh host",
    "ssh -p 2200 me@host",
    "ssh me@host -p 2200",
    "ssh -vp 2200 host",
    "ssh -vvAp2200 host -C",
    "ssh -p 1 -p 2 -o Port=3 host",
    "ssh -o Port=3 -p 1 host",
    "ssh -oPort=3 ssh://me@host:4",
    "ssh ssh://me@host:4 -p 5",
    "ssh ssh://m%65@host",
    "ssh -l a b@host",
    "ssh b@host -l a",
    "ssh -o User=a -l b host",
    "ssh a@b@host",
    "ssh -4 -6 host",
    "ssh -6 -4 host",
    "ssh -A -a host",
    "ssh -a -A host",
    "ssh -a host",
    "ssh -K host",
    "ssh -k host",
    "ssh -b 127.0.0.2 -B lo host",
    "ssh -C -o Compression=no host",
    "ssh -J a,b:22,ssh://me@c:33 host",
    "ssh -o ProxyJump=a -o ProxyJump=b host",
    "ssh -o 'ProxyCommand nc %h %p' -o ProxyJump=b host",
    "ssh -J none -o ProxyCommand=x host",
    "ssh -J 10.0.0.1,a,[::1]:22 host",
    "ssh -J %r@%h-gw,[10.0.0.2]:3 host",
    "ssh -o IdentityFile=/etc/passwd -i /etc/group -o 'IdentityFile \"/etc/hosts\"' host",
    "ssh -L 80:a:80 -R 8080:b:80 -D 1080 host",
    "ssh -c aes128-ctr -m hmac-sha2-256 host",
    "ssh -o ControlMaster=auto -o ControlPath=/x -o HashKnownHosts=yes host",
    "ssh -- host",
    "ssh DOM\\\\me@host",
]


@pytest.mark.parametrize("line", LINES)
def test_a_pasted_line_means_what_it_means_to_openssh(line):
    words = shlex.split(line)[1:]
    target = parse_target(line)
    ours, theirs = (parse_ssh_G(ssh_G(["-F", "none", *argv])) for argv in (target.argv(), words))
    assert ours == theirs


SECRET = "hunter2-5f"


@pytest.mark.parametrize(
    "text",
    [
        f"me:{SECRET}@host",
        f"ssh://me:{SECRET}@host:22",
        f"ssh me:{SECRET}@host",
        f"sshpass -p {SECRET} ssh me@host",
        f"ssh host mysql -p{SECRET}",
        f"-oX {SECRET}@h",
        f"SSHPASS={SECRET} ssh me@host",
    ],
)
def test_a_refusal_does_not_repeat_a_password(text):
    with pytest.raises(UsageError) as refused:
        parse_target(text)
    assert SECRET not in repr(refused.value) + str(refused.value) + repr(refused.value.to_wire())


def test_paths_of_home_are_spelled_out():
    target = parse_target("ssh -F ~/c -i $HOME/.ssh/a -i ${HOME}/b -i ~other/c -i /d host", home="/home/me/")
    assert target.config_file == "/home/me/c"
    assert target.identity_files == ("/home/me/.ssh/a", "/home/me/b", "~other/c", "/d")


@given(
    st.lists(st.text(max_size=8) | st.sampled_from(["-p", "22", "-o", "host", "--", "-J", "-L"]), max_size=6)
)
def test_any_words_are_an_ssh_command_line_or_none(words):
    found = parse_ssh_argv(["ssh", *words])
    assert found is None or not found.target.destination.startswith("-")


FIELDS = {
    "destination": "me@other",
    "port": 22,
    "identity_files": ("/k",),
    "config_file": "/c",
    "jump_host": "j",
    "use_ipv4": True,
    "use_ipv6": True,
    "forward_agent": True,
    "compression": True,
    "options": ("A=1",),
}


def test_everything_that_decides_the_way_enters_the_key():
    base = SSHTarget("me@host")
    keys = {transport_key(replace(base, **{name: value}), home="/h") for name, value in FIELDS.items()}
    keys.add(transport_key(base, home="/h"))
    assert set(FIELDS) == set(SSHTarget.__dataclass_fields__)
    assert len(keys) == len(FIELDS) + 1
    # A blank or a separator inside a value never makes two targets one.
    pairs = [("A=1", "B=2"), ("A=1 B=2",), ("A=1\x1fB=2",), ('A=1","B=2',)]
    assert len({transport_key(replace(base, options=pair), home="/h") for pair in pairs}) == len(pairs)
