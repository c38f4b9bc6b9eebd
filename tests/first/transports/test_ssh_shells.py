"""Commands under the login shells that people have, on OpenSSH's sshd and on dropbear, with noisy profiles."""

import asyncio
import hashlib

import pytest

from jupyter_rmx.errors import TransportError
from jupyter_rmx.models import ExecSpec, Exit
from jupyter_rmx.transports import ssh_session
from jupyter_rmx.transports.ssh import connect
from tests.login_shells import USER, LoginServer

SH_NOISE = (
    "echo profile-noise; printf 'more-noise' >&2; f() { echo from-profile; }; trap 'echo trap-noise' 0\n"
)
OTHER_NOISE = "echo profile-noise; /bin/sh -c 'printf more-noise >&2'\n"
FILES = {
    ".bashrc": SH_NOISE,
    ".zshenv": SH_NOISE,
    ".cshrc": OTHER_NOISE,
    ".config/fish/config.fish": OTHER_NOISE,
}
SHELLS = ["/bin/bash", "/bin/dash", "/bin/zsh", "/usr/bin/fish", "/bin/tcsh", "/bin/bsd-csh"]
DIRECT = {"/bin/bash": "posix", "/bin/dash": "posix", "/bin/zsh": "zsh"}
PEERS = [("sshd", shell) for shell in SHELLS] + [("dropbear", "/bin/bash"), ("dropbear", "/usr/bin/fish")]
TWICE = range(2)
"""The first command on a connection goes another way than the later ones."""
NASTY = "a!b 'c' \"d\" $HOME `x` \\n \\' !! %s ünï; & | <\nsecond ! line\n\\\n\tend"


@pytest.fixture(scope="module", params=PEERS, ids=lambda peer: f"{peer[0]}-{peer[1].rpartition('/')[2]}")
def host(request, tmp_path_factory):
    """A server whose user has a noisy profile and a shell of each kind."""
    kind, shell = request.param
    banner = tmp_path_factory.mktemp("banner") / "banner"
    banner.write_text("banner-noise\n")
    more = f"Banner {banner}\n" if kind == "sshd" else f"-b {banner}"
    server = LoginServer(shell, FILES, kind=kind, more=more).start()
    yield server
    server.stop()


@pytest.fixture
def there(jp_asyncio_loop, host):
    """A connection of its own, so that its first command is a first command."""
    transport = jp_asyncio_loop.run_until_complete(connect(host.endpoint, key="peer"))
    transport.shell, transport.home = host.shell, host.home
    yield transport
    jp_asyncio_loop.run_until_complete(transport.aclose())


async def test_only_the_commands_own_output_comes(there, shell):
    for _ in TWICE:
        done = await shell(there, "printf out; printf err >&2; exit 3")
        assert (done.stdout, done.stderr, done.exit) == (b"out", b"err", Exit(code=3))


async def test_what_the_command_does_not_say_does_not_come(there, shell):
    for _ in TWICE:
        done = await shell(there, "true")
        assert (done.stdout, done.stderr, done.exit) == (b"", b"", Exit(code=0))


async def test_a_posix_login_shell_runs_the_command_itself(there, shell):
    name = there.shell.rpartition("/")[2] if there.shell in DIRECT else "sh"
    for _ in TWICE:
        done = await shell(there, 'printf %s "${BASH_VERSION:+bash}${ZSH_VERSION:+zsh}"; [ $# = 0 ]')
        assert done.stdout.decode() == (name if name in {"bash", "zsh"} else "")
        assert done.exit.ok
    assert there._shell == (
        None if there.shell not in DIRECT or await _is_dropbear(there) else DIRECT[there.shell]
    )


async def _is_dropbear(there):
    return "dropbear" in there.connection.get_extra_info("server_version")


async def test_functions_of_the_profile_are_there(there, shell):
    if there.shell not in {"/bin/bash", "/bin/zsh"}:
        assert (await shell(there, "f")).exit == Exit(code=127)
        return
    for _ in TWICE:
        assert (await shell(there, "f")).stdout == b"from-profile\n"


async def test_a_command_is_taken_to_the_letter(there, shell):
    for _ in TWICE:
        done = await shell(there, f"cat <<'RMX END'\n{NASTY}\nRMX END\nprintf '%s' '!!' \"\\\\\" 'a'\"'\"'b'")
        assert done.stdout.decode() == f"{NASTY}\n!!\\a'b"
        assert done.stderr == b""


