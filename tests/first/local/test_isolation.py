"""A machine is apart: each test crosses the real boundary."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import jupyter_rmx
from jupyter_rmx.models import new_id
from jupyter_rmx.providers.drivers.local.python_home import python_home


async def test_its_own_processes_only(house, strong_method):
    vm = await house.create()
    seen = (await house.sh(vm, "ls /proc | grep -E '^[0-9]+$'")).split()
    assert "1" in seen
    assert len(seen) < 12
    own = await house.sh(vm, "readlink /proc/self/ns/pid")
    assert own != os.readlink("/proc/self/ns/pid")


async def test_its_own_host_name(house, strong_method):
    before = socket.gethostname()
    vm = await house.create("named-machine")
    assert await house.sh(vm, "hostname") == "named-machine"
    assert socket.gethostname() == before


async def test_its_own_loopback_with_the_same_port_in_use_outside(house, strong_method):
    outside = socket.create_server(("127.0.0.1", 0))
    port = outside.getsockname()[1]
    threading.Thread(target=_answer, args=(outside, b"outside"), daemon=True).start()
    vm = await house.create()
    assert await house.sh(vm, "readlink /proc/self/ns/net") != os.readlink("/proc/self/ns/net")
    async with await house.ssh(vm) as link:
        server = await link.create_process(
            f"python -c \"import socket; s = socket.create_server(('127.0.0.1', {port})); print('up', flush=True);"
            " c, _ = s.accept(); c.sendall(b'inside')\""
        )
        assert await server.stdout.readline() == "up\n"
        reader, writer = await link.open_connection("127.0.0.1", port)
        assert await reader.read() == b"inside"
        writer.close()
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert client.recv(100) == b"outside"
    outside.close()


def _answer(listener, text):
    try:
        client, _ = listener.accept()
    except OSError:
        return
    with client:
        client.sendall(text)


async def test_plain_processes_share_the_loopback_and_say_so(house, monkeypatch):
    monkeypatch.setenv("JUPYTER_RMX_LOCAL_ISOLATION", "plain")
    vm = await house.create()
    assert vm.details["shared_loopback"] is True
    assert "not isolated" in vm.details["notice"]
    assert await house.sh(vm, "readlink /proc/self/ns/net") == os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize("method", ["bubblewrap"], indirect=True)
async def test_the_users_files_are_out_of_sight(house, method):
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    fd, secret = tempfile.mkstemp(dir=home, prefix=".rmx-test-")
    os.close(fd)
    try:
        vm = await house.create()
        assert await house.sh(vm, f"test -e {secret} || echo hidden") == "hidden"
    finally:
        os.unlink(secret)
    assert await house.sh(vm, f"test -e {house.root} || echo hidden") == "hidden"
    assert await house.sh(vm, "touch /usr/x 2>/dev/null || echo read-only") == "read-only"
    assert await house.sh(vm, "python -c 'import asyncssh; print(1)'") == "1"


_AS_USER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from jupyter_rmx.settings import Settings
from jupyter_rmx.providers.base import ProviderSpec
from jupyter_rmx.providers.drivers.local import LocalProvider
import asyncssh, os, socket

async def main():
    provider = LocalProvider(Settings(owner="me", data_dir=Path(sys.argv[1])))
    vm = await provider.create(ProviderSpec("demo", "me"), key=sys.argv[3])
    try:
        endpoint = await provider.attach_endpoint(vm.provider_vm_id)
        sock = socket.socket(socket.AF_UNIX); sock.connect(endpoint.unix_path); sock.setblocking(False)
        async with asyncssh.connect("", sock=sock, username="rmx", config=[], agent_path=None,
                client_keys=[asyncssh.import_private_key(endpoint.client_key)],
                known_hosts=([asyncssh.import_public_key(endpoint.host_key)], [], [])) as link:
            done = await link.run("hostname; readlink /proc/self/ns/net; echo made > file; cat file")
        await provider.pause(vm.provider_vm_id)
        paused = await provider.status(vm.provider_vm_id)
        await provider.resume(vm.provider_vm_id)
        print(os.getuid(), vm.details["isolation"], paused, *done.stdout.split())
    finally:
        await provider.destroy(vm.provider_vm_id)
    print(await provider.status(vm.provider_vm_id), os.listdir(sys.argv[1] + "/local"))

asyncio.run(main())
"""


