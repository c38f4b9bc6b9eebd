"""Which host keys are right: the user's known_hosts decide, ours remembers, held against the real `ssh`."""

import asyncio
import base64
import fcntl
import os
import stat
import subprocess
import sys
import time
from concurrent import futures
from pathlib import Path

import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import SSHTarget
from jupyter_rmx.transports.ssh_hostkeys import HostKeys, fingerprint, lines_of
from tests.sshd import Person, keygen, public
from tests.sshd import fingerprint as shown_by_ssh_keygen

ACCEPT_NEW = "-oStrictHostKeyChecking=accept-new"


@pytest.fixture
def server(server_of, person):
    """A server of its own that lets the person in."""
    started = server_of(kinds=("ed25519", "ecdsa"))
    started.authorize(person.key())
    return started


@pytest.fixture
def host(person, server):
    """Write the Host entry; gives the target."""

    def write(name="gpu01", **options):
        return person.host(name, server=server, IdentityFile=person.folder / "id", **options)

    return write


def host_key_of(server, kind="ed25519"):
    return server.host_keys[kind]


def hash_known_hosts(file):
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    Path(f"{file}.old").unlink()


def test_a_new_host_is_kept_in_our_own_file(person, host, connecting, own_known_hosts, server):
    target = host()
    connecting.to(target)
    assert not person.known_hosts.exists()  # nothing of the user's is written
    assert stat.S_IMODE(own_known_hosts.stat().st_mode) == 0o600
    (line,) = own_known_hosts.read_text().splitlines()
    assert line.startswith("|1|")
    assert line.endswith(public(host_key_of(server)))
    # Real ssh and ssh-keygen read the file as we do.
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{server.port}", "-f", own_known_hosts], capture_output=True
    )
    assert found.returncode == 0
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=yes", f"-oUserKnownHostsFile={own_known_hosts}")[0]
    connecting.to(target)
    assert own_known_hosts.read_text().splitlines() == [line]


@pytest.mark.parametrize("hashed", [False, True])
def test_a_host_that_the_user_knows_is_not_written_again(
    person, host, connecting, own_known_hosts, server, hashed
):
    person.known_hosts.write_text(server.known)
    if hashed:
        hash_known_hosts(person.known_hosts)
        assert "127.0.0.1" not in person.known_hosts.read_text()
    connecting.to(host(StrictHostKeyChecking="yes"), host_keys="strict")
    assert not own_known_hosts.exists()
    assert person.ssh()[0]


@pytest.mark.parametrize("how", ["setting", "configuration"])
def test_strict_refuses_a_host_that_nobody_knows(person, host, connecting, own_known_hosts, server, how):
    if how == "setting":
        error = connecting.error(host(), host_keys="strict")
    else:
        error = connecting.error(host(StrictHostKeyChecking="yes"))
        assert not person.ssh()[0]
    assert (error.code, error.retryable) == ("ssh_host_key_unknown", False)
    assert shown_by_ssh_keygen(host_key_of(server)) in error.message
    assert not own_known_hosts.exists()


@pytest.mark.parametrize("whose", ["ours", "theirs", "theirs hashed"])
def test_a_changed_key_is_refused_with_the_way_out(person, host, connecting, own_known_hosts, server, whose):
    target = host()
    file = own_known_hosts
    if whose == "ours":
        connecting.to(target)
    else:
        file = person.known_hosts
        file.write_text(f"# mine\n\nother ssh-ed25519 AAAA\n{server.known}")
        if whose.endswith("hashed"):
            file.write_text(server.known)
            hash_known_hosts(file)
        connecting.to(target)
    old = shown_by_ssh_keygen(host_key_of(server))
    server.new_host_key()
    before = file.read_text()
    error = connecting.error(target)
    assert (error.code, error.retryable) == ("ssh_host_key_changed", False)
    assert old in error.message
    assert shown_by_ssh_keygen(host_key_of(server)) in error.message
    number = {"ours": 1, "theirs": 4, "theirs hashed": 1}[whose]
    assert f"{file}:{number}" in error.message
    assert file.read_text() == before
    if file == person.known_hosts:
        got_in, said = person.ssh("gpu01", ACCEPT_NEW)
        assert not got_in
        assert f"{file}:{number}" in said
    # The line that the hint gives mends it.
    mend = error.hint.partition("remove the old key: ")[2]
    assert mend.startswith("ssh-keygen -R ")
    assert os.system(f"{mend} >/dev/null 2>&1") == 0
    connecting.to(target)