async def test_environment_folder_and_input(there, collect):
    for _ in TWICE:
        spec = ExecSpec(
            'printf "%s|" "$A" "$B"; cat; pwd; env | grep -c "^RMX_"',
            env={"A": NASTY, "B": ""},
            cwd="it's a !folder",
            stdin_open=True,
        )
        (there.home / "it's a !folder").mkdir(exist_ok=True, mode=0o777)
        process = await there.run(spec)
        await process.write(b"in\0put\n")
        await process.write_eof()
        done = await collect(process)
        assert done.stdout == f"{NASTY}||in\0put\n{there.home}/it's a !folder\n0\n".encode(), done.stderr


async def test_a_command_of_a_megabyte_with_its_input(there, collect):
    text = hashlib.sha512(b"seed").hexdigest() * 8192
    for _ in TWICE:
        process = await there.run(ExecSpec(f"cat\nprintf %s '{text}\n!'", stdin_open=True))
        await process.write(b"input;")
        await process.write_eof()
        done = await collect(process)
        assert done.stdout == f"input;{text}\n!".encode()
        assert (done.stderr, done.exit) == (b"", Exit(code=0))


async def test_a_slip_in_the_command_is_told_by_the_shell(there, shell):
    for _ in TWICE:
        done = await shell(there, "if then")
        assert done.exit.code not in {0, None}
        assert b"then" in done.stderr
        assert b"noise" not in done.stderr


async def test_values_are_in_no_process_list(there, shell):
    for _ in TWICE:
        done = await shell(there, "cat /proc/[0-9]*/cmdline; printf ${#TOKEN}", env={"TOKEN": "s3cret-value"})
        assert b"s3cret" not in done.stdout
        assert done.stdout.endswith(b"12")


@pytest.mark.parametrize("name", ["INT", "TERM", "KILL"])
async def test_a_signal_reaches_the_whole_group(there, shell, eventually, name):
    for _ in TWICE:
        process = await there.run(ExecSpec("sh -c 'sh -c \"echo \\$\\$; exec sleep 1000\"; true'; true"))
        events = process.events()
        grandchild = int((await events.__anext__()).data)
        await process.signal(name)

        async def to_the_end(events=events):
            return [event async for event in events]

        rest = await asyncio.wait_for(to_the_end(), 30)
        assert isinstance(rest[-1], Exit)
        assert not rest[-1].ok

        async def gone(pid=grandchild):
            return not (await shell(there, f"grep -q '^State:.[^ZX]' /proc/{pid}/status")).exit.ok

        await eventually(gone)
    assert there.state == "ready"


async def test_letting_go_hangs_up_the_group(there, shell, eventually):
    for _ in TWICE:
        process = await there.run(ExecSpec("sh -c 'echo $$; sleep 1000'; true"))
        child = int((await process.events().__anext__()).data)
        await process.aclose()

        async def gone(pid=child):
            return not (await shell(there, f"grep -q '^State:.[^ZX]' /proc/{pid}/status")).exit.ok

        await eventually(gone)


async def test_the_signal_that_ended_it_has_its_name(there, shell):
    for _ in TWICE:
        end = (await shell(there, "sh -c 'kill -KILL $$'")).exit
        assert end in {Exit(signal="KILL"), Exit(code=137)}
        assert "KILL" in str(end)


async def test_many_at_once(there, shell):
    done = await asyncio.gather(*(shell(there, f"echo {n}; exit {n}") for n in range(8)))
    assert [(one.stdout, one.exit.code) for one in done] == [(f"{n}\n".encode(), n) for n in range(8)]


# -- servers that do not run what they are told -----------------------------------------------------------------


@pytest.fixture
def login_server():
    """A function that starts a server; it ends with the test."""
    made = []

    def start(*args, **options):
        made.append(LoginServer(*args, **options).start())
        return made[-1]

    yield start
    for server in made:
        server.stop()


@pytest.fixture
def refused(login_server, open_transport, shell):
    """What comes of a command on such a server."""

    async def ask(*args, command="echo ran", **options):
        transport = await open_transport(login_server(*args, **options).endpoint)
        with pytest.raises(TransportError) as caught:
            await shell(transport, command)
        assert caught.value.code == "ssh_no_shell"
        assert "ForceCommand" in caught.value.hint
        assert transport.state == "ready"
        return str(caught.value)

    return ask


async def test_an_account_that_takes_no_commands_says_so(refused):
    assert "This account is currently not available." in await refused("/usr/sbin/nologin")
    assert "said nothing" in await refused("/bin/false")


async def test_a_forced_command_is_no_answer(refused):
    assert "forced" in await refused("/bin/bash", more="ForceCommand echo forced; exit 0")


async def test_a_server_that_sends_all_back_brings_no_secret_into_the_error(
    login_server, open_transport, shell
):
    transport = await open_transport(login_server("/bin/bash", more="ForceCommand cat; cat >&2").endpoint)
    for text in ("short", "long" * 3000):
        with pytest.raises(TransportError) as caught:
            await shell(transport, f"echo s3cret-command {text}", env={"TOKEN": f"s3cret-value {text}"})
        assert caught.value.code == "ssh_no_shell"
        assert "s3cret" not in str(caught.value)
        assert "long" not in str(caught.value)