def test_it_works_for_an_ordinary_user(strong_method, house_folder):
    """Root's interpreter may lie where nobody else may look: it is shown to `nobody` by bind mounts of our own."""
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    house_folder.chmod(0o755)
    data, shown, script = house_folder / "data", house_folder / "shown", house_folder / "as_user.py"
    for folder in (data, shown, shown / "base", shown / "site", shown / "own", shown / "own" / "jupyter_rmx"):
        folder.mkdir(mode=0o755)
    script.write_text(_AS_USER)
    argv = [sys.executable]
    path = str(Path(jupyter_rmx.__file__).parent.parent)
    if os.geteuid() == 0:
        os.chown(data, uid, uid)
        site = next(path for path in python_home().import_path if (Path(path) / "asyncssh").is_dir())
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        binds = [
            (sys.base_prefix, shown / "base"),
            (site, shown / "site"),
            (Path(jupyter_rmx.__file__).parent, shown / "own" / "jupyter_rmx"),
        ]
        mounts = "; ".join(f"mount --bind {source} {target}" for source, target in binds)
        drop = f"setpriv --reuid {uid} --regid {uid} --clear-groups"
        # An interpreter whose library lies beside it looks for it where it was built.
        library = f"LD_LIBRARY_PATH={shown}/base/lib"
        run = f'set -e; {mounts}; exec {drop} env HOME={data} PYTHONPATH={shown}/site {library} "$@"'
        argv = ["unshare", "--mount", "sh", "-c", run, "sh", f"{shown}/base/bin/{version}"]
        path = str(shown / "own")
    done = subprocess.run(
        [*argv, str(script), str(data), path, new_id("vm")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    who, method, paused, host, net, content = first.split()
    assert (who, method, paused, host, content) == (str(uid), strong_method, "paused", "demo", "made")
    assert net != os.readlink("/proc/self/ns/net")
    assert second == "gone ['heartbeat']"


def _tools_without(folder, *missing):
    """A PATH that has the shell's needs but not these programs."""
    tools = folder / "tools"
    tools.mkdir()
    for name in ("sh", "bash", "bwrap", "unshare"):
        if name not in missing:
            (tools / name).symlink_to(shutil.which(name))
    return tools


async def test_without_bwrap_unshare_serves(house, house_folder, monkeypatch):
    monkeypatch.setenv("PATH", str(_tools_without(house_folder, "bwrap")))
    vm = await house.create()
    assert vm.details == {"isolation": "unshare", "shared_loopback": False}


async def test_a_forbidden_bwrap_gives_way_to_unshare(house, house_folder, monkeypatch):
    tools = _tools_without(house_folder, "bwrap")
    (tools / "bwrap").write_text("#!/bin/sh\necho 'bwrap: Operation not permitted' >&2\nexit 1\n")
    (tools / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    vm = await house.create()
    assert vm.details["isolation"] == "unshare"
    assert await house.sh(vm, "hostname") == "demo"


async def test_with_nothing_to_isolate_plain_processes_serve_and_the_notice_says_why(
    house, house_folder, monkeypatch
):
    tools = _tools_without(house_folder, "bwrap", "unshare")
    (tools / "bwrap").write_text("#!/bin/sh\necho 'bwrap: Operation not permitted' >&2\nexit 1\n")
    (tools / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    vm = await house.create()
    assert vm.details["isolation"] == "plain"
    assert "Operation not permitted" in vm.details["notice"]
    assert "unshare is not installed" in vm.details["notice"]


@pytest.mark.parametrize(
    ("forced", "program", "says"),
    [
        ("bubblewrap", None, "bwrap is not installed"),
        ("bubblewrap", "bwrap", "Operation not permitted"),
        ("unshare", None, "unshare is not installed"),
        ("unshare", "unshare", "Operation not permitted"),
        ("chroot", None, "not a way to isolate"),
    ],
)
async def test_a_forced_way_that_does_not_work_is_one_clear_line(
    house, house_folder, monkeypatch, forced, program, says
):
    from jupyter_rmx.errors import ProviderError

    tools = _tools_without(house_folder, "bwrap", "unshare")
    if program:
        (tools / program).write_text("#!/bin/sh\necho 'Operation not permitted' >&2\nexit 1\n")
        (tools / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("JUPYTER_RMX_LOCAL_ISOLATION", forced)
    with pytest.raises(ProviderError) as caught:
        await house.create()
    assert caught.value.code == "vm_isolation_unavailable"
    assert says in caught.value.message and "\n" not in str(caught.value)
    assert caught.value.hint
    assert house.left() == []
