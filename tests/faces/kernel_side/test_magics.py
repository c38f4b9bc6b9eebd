"""The magics in a real IPython shell, against a real server and a real machine."""

import hashlib
import json

import pytest

from jupyter_rmx.errors import RemoteCommandError
from jupyter_rmx.magics.runner import current_runner
from jupyter_rmx.magics.session import current_session
from jupyter_rmx.magics.stream import run_there
from jupyter_rmx.models import ExecSpec, Exit

pytestmark = pytest.mark.usefixtures("demo")


def run(ip, capsys, cell):
    """The result of a cell, what it wrote to stdout, and to stderr."""
    capsys.readouterr()
    result = ip.run_cell(cell)
    return result, *capsys.readouterr()


def failure(ip, capsys, cell):
    """The error of a cell that must fail, shown in exactly one line."""
    result, out, err = run(ip, capsys, cell)
    assert result.error_in_exec is not None
    lines = (out + err).strip().splitlines()
    assert len(lines) == 1, lines
    return result.error_in_exec, lines[0]


def collected(server, command, stdin=None):
    """A command's exit and its writes, through the same path as a cell."""
    writes = []
    end = run_there(
        current_runner(),
        current_session().service(),
        "demo",
        ExecSpec(command, stdin_open=stdin is not None),
        stdin=stdin,
        write=lambda name, text: writes.append((name, text)),
    )
    return end, writes


def text_of(writes, name="stdout"):
    return "".join(text for stream, text in writes if stream == name)


def test_a_cell_runs_there_and_nothing_is_expanded_here(ip, capsys):
    ip.user_ns["x"] = "HERE"
    result, out, _ = run(ip, capsys, "%%vm demo\necho {x} $x $(hostname)")
    assert result.success and result.result is None
    assert out == "{x} demo\n"
    _, out, _ = run(ip, capsys, "%vm exec demo --env A='b c' -- echo \"{x}  $A\" '$HOME'; hostname")
    assert out == "{x}  b c $HOME\ndemo\n"
    # IPython expands a line only if it can expand all of it: here it could.
    _, out, _ = run(ip, capsys, '%vm exec demo -- echo "{x}" $x :')
    assert out == "{x} :\n"


def test_python_cells_run_there(ip, capsys):
    cell = "%%vm demo --python --env A=1 --cwd /tmp\nimport os\nprint(os.environ['A'], os.getcwd(), 'é😀')"
    result, out, _ = run(ip, capsys, cell)
    assert result.success
    assert out == "1 /tmp é😀\n"
    body = "#" * 300_000  # more than any pipe holds
    _, out, _ = run(ip, capsys, f"%%vm demo --python\n{body}\nprint('read it all')")
    assert out == "read it all\n"


def test_both_streams_arrive_as_themselves(ip, capsys):
    _, out, err = run(ip, capsys, "%%vm demo\necho one; echo two >&2")
    assert (out, err) == ("one\n", "two\n")


def test_output_streams_while_the_command_runs(ip, use_server):
    """The command goes on only after its first line was seen here."""
    use_server.sh("rm -f seen")
    released = []

    def write(name, text):
        if "first" in text and not released:
            released.append(True)
            use_server.sh("touch seen")

    command = "echo first; for i in $(seq 600); do [ -e seen ] && exit 5; sleep 0.1; done; exit 6"
    end = run_there(
        current_runner(), current_session().service(), "demo", ExecSpec(command), stdin=None, write=write
    )
    assert end == Exit(code=5)


def test_progress_bars_keep_their_carriage_returns(ip, capsys):
    command = "for i in 1 2 3; do printf '\\r%d0%%' $i; sleep 0.1; done; printf '\\r\\n'"
    _, out, _ = run(ip, capsys, f"%%vm demo\n{command}")
    assert out == "\r10%\r20%\r30%\r\n"


def test_characters_split_over_frames_are_put_together(ip, use_server):
    end, writes = collected(
        use_server, r"printf '\360\237'; sleep 0.3; printf '\230\200\303'; sleep 0.2; printf '\251\377'"
    )
    assert end.ok
    assert text_of(writes) == "😀é�"