async def test_a_profile_that_ends_the_shell_says_so(refused):
    assert "no entry" in await refused("/bin/bash", {".bashrc": "echo no entry >&2; exit 0\n"})


async def test_a_server_that_only_talks_is_cut_short(refused):
    assert "chatter" in await refused("/bin/bash", more="ForceCommand yes chatter")


async def test_a_shell_that_never_begins_is_given_up(refused, monkeypatch):
    monkeypatch.setattr(ssh_session, "START_TIMEOUT_S", 0.3)
    assert "waiting" in await refused("/bin/bash", more="ForceCommand echo waiting; sleep 1000")


async def test_a_login_shell_that_changes_is_learnt_again(login_server, open_transport, shell):
    """A shell that was known and speaks another language now: one clear error, and the next command works."""
    transport = await open_transport(login_server("/usr/bin/fish").endpoint)
    transport._shell = "posix"
    with pytest.raises(TransportError) as caught:
        await shell(transport, "if true; then echo ok; fi")
    assert caught.value.code == "ssh_no_shell"
    assert (await shell(transport, "if true; then echo ok; fi")).stdout == b"ok\n"


async def test_an_interrupt_while_the_profile_is_read_takes_the_command_back(
    login_server, open_transport, collect, monkeypatch
):
    monkeypatch.setattr("jupyter_rmx.transports.ssh_process.START_PATIENCE_S", 0.2)
    server = login_server("/bin/bash", {".bashrc": "[ -e ~/wait ] && { : >~/reading; sleep 3; }\n"})
    (server.home / "wait").touch()
    transport = await open_transport(server.endpoint)
    process = await transport.run(ExecSpec("touch ~/ran"))
    while not (server.home / "reading").exists():
        await asyncio.sleep(0.01)
    await process.signal("INT")
    assert (await collect(process)).exit == Exit(signal="INT")
    (server.home / "wait").unlink()
    process = await transport.run(ExecSpec("sleep 4; echo later"))
    assert (await collect(process)).stdout == b"later\n"
    assert not (server.home / "ran").exists()


def test_output_before_the_mark_may_come_in_any_pieces():
    from jupyter_rmx.transports.ssh_group import StartMarker

    marker = StartMarker("host")
    token = marker.shell_line().split("rmx-start-")[1].split(" ")[0]
    told = f"printf 'rmx-start-{token} %s'\nnoise rmx-shell-{token} zsh\nrmx-start-{token} 123\nown rmx-start-{token} 9\n".encode()
    for size in range(1, len(told) + 1):
        marker = StartMarker("host")
        marker._mark, marker._kind = f"rmx-start-{token} ", f"rmx-shell-{token} "
        own = b"".join(marker.feed("stderr", told[at : at + size]) for at in range(0, len(told), size))
        assert own == f"own rmx-start-{token} 9\n".encode()
        assert (marker.pid, marker.shell_kind, marker.started) == (123, "zsh", False)
        assert marker.feed("stdout", f"x rmx-start-{token} \nout".encode()) == b"out"
        assert marker.started


# -- the user's own configuration ---------------------------------------------------------------------------------


async def test_a_remote_command_of_the_users_configuration_does_not_interfere(login_server, shell, tmp_path):
    from jupyter_rmx.models import SSHTarget
    from jupyter_rmx.settings import Settings
    from jupyter_rmx.transports.ssh_target import connect_target

    server = login_server("/usr/bin/fish", FILES)
    key, config = tmp_path / "key", tmp_path / "config"
    key.touch(0o600)
    key.write_text(server.endpoint.client_key)
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.endpoint.port} {server.endpoint.host_key}")
    config.write_text(
        f"Host gpu01\n HostName 127.0.0.1\n Port {server.endpoint.port}\n User {USER}\n IdentityFile {key}\n"
        f" UserKnownHostsFile {tmp_path}/known_hosts\n IdentitiesOnly yes\n IdentityAgent none\n"
        " RemoteCommand echo remote-command; exec fish\n RequestTTY yes\n"
    )
    settings = Settings(owner="tests", data_dir=tmp_path)
    target = SSHTarget("gpu01", config_file=str(config))
    transport = await connect_target(target, key="peer", settings=settings)
    try:
        for _ in TWICE:
            done = await shell(transport, "[ -t 0 ] || echo $((6 * 7))")
            assert (done.stdout, done.stderr, done.exit) == (b"42\n", b"", Exit(code=0))
    finally:
        await transport.aclose()