def test_nothing_is_sent_to_a_host_whose_key_has_changed(person, host, connecting, server):
    connecting.to(host())
    server.new_host_key()
    server.log.write_text("")
    connecting.error(host())
    assert "Accepted" not in server.log.read_text()
    assert "Postponed" not in server.log.read_text()


@pytest.mark.parametrize("checking", ["no", "accept-new", "ask"])
def test_a_changed_key_is_refused_whatever_the_configuration_says(host, connecting, server, checking):
    target = host(StrictHostKeyChecking=checking)
    connecting.to(target)
    server.new_host_key()
    assert connecting.error(target).code == "ssh_host_key_changed"


def test_the_user_s_file_decides_over_ours(person, host, connecting, server):
    connecting.to(host())
    server.new_host_key()
    person.known_hosts.write_text(server.known)
    connecting.to(host())  # the user has met the new key with ssh


def test_a_key_of_another_kind_than_the_known_one_is_asked_for(person, host, connecting, server):
    person.known_hosts.write_text(f"[127.0.0.1]:{server.port} {public(host_key_of(server, 'ecdsa'))}\n")
    connecting.to(host(), host_keys="strict")
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=yes")[0]


def test_a_known_key_of_a_kind_that_the_server_has_no_more_is_a_changed_key(person, host, connecting, server):
    other = keygen(person.folder / "rsa_host", kind="rsa")
    person.known_hosts.write_text(f"[127.0.0.1]:{server.port} {public(other)}\n")
    assert connecting.error(host()).code == "ssh_host_key_changed"
    assert not person.ssh("gpu01", ACCEPT_NEW)[0]


def test_a_revoked_key_is_refused(person, host, connecting, server):
    person.known_hosts.write_text(f"{server.known}@revoked * {public(host_key_of(server))}\n")
    target = host(HostKeyAlgorithms="ssh-ed25519")
    error = connecting.error(target)
    assert (error.code, error.retryable) == ("ssh_host_key_changed", False)
    assert "revoked" in error.message
    assert "ssh-keygen -R" not in error.hint
    assert not person.ssh("gpu01", ACCEPT_NEW)[0]


def test_revoked_host_keys_of_the_configuration(person, host, connecting, server):
    file = person.folder / "revoked"
    file.write_text(f"# gone\n{public(host_key_of(server))} lost\n")
    person.known_hosts.write_text(server.known)
    target = host(RevokedHostKeys=file)
    assert "revoked" in connecting.error(target).message
    assert not person.ssh()[0]
    file.unlink()
    assert connecting.error(target).code == "usage_bad_ssh_config"
    for nonsense in ("ssh-ed25519 !!!\n", "SSHKRL\n\0", "alone\n"):
        file.write_text(nonsense)
        assert connecting.error(target).code == "usage_bad_ssh_config"
    file.write_text(f"{public(keygen(person.folder / 'another'))}\n")
    connecting.to(target)


def test_a_revoked_key_of_an_unknown_kind_keeps_nobody_out(person, host, connecting, server):
    person.known_hosts.write_text(f"{server.known}@revoked * ssh-future QUJD\n")
    connecting.to(host())


def test_a_key_that_is_known_without_the_port(person, host, connecting, own_known_hosts, server):
    person.known_hosts.write_text(f"127.0.0.1 {public(host_key_of(server))}\n")
    connecting.to(host(), host_keys="strict")
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=yes")[0]
    other = keygen(person.folder / "another")
    person.known_hosts.write_text(f"127.0.0.1 {public(other)}\n")
    connecting.to(host())  # another key on port 22 says nothing of this port
    assert own_known_hosts.exists()


