"""Which files of ssh_config there are, and what Include in them means; held against the real ssh where it can be."""

import os

import pytest

from jupyter_rmx.transports.ssh_config_files import FILE_MAX, ConfigFiles, hosts_of_config


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "home"
    (made / ".ssh" / "conf.d").mkdir(parents=True)
    return made


@pytest.fixture
def write(home):
    def put(name, text):
        path = home / ".ssh" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return put


async def test_hosts_come_in_order_once_each_with_their_file(home, write):
    main = write("config", "Include conf.d/*\nHost gpu01 gpu-?? !not\nHost *.lab\nHost gpu02 gpu01\n")
    one = write("conf.d/10-work", "Host work\n  User me\n")
    two = write("conf.d/20-more", "Include ~/.ssh/deep\nHost more\n")
    write("conf.d/.hidden", "Host hidden\n")
    deep = write("deep", "Host deep\n")
    found = [
        (host.name, host.source) for host in await hosts_of_config(str(home)) if "etc" not in host.source
    ]
    assert found == [
        ("work", one),
        ("deep", deep),
        ("more", two),
        ("gpu01", main),
        ("gpu02", main),
    ]


def test_names_in_a_system_file_are_relative_to_its_folder(home, tmp_path):
    system = tmp_path / "etc" / "ssh_config"
    (system.parent / "ssh_config.d").mkdir(parents=True)
    system.write_text("Include ssh_config.d/*.conf\n")
    (system.parent / "ssh_config.d" / "a.conf").write_text("Host site\n")
    files = ConfigFiles(str(home), system=system)
    assert files.read() == [(str(system), "Include ssh_config.d/*.conf\n")]
    assert [text for _, text in files.include("ssh_config.d/*.conf", str(system))] == ["Host site\n"]
    assert files.include("ssh_config.d/*.conf", str(home / ".ssh" / "config")) == []


@pytest.mark.parametrize("what", ["missing", "folder", "fifo", "huge", "circle", "binary"])
async def test_what_cannot_be_read_is_left_out(home, write, what):
    path = home / ".ssh" / "config"
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)  # whoever opens one waits for a writer
    elif what == "huge":
        write("config", "# " + "x" * FILE_MAX)
    elif what == "circle":
        write("config", "Include config\nHost here\n")
    elif what == "binary":
        path.write_bytes(b"\xff\xfe\0Host \x80\nHost here\n")
    names = [host.name for host in await hosts_of_config(str(home)) if "etc" not in host.source]
    assert [name for name in names if name.isascii()] == (["here"] if what in {"circle", "binary"} else [])