def test_a_flood_arrives_whole_and_in_few_pieces(ip, use_server):
    end, writes = collected(
        use_server, "head -c 37500000 /dev/urandom | base64 -w 99 | tee flood | cat; sha256sum flood >&2"
    )
    text = text_of(writes)
    assert end.ok and len(text) > 50_000_000
    assert hashlib.sha256(text.encode()).hexdigest() == text_of(writes, "stderr").split()[0]
    assert len(writes) < len(text) / 10_000


def test_an_exit_code_stops_the_notebook_with_one_line(ip, capsys):
    error, line = failure(ip, capsys, "%%vm demo\nexit 3")
    assert isinstance(error, RemoteCommandError) and error.exit_code == 3
    assert line == "RemoteCommandError: The command on demo ended with exit code 3. Its output says why."
    error, line = failure(ip, capsys, "%vm exec demo -- kill -9 $$")
    assert error.signal == "KILL" and "signal KILL" in line
    result, out, err = run(ip, capsys, "%%vm demo --no-raise-error\nexit 3")
    assert result.success and out == err == ""


def test_debug_shows_the_traceback(ip, capsys):
    result, out, err = run(ip, capsys, "%%vm demo --debug\nexit 3")
    assert isinstance(result.error_in_exec, RemoteCommandError)
    assert "Traceback" in out + err


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("create Bad_Name", "usage_bad_name", "a-z, 0-9"),
        ("create demo --image other", "vm_name_taken", "demo"),
        ("create x --provider nowhere", "vm_invalid_provider", "nowhere"),
        ("exec nope -- ls", "vm_not_found", "%vm create nope"),
        ("exec no/pe -- ls", "usage_bad_name", "a-z, 0-9"),
        ("open demo 0", "usage_bad_port", "1 to 65535"),
        ("open demo 65536", "usage_bad_port", "1 to 65535"),
        ("open demo eighty", "usage_bad_port", "1 to 65535"),
        ("open nope 80", "vm_not_found", "nope"),
        ("upload demo {tmp}/missing", "transfer_missing_file", "missing"),
        ("upload demo {tmp}", "transfer_is_folder", "is a folder"),
        ("upload demo {tmp}/file --to no/folder", "transfer_no_such_folder", "no/folder"),
        ("upload nope {tmp}/file", "vm_not_found", "nope"),
        ("destroy nope", "vm_not_found", "nope"),
        ("frobnicate", "usage_unknown_verb", "frobnicate"),
        ("exec demo --env X -- ls", "usage_bad_env", "NAME=value"),
    ],
)
def test_bad_input_is_one_clear_line(ip, capsys, tmp_path, line, code, says):
    (tmp_path / "file").write_text("x")
    error, shown = failure(ip, capsys, f"%vm {line.format(tmp=tmp_path)}")
    assert error.code == code
    assert error.hint and says in shown


def test_bad_cells_are_one_clear_line(ip, capsys):
    assert failure(ip, capsys, "%%vm\nls")[0].code == "usage_no_machine"
    assert failure(ip, capsys, "%%vm demo\n  ")[0].code == "usage_bad_command"
    assert failure(ip, capsys, "%%vm nope\nls")[0].code == "vm_not_found"


def test_if_one_file_cannot_be_sent_none_is(ip, capsys, tmp_path, use_server):
    (tmp_path / "alone.txt").write_text("x")
    error, _ = failure(ip, capsys, f"%vm upload demo {tmp_path}/alone.txt {tmp_path}")
    assert "Nothing was sent" in error.message
    assert use_server.sh("ls alone.txt 2>/dev/null || echo none") == "none\n"


def test_uploads_arrive_whole_with_mode_and_time(bundle, tmp_path, use_server):
    data = bytes(range(256)) * 9000
    path = tmp_path / "a b%20é#?.bin"
    path.write_bytes(data)
    path.chmod(0o751)
    use_server.sh("mkdir -p 'in here'")
    shown = bundle(f"%vm upload demo '{path}' --to 'in here'")
    assert "in here/a b%20é#?.bin on demo (2.3 MB)" in shown["text/plain"]
    told = use_server.sh("cd 'in here' && sha256sum < a* && stat -c '%a %Y' a*").split()
    assert told == [hashlib.sha256(data).hexdigest(), "-", "751", str(int(path.stat().st_mtime))]
    use_server.sh("mkdir /tmp/absolute")
    bundle(f"%vm upload demo '{path}' --to /tmp/absolute")
    assert use_server.sh("ls /tmp/absolute") == f"{path.name}\n"