@pytest.mark.parametrize(
    ("pattern", "right"),
    [
        ("[127.0.0.*]:{port}", True),
        ("[127.0.0.?]:{port},elsewhere", True),
        ("*,!elsewhere", True),
        ("*,![127.0.0.1]:{port}", True),  # as it is known without the port
        ("*,![127.0.0.1]:{port},!127.0.0.1", False),
        ("[127.0.0.2]:{port}", False),
        ("[127.0.0.1]:1", False),
    ],
)
def test_patterns(person, host, connecting, server, pattern, right):
    line = f"{pattern.format(port=server.port)} {public(host_key_of(server))}\n"
    person.known_hosts.write_text(line)
    target = host()
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=yes")[0] is right
    if right:
        connecting.to(target, host_keys="strict")
    else:
        assert connecting.error(target, host_keys="strict").code == "ssh_host_key_unknown"


def test_several_files_and_the_global_one(person, host, connecting, server):
    first, second, everybody = (person.folder / name for name in ("first", "second", "everybody"))
    first.write_text("somebody.else ssh-ed25519 AAAA\n")
    options = {"UserKnownHostsFile": f"{first} {second}", "GlobalKnownHostsFile": everybody}
    for file in (second, everybody):
        file.write_text(server.known)
        connecting.to(host(**options), host_keys="strict")
        file.unlink()
    assert connecting.error(host(**options), host_keys="strict").code == "ssh_host_key_unknown"


def test_a_host_key_alias(person, host, connecting, server):
    person.known_hosts.write_text(f"the-one {public(host_key_of(server))}\n")
    connecting.to(host(HostKeyAlias="the-one"), host_keys="strict")
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=yes")[0]
    target = host(HostKeyAlias="another")
    assert connecting.error(target, host_keys="strict").code == "ssh_host_key_unknown"


def test_a_user_who_wants_nothing_remembered(person, host, connecting, own_known_hosts, server):
    target = host(UserKnownHostsFile="/dev/null", StrictHostKeyChecking="no")
    connecting.to(target)
    server.new_host_key()
    connecting.to(target)
    assert person.ssh()[0]
    assert not own_known_hosts.exists()


@pytest.fixture
def certified(person, server_of):
    """A server that shows a certificate for a name."""

    def start(principal, *options):
        authority = (
            keygen(person.folder / "ca") if not (person.folder / "ca").exists() else person.folder / "ca"
        )
        server = server_of(extra="HostCertificate {folder}/host_ed25519-cert.pub\n")
        server.authorize(person.key())
        server.stop()
        os.system(
            f"ssh-keygen -q -s {authority} -h -I t -n {principal} {' '.join(options)}"
            f" {server.host_keys['ed25519']}.pub 2>/dev/null"
        )
        server.start()
        person.known_hosts.write_text(f"@cert-authority *.lab.example {public(authority)}\n")
        return person.host(
            "node7.lab.example",
            server=server,
            IdentityFile=person.folder / "id",
            HostKeyAlias="node7.lab.example",
        )

    return start


def test_a_certificate_of_a_host(person, certified, connecting, own_known_hosts):
    connecting.to(certified("node7.lab.example"), host_keys="strict")
    assert not own_known_hosts.exists()
    assert person.ssh("node7.lab.example", "-oStrictHostKeyChecking=yes")[0]


@pytest.mark.parametrize("given", [("other.lab.example",), ("node7.lab.example", "-V", "20200101:20210101")])
def test_a_certificate_that_is_no_good(person, certified, connecting, given):
    error = connecting.error(certified(*given))
    assert (error.code, error.retryable) == ("ssh_host_key_changed", False)
    assert "certificate" in error.message
    assert not person.ssh("node7.lab.example", "-oStrictHostKeyChecking=yes")[0]


def test_a_certificate_of_a_revoked_authority(person, certified, connecting):
    target = certified("node7.lab.example")
    authority = public(person.folder / "ca")
    with person.known_hosts.open("a") as file:
        file.write(f"@revoked * {authority}\n")
    assert connecting.error(target).code == "ssh_host_key_changed"
    assert not person.ssh("node7.lab.example", ACCEPT_NEW)[0]


# our own file


def test_a_file_without_a_last_newline_and_a_line_of_nonsense(host, connecting, own_known_hosts):
    own_known_hosts.parent.mkdir()
    own_known_hosts.write_text("nonsense\n|1|broken ssh-ed25519 AAAA\nx ssh-ed25519 !!!")
    connecting.to(host())
    lines = own_known_hosts.read_text().splitlines()
    assert lines[:3] == ["nonsense", "|1|broken ssh-ed25519 AAAA", "x ssh-ed25519 !!!"]
    assert len(lines) == 4
    connecting.to(host())
    assert len(own_known_hosts.read_text().splitlines()) == 4


