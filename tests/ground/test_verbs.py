"""The table of verbs, and what becomes of what a user typed."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_rmx.command_line import overview, parse_argv, parse_env, parse_line, parse_target
from jupyter_rmx.errors import UsageError
from jupyter_rmx.verbs import VERBS, verbs_of


@pytest.mark.parametrize("face", ["magic", "cli"])
def test_every_example_is_a_line_that_its_face_takes(face):
    for verb in verbs_of(face):
        assert parse_line(verb.example, face).verb == verb.name


@pytest.mark.parametrize("face", ["magic", "cli"])
def test_every_verb_explains_itself(face):
    for verb in verbs_of(face):
        text = parse_line(f"{verb.name} -h", face).help_text
        assert verb.help in text
        for argument in verb.arguments:
            assert argument.help in " ".join(text.split())
        assert f"  {verb.name}" in overview(face).replace("%vm ", " ").replace("jupyter rmx ", " ")


def test_the_verbs_of_the_contract():
    first = ["create", "ls", "info", "use", "attach", "detach", "exec", "upload", "open"]
    then = ["pause", "resume", "snapshot", "restore", "fork", "rename", "destroy"]
    assert [verb.name for verb in verbs_of("magic")] == first + then
    assert {verb.name for verb in VERBS} - {verb.name for verb in verbs_of("magic")} == {"serve"}
    assert {verb.name for verb in VERBS} - {verb.name for verb in verbs_of("cli")} == {"use"}


@pytest.mark.parametrize(
    "text",
    [
        "echo $HOME {x} 'a  b' \"c\"",
        "a -- b",
        "printf '%s\\n' \"it's\" | wc -l; exit 3",
        "  two  spaces ",
        "--help",
        "-h",
        "'an open quote",
    ],
)
def test_what_stands_after_two_dashes_stays_as_typed(text):
    request = parse_line(f"exec demo --cwd 'a b' --env K=V -- {text}", "magic")
    assert request.tail == text
    assert request.values["cwd"] == "a b"
    assert request.values["env"] == {"K": "V"}


def test_a_process_gives_one_word_as_shell_text_and_several_as_a_program():
    assert parse_argv(["exec", "demo", "--", "a | b"], "cli").tail == "a | b"
    assert parse_argv(["exec", "demo", "--", "ls", "a b", "$x"], "cli").tail == "ls 'a b' '$x'"


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("frobnicate", "usage_unknown_verb", "frobnicate"),
        ("creat", "usage_unknown_verb", "create"),
        ("create a b", "usage_bad_arguments", "b"),
        ("create --nope", "usage_bad_arguments", "--nope"),
        ("create --prov local", "usage_bad_arguments", "--prov"),
        ("ls -- x", "usage_bad_arguments", "--"),
        ("exec demo", "usage_bad_command", "--"),
        ("exec demo --", "usage_bad_command", "--"),
        ("exec a b -- ls", "usage_bad_arguments", "b"),
        ("use", "usage_bad_arguments", "NAME"),
        ("detach", "usage_bad_arguments", "NAME"),
        ("attach", "usage_bad_arguments", "TARGET"),
        ("attach a b", "usage_bad_arguments", "b"),
        ("attach -p 2200 me@host", "usage_bad_arguments", "%vm attach ssh -p 2200"),
        ("attach gpu01 -- ls", "usage_bad_arguments", "--"),
        ("upload demo", "usage_bad_arguments", "FILE"),
        ("destroy", "usage_bad_arguments", "NAME"),
        ("upload demo 'x", "usage_bad_arguments", "quotation"),
        ("exec demo --env 3=4 -- ls", "usage_bad_env", "3"),
        ("serve", "usage_unknown_verb", "serve"),
        ("exec demo --timeout soon -- ls", "usage_bad_timeout", "soon"),
    ],
)
def test_a_mistake_is_one_error_that_names_it(line, code, says):
    with pytest.raises(UsageError) as caught:
        parse_line(line, "magic")
    assert caught.value.code == code
    assert says in str(caught.value)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_the_value_of_a_bad_variable_is_not_repeated():
    with pytest.raises(UsageError) as caught:
        parse_env(["1TOKEN=hunter2"])
    assert "hunter2" not in str(caught.value)


def test_a_cell_has_its_own_options():
    request = parse_line("demo --python --no-raise-error --cwd d --env A=1 --env B=x=y --timeout 90", "cell")
    assert request.values == {
        "machine": "demo",
        "python": True,
        "cwd": "d",
        "env": {"A": "1", "B": "x=y"},
        "timeout": 90.0,
        "no_raise_error": True,
        "debug": False,
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("8000", ("8000", "/")),
        ("8000/", ("8000", "/")),
        ("80/a/b?c=d#e", ("80", "/a/b?c=d#e")),
        ("0", ("0", "/")),
    ],
)
def test_a_port_may_carry_a_path(target, expected):
    assert parse_target(target) == expected


@pytest.mark.parametrize(
    ("typed", "target"),
    [
        ("gpu01", "gpu01"),
        ("me@host:2200", "me@host:2200"),
        ("ssh://me@[::1]:22", "ssh://me@[::1]:22"),
        ("ssh:gpu01", "ssh:gpu01"),
        ("'ssh -p 2200 me@host'", "ssh -p 2200 me@host"),
        ("ssh -p 2200 -J bastion me@host", "ssh -p 2200 -J bastion me@host"),
        ("ssh -o 'ProxyCommand=nc \"%h\" 22' -- h -v", "ssh -o 'ProxyCommand=nc \"%h\" 22' -- h -v"),
        ("ssh --name not-ours h", "ssh --name not-ours h"),
        ("ssh -h", "ssh -h"),
        ("ssh 'open", "ssh 'open"),
        ("$ ssh  -vp2200   h", "$ ssh  -vp2200   h"),
        ("ssh ssh", "ssh ssh"),
        ("/usr/bin/ssh -4 h", "/usr/bin/ssh -4 h"),
        ("# ssh -4 h", "# ssh -4 h"),
        ("-- ssh -4 h", "ssh -4 h"),
        ("me@h -p 2200 -A", "me@h -p 2200 -A"),
    ],
)
def test_a_target_is_taken_as_it_was_pasted(typed, target):
    request = parse_line(f"attach --name n --startup 'ssh on; top' {typed} ;", "magic")
    assert request.values | {"debug": False} == {
        "target": target,
        "name": "n",
        "startup": "ssh on; top",
        "ssh": False,
        "debug": False,
    }
    assert request.tail is None


def test_our_options_may_stand_behind_a_target_that_is_one_word():
    assert parse_line("attach gpu01 --name ssh --ssh", "magic").values == {
        "target": "gpu01",
        "name": "ssh",
        "startup": None,
        "ssh": True,
        "debug": False,
    }


@pytest.mark.parametrize("typed", ["ssh -p 2200 -J bastion me@host", "ssh -o 'ProxyCommand=a b' -- h"])
def test_a_shells_words_make_the_same_target(typed):
    words = shlex.split(typed)
    for argv in (
        ["attach", "--json", *words],
        ["attach", "--json", "$", *words],
        ["attach", "--json", typed],
    ):
        request = parse_argv(argv, "cli")
        assert request.values["json"] is True
        assert shlex.split(request.values["target"]) == words


def test_a_machine_that_is_not_named_is_the_default_one_in_notebooks_only():
    assert parse_line("exec -- ls", "magic").values["machine"] is None
    assert parse_line("exec --cwd d demo -- ls", "magic").values["machine"] == "demo"
    assert parse_line("--python", "cell").values["machine"] is None
    assert "default machine" in parse_line("exec -h", "magic").help_text
    assert "default machine" not in parse_argv(["exec", "-h"], "cli").help_text
    with pytest.raises(UsageError, match="NAME"):
        parse_argv(["exec", "--", "ls"], "cli")


def test_an_option_may_stand_before_a_name_that_may_be_missing():
    assert parse_line("create --provider local demo", "magic").values["name"] == "demo"


# Words as a person pastes them; what is behind the host must come out exactly, whatever is in it.
_FLAGS = st.sampled_from(
    ["-p", "2200", "-vJ", "a,b:22", "--", "-o", "'A=b c'", '"x y"', "me@h", "--name", "a\\ b", "-h"]
)


@given(st.lists(_FLAGS, max_size=6), st.sampled_from(["ssh", "$ ssh", "/usr/bin/ssh"]), st.booleans())
def test_any_ssh_line_comes_out_as_it_went_in(flags, ssh, named):
    line = " ".join([ssh, *flags])
    request = parse_line(f"attach {'--name n ' if named else ''}{line}", "magic")
    assert request.values["target"] == line
    assert (request.values["name"], request.tail, request.help_text) == ("n" if named else None, None, "")


@given(
    st.text(max_size=60) | st.text(alphabet="sh -o'\"\\$;@:/pn", max_size=40),
    st.sampled_from(["magic", "cli"]),
)
def test_any_text_to_attach_is_a_request_or_a_usage_error(text, face):
    for parse in (
        lambda: parse_line(f"attach {text}", face),
        lambda: parse_argv(["attach", *text.split()], face),
    ):
        try:
            request = parse()
        except UsageError as error:
            assert "\n" not in str(error) or "\n" in text
        else:
            assert request.help_text or request.values["target"]