def test_create_is_repeatable_and_a_destroyed_name_is_free_again(ip, bundle):
    first = ip.run_cell("a = %vm create again").success and ip.user_ns["a"].id
    assert ip.run_cell("b = %vm create again").success
    assert ip.user_ns["b"].id == first
    assert "again" in bundle("%vm ls")["text/plain"]
    assert bundle("%vm destroy again")["text/plain"] == "Destroyed: again"
    assert "again" not in bundle("%vm ls")["text/plain"]
    assert ip.run_cell("c = %vm create again").success
    assert ip.user_ns["c"].id != first
    bundle("%vm destroy again again")


def test_a_machine_destroyed_elsewhere_can_be_made_again(ip, use_server):
    assert ip.run_cell("a = %vm create elsewhere").success
    use_server.call(lambda client: client.destroy("elsewhere"))
    assert ip.run_cell("b = %vm create elsewhere").success
    assert ip.user_ns["a"].id != ip.user_ns["b"].id
    assert ip.run_cell("%vm destroy elsewhere").success


def test_open_gives_the_tab_its_payload(bundle, use_server, demo):
    shown = bundle("%vm open demo 8000/docs?a=b")
    payload = shown["application/vnd.jupyter-rmx.open+json"]
    json.dumps(payload)
    assert payload["open_id"] and payload["machine_id"] == demo.id
    assert (payload["version"], payload["port"], payload["path"]) == (1, 8000, "/docs?a=b")
    assert payload["shown"] == "http://localhost:8000/docs?a=b"
    assert "ticket" not in json.dumps(shown)
    assert "/rmx/open/demo/8000/docs?a=b" in shown["text/plain"]


def test_line_magics_print_nothing_and_can_be_silenced(ip, capsys):
    result, out, err = run(ip, capsys, "machines = %vm ls")
    assert (out, err) == ("", "")
    assert "demo" in [vm.name for vm in ip.user_ns["machines"]]
    result, out, _ = run(ip, capsys, "%vm ls;")
    assert result.success and out == ""


def test_help_is_shown_and_nothing_is_done(bundle):
    assert "%vm create" in bundle("%vm")["text/plain"]
    assert "usage: %vm create" in bundle("%vm create -h")["text/plain"]
    assert "usage: %%vm" in bundle("%%vm -h\nls")["text/plain"]


def completions(ip, text):
    return [item.text for item in ip.Completer.completions(text, len(text)) if item.type != "<unknown>"]


def test_tab_completes_verbs_options_and_machines(ip):
    from IPython.core.completer import provisionalcompleter

    assert ip.run_cell("%vm ls;").success
    with provisionalcompleter():
        assert "create" in completions(ip, "%vm cr")
        assert completions(ip, "%vm exec de") == ["demo"]
        assert completions(ip, "%%vm d") == ["demo"]
        assert completions(ip, "%vm create --p") == ["--provider"]
        assert completions(ip, "%%vm demo --py") == ["--python"]
        assert "demo" not in completions(ip, "x = de")


def test_loading_twice_and_unloading(ip, capsys):
    ip.run_line_magic("reload_ext", "jupyter_rmx")
    assert len([m for m in ip.Completer.custom_matchers if m.__name__ == "vm_matcher"]) == 1
    assert ip.run_cell("%vm ls;").success
    ip.run_line_magic("unload_ext", "jupyter_rmx")
    assert "vm" not in ip.magics_manager.magics["line"]
    assert ip.Completer.custom_matchers == []
    ip.run_line_magic("load_ext", "jupyter_rmx")


def test_shared_ports_are_said_once(ip, bundle, start_server, monkeypatch):
    """Where nothing can be isolated (here: forced), the first machine says that its ports are this computer's."""
    monkeypatch.setenv("JUPYTER_RMX_LOCAL_ISOLATION", "plain")
    bare = start_server()
    monkeypatch.setenv("JUPYTER_RMX_CONNECTION", str(bare.file))
    first, second = bundle("%vm create bare-1"), bundle("%vm create bare-2")
    for kind in ("text/plain", "text/html"):
        assert "its ports are ports of this computer itself" in first[kind]
        assert "ports" not in second[kind]