WRITER = """
import sys
from pathlib import Path
from jupyter_rmx.transports.ssh_hostkeys import HostKeys
own, first, kind, blob = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
import base64
for number in range(first, first + 40):
    keys = HostKeys(f"host{number % 50}", 22, alias=None, files=(), own=own)
    assert keys.keep(kind, base64.b64decode(blob)).verdict == "right"
"""


def test_several_processes_write_at_once(tmp_path):
    kind, blob = public(keygen(tmp_path / "k")).split()
    own = tmp_path / "data" / "known_hosts"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(own), str(first), kind, blob])
        for first in (0, 10, 20, 30)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0, 0]
    lines = own.read_text().splitlines()
    assert len(lines) == 50  # each host once, no line torn
    for number in range(50):
        assert len(lines_of(own.read_text(), "f", f"host{number}")) == 1


def test_another_key_that_was_kept_meanwhile_is_a_changed_one(tmp_path):
    (kind, one), (_, other) = (public(keygen(tmp_path / name)).split() for name in ("a", "b"))
    own = tmp_path / "known_hosts"
    late = HostKeys("h", 22, alias=None, files=(), own=own)
    HostKeys("h", 22, alias=None, files=(), own=own).keep(kind, one.encode())
    assert late.judge(other.encode()).verdict == "unknown"
    assert late.keep(kind, other.encode()).verdict == "changed"
    assert late.keep(kind, one.encode()).verdict == "right"
    assert len(own.read_text().splitlines()) == 1


def test_whoever_writes_waits_for_the_other_and_looks_again(tmp_path):
    (kind, one), (_, other) = (public(keygen(tmp_path / name)).split() for name in ("a", "b"))
    own = tmp_path / "known_hosts"
    keys = HostKeys("h", 22, alias=None, files=(), own=own)
    with futures.ThreadPoolExecutor() as pool, own.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        keeping = pool.submit(keys.keep, kind, base64.b64decode(other))
        with pytest.raises(futures.TimeoutError):
            keeping.result(0.5)
        file.write(f"h {kind} {one}\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_UN)
        assert keeping.result(60).verdict == "changed"


async def test_no_secret_is_sent_where_another_key_was_kept_meanwhile(
    person, host, connecting, own_known_hosts, server
):
    target = host()
    own_known_hosts.parent.mkdir(parents=True)
    with own_known_hosts.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        attempt = asyncio.ensure_future(connecting.aio(target))
        inode = f":{own_known_hosts.stat().st_ino} "
        deadline = time.monotonic() + 60
        while not any(
            "->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()
        ):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        file.write(f"[127.0.0.1]:{server.port} {public(keygen(person.folder / 'another'))}\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_UN)
    with pytest.raises(TransportError) as caught:
        await attempt
    assert caught.value.code == "ssh_host_key_changed"
    assert "Accepted" not in server.log.read_text()


async def test_concurrent_connections_to_a_new_host_keep_it_once(host, connecting, own_known_hosts):
    target = host()
    await asyncio.gather(*(connecting.aio(target) for _ in range(5)))
    assert len(own_known_hosts.read_text().splitlines()) == 1


def test_a_file_that_cannot_be_written_does_not_keep_us_out(host, connecting, own_known_hosts, caplog):
    own_known_hosts.mkdir(parents=True)
    connecting.to(host())
    assert "could not be kept" in caplog.text


def test_the_fingerprint_is_openssh_s(tmp_path):
    key = keygen(tmp_path / "k")
    assert fingerprint(base64.b64decode(public(key).split()[1])) == shown_by_ssh_keygen(key)


def test_a_target_by_its_address_alone(person, server, connecting, own_known_hosts, tmp_path):
    config = tmp_path / "empty_config"
    config.write_text("")
    target = SSHTarget(
        "127.0.0.1",
        port=server.port,
        identity_files=(str(person.folder / "id"),),
        config_file=str(config),
        options=(f"UserKnownHostsFile={person.known_hosts}", "IdentityAgent=none", "IdentitiesOnly=yes"),
    )
    connecting.to(target)
    assert own_known_hosts.exists()
    assert isinstance(person, Person)
