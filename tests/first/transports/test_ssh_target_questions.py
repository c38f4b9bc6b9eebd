"""What a person is asked, by OpenSSH with passwords and with PAM, by dropbear, and by asyncssh's server.

asyncssh's server stands in where OpenSSH cannot ask: several prompts at once, and a password that must be changed.
"""

import asyncio
import logging

import asyncssh
import pytest

from jupyter_rmx.models import Prompt
from jupyter_rmx.transports.ssh_questions import Patience, Questions, plain
from tests.first.transports.target_fixtures import Answers
from tests.sshd import FAIL_SAFE_S, PASSWORD, DropbearServer, PasswordServer

PAM = "auth required pam_unix.so\naccount required pam_permit.so\n"
PAM_THAT_TELLS = f"auth optional pam_echo.so Have your device ready.\n{PAM}"


@pytest.fixture(scope="module")
def locked():
    """OpenSSH with a password."""
    server = PasswordServer()
    yield server
    server.finish()


@pytest.fixture
def pam_server():
    """A function that starts OpenSSH with PAM."""
    running = []

    def start(pam, extra=""):
        running.append(PasswordServer(pam=pam, extra=extra))
        return running[-1]

    yield start
    for server in running:
        server.finish()


# passwords


def test_a_password(person, locked, connecting):
    answers = Answers([PASSWORD])
    transport = connecting.to(person.host(server=locked), answers)
    assert connecting.says(transport) == "in\n"
    ((title, instructions, (prompt,)),) = answers.asked
    assert title.startswith("gpu01 (")
    assert instructions == ""
    assert (prompt.text.startswith("Password of "), prompt.echo, prompt.kind) == (True, False, "password")


def test_a_wrong_password_is_asked_for_again(person, locked, connecting):
    answers = Answers(["wrong"], ["also wrong"], [PASSWORD])
    connecting.to(person.host(server=locked), answers)
    assert [told for _, told, _ in answers.asked] == ["", *["That was not right. Please try again."] * 2]


@pytest.mark.parametrize("prompts", [1, 2])
def test_as_often_as_the_configuration_says(person, locked, connecting, prompts):
    answers = Answers(*[["wrong"]] * 5)
    error = connecting.error(person.host(server=locked, NumberOfPasswordPrompts=prompts), answers)
    assert (error.code, error.retryable) == ("ssh_auth_failed", False)
    assert len(answers.asked) == prompts
    assert "it takes publickey, password" in error.message


def test_nobody_to_ask(person, locked, connecting):
    error = connecting.error(person.host(server=locked))
    assert (error.code, error.retryable) == ("ssh_needs_answer", False)
    assert "asks for a password, and nobody can answer" in error.message
    assert "%vm attach gpu01" in error.hint
    assert "ssh-agent" in error.hint


def test_nobody_answers(person, locked, connecting):
    answers = Answers(None)
    error = connecting.error(person.host(server=locked), answers)
    assert (error.code, error.retryable) == ("ssh_needs_answer", False)
    assert len(answers.asked) == 1


def test_a_key_is_tried_before_anybody_is_asked(person, locked, connecting):
    key = person.key()
    locked.authorize(key)
    answers = Answers()
    connecting.to(person.host(server=locked, IdentityFile=key), answers)
    assert answers.asked == []


def test_the_order_that_the_user_prefers(person, locked, connecting):
    key = person.key()
    locked.authorize(key)
    answers = Answers([PASSWORD])
    target = person.host(server=locked, IdentityFile=key, PreferredAuthentications="password,publickey")
    connecting.to(target, answers)
    assert len(answers.asked) == 1


@pytest.mark.parametrize(
    "option", [{"PasswordAuthentication": "no"}, {"PreferredAuthentications": "publickey"}]
)
def test_a_way_that_the_user_forbids_is_not_gone(person, locked, connecting, option):
    answers = Answers([PASSWORD])
    error = connecting.error(person.host(server=locked, **option), answers)
    assert error.code == "ssh_auth_failed"
    assert answers.asked == []
    assert error.details["methods"] == ["publickey", "password"]


def test_no_public_keys_where_the_user_forbids_them(person, locked, connecting):
    key = person.key()
    locked.authorize(key)
    error = connecting.error(person.host(server=locked, IdentityFile=key, PubkeyAuthentication="no"))
    assert error.code == "ssh_needs_answer"
    assert error.details["tried"] == []


def test_a_locked_out_key_is_told_above_the_question(person, locked, connecting):
    key = person.key()
    key.chmod(0o644)
    answers = Answers([PASSWORD])
    connecting.to(person.host(server=locked, IdentityFile=key), answers)
    assert f"chmod 600 {key}" in answers.asked[0][1]


def test_a_key_and_then_a_password(person, connecting):
    server = PasswordServer(extra="AuthenticationMethods publickey,password\n")
    try:
        key = person.key()
        server.authorize(key)
        answers = Answers(["wrong"], [PASSWORD])
        connecting.to(person.host(server=server, IdentityFile=key), answers)
        assert len(answers.asked) == 2
        assert connecting.error(person.host(server=server, IdentityFile=key)).code == "ssh_needs_answer"
    finally:
        server.finish()


def test_a_banner_is_shown_with_the_first_question_without_its_escapes(person, connecting):
    server = PasswordServer(extra="Banner {folder}/banner\n")
    try:
        (server.folder / "banner").write_text("Only friends.\n\033]0;gotcha\007\033[31mred\n")
        answers = Answers(["wrong"], [PASSWORD])
        connecting.to(person.host(server=server), answers)
        assert "Only friends." in answers.asked[0][1]
        assert "\033" not in answers.asked[0][1]
        assert "Only friends." not in answers.asked[1][1]
    finally:
        server.finish()


def test_a_jump_host_asks_first(person, locked, sshd_shared, connecting):
    key = person.key()
    sshd_shared.authorize(key)
    person.host("bastion", server=locked)
    target = person.host(server=sshd_shared, IdentityFile=key, ProxyJump="bastion")
    answers = Answers([PASSWORD])
    connecting.to(target, answers)
    assert [title.startswith("The jump host bastion (") for title, _, _ in answers.asked] == [True]
    error = connecting.error(target)
    assert error.code == "ssh_needs_answer"
    assert error.message.startswith("The jump host bastion (")
    assert "%vm attach gpu01" in error.hint


@pytest.fixture
def dropbear():
    server = DropbearServer()
    yield server
    server.finish()


def test_dropbear_with_a_password_and_without(person, dropbear, connecting, own_known_hosts):
    target = person.host(server=dropbear)
    assert connecting.error(target).code == "ssh_needs_answer"
    assert len(own_known_hosts.read_text().splitlines()) == 1  # it proved its key before all that
    answers = Answers(["wrong"], [PASSWORD])
    assert connecting.says(connecting.to(target, answers)) == "in\n"
    assert len(answers.asked) == 2


# keyboard-interactive of OpenSSH and PAM


def test_pam_asks_for_the_password(person, pam_server, connecting):
    answers = Answers([PASSWORD])
    target = person.host(server=pam_server(PAM))
    assert connecting.says(connecting.to(target, answers)) == "in\n"
    (((prompt,)),) = [prompts for _, _, prompts in answers.asked]
    assert "assword:" in prompt.text
    assert (prompt.echo, prompt.kind) == (False, "password")


def test_what_pam_tells_is_shown(person, pam_server, connecting):
    answers = Answers([PASSWORD])
    connecting.to(person.host(server=pam_server(PAM_THAT_TELLS)), answers)
    assert "Have your device ready." in str(answers.asked)


def test_pam_and_wrong_answers(person, pam_server, connecting):
    server = pam_server(PAM)
    answers = Answers(["no"], ["no again"], [PASSWORD])
    connecting.to(person.host(server=server), answers)
    assert "try again" in answers.asked[1][1]
    answers = Answers(*[["no"]] * 9)
    error = connecting.error(person.host(server=server, NumberOfPasswordPrompts=2), answers)
    assert error.code == "ssh_auth_failed"
    assert len(answers.asked) == 2


def test_pam_with_nobody_to_ask(person, pam_server, connecting):
    error = connecting.error(person.host(server=pam_server(PAM)))
    assert error.code == "ssh_needs_answer"
    assert "keyboard-interactive" in error.message


# asyncssh's server, for what OpenSSH cannot ask


class Curious(asyncssh.SSHServer):
    """Two prompts, a word without any, one more prompt; or a password that has expired."""

    expired = False

    def __init__(self):
        self.step = 0

    def password_auth_supported(self):
        return self.expired

    def kbdint_auth_supported(self):
        return not self.expired

    def validate_password(self, username, password):
        if password == "old":
            raise asyncssh.PasswordChangeRequired("Choose a new one.")
        return password == "new"

    def change_password(self, username, old_password, new_password):
        return (old_password, new_password) == ("old", "new")

    def get_kbdint_challenge(self, username, lang, submethods):
        self.step = 0
        return "Two steps", "Type what your\x1b[2J device shows.", "en", [("Code: ", True), ("PIN: ", False)]

    def validate_kbdint_response(self, username, responses):
        self.step += 1
        if self.step == 1:
            if list(responses) != ["123", "456"]:
                return False
            return "", "A message was sent to your telephone.", "en", []
        if self.step == 2:
            return "", "", "en", [("And last: ", False)]
        return list(responses) == ["789"]


@pytest.fixture
def curious(jp_asyncio_loop):
    """A function that starts the server; gives its port."""
    started = []

    def start(**options):
        kind = type("Kind", (Curious,), options)
        server = asyncssh.create_server(
            kind, "127.0.0.1", 0, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")]
        )
        started.append(jp_asyncio_loop.run_until_complete(server))
        return started[-1].get_port()

    yield start
    for server in started:
        server.close()
        jp_asyncio_loop.run_until_complete(server.wait_closed())


def test_several_prompts_and_rounds(person, curious, connecting):
    answers = Answers(["123", "456"], ["789"])
    connecting.to(person.host(HostName="127.0.0.1", Port=curious()), answers)
    first, second = answers.asked
    assert first[1] == "Two steps\n\nType what your[2J device shows."
    assert first[2] == [Prompt("Code:", True, "answer"), Prompt("PIN:", False, "answer")]
    assert "telephone" in second[1]
    assert [prompt.text for prompt in second[2]] == ["And last:"]


def test_a_wrong_code_begins_anew(person, curious, connecting):
    answers = Answers(["1", "2"], ["123", "456"], ["789"])
    connecting.to(person.host(HostName="127.0.0.1", Port=curious()), answers)
    assert "try again" in answers.asked[1][1]


def test_too_few_answers_are_no_answer(person, curious, connecting):
    error = connecting.error(person.host(HostName="127.0.0.1", Port=curious()), Answers(["123"]))
    assert error.code == "ssh_needs_answer"


def test_a_password_that_must_be_changed(person, curious, connecting):
    answers = Answers(["old"], ["old", "new", "nwe"], ["old", "new", "new"])
    connecting.to(person.host(HostName="127.0.0.1", Port=curious(expired=True)), answers)
    assert answers.asked[1][1] == "Choose a new one."
    assert [prompt.kind for prompt in answers.asked[1][2]] == ["password", "new_password", "new_password"]
    assert answers.asked[2][1] == "The two new passwords differ."


def test_a_new_password_that_is_not_taken(person, curious, connecting):
    answers = Answers(["old"], ["old", "x", "x"], ["old"], ["old", "new", "new"])
    connecting.to(person.host(HostName="127.0.0.1", Port=curious(expired=True)), answers)
    assert "did not take the new password" in answers.asked[2][1]


def test_who_is_asked_has_time(person, locked, connecting, jp_asyncio_loop):
    """ConnectTimeout is for silent servers; here it passes twice while a person thinks."""

    class Slow(Answers):
        async def ask(self, title, instructions, prompts):
            await asyncio.sleep(2.2)
            return await super().ask(title, instructions, prompts)

    connecting.to(person.host(server=locked, ConnectTimeout=1), Slow([PASSWORD]))


def test_a_server_that_goes_while_somebody_thinks(person, connecting, jp_asyncio_loop):
    server = PasswordServer(extra="LoginGraceTime 1\n")

    class Sleeping(Answers):
        async def ask(self, title, instructions, prompts):
            await asyncio.Event().wait()

    try:
        attempt = connecting.aio(person.host(server=server), Sleeping())
        with pytest.raises(Exception) as caught:
            jp_asyncio_loop.run_until_complete(asyncio.wait_for(attempt, FAIL_SAFE_S))
        assert caught.value.code == "ssh_connection_lost"
    finally:
        server.finish()


# secrets


def test_nothing_typed_is_logged_shown_or_stored(person, locked, connecting, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    key = person.key(passphrase="phrase-4711-secret")
    locked.authorize(key)
    answers = Answers(["phrase-4711-secret"])
    transport = connecting.to(person.host(server=locked, IdentityFile=key), answers)
    wrong = Answers(["word-0815-secret"], ["word-0815-secret"], ["word-0815-secret"])
    error = connecting.error(person.host("other", server=locked), wrong)
    shown = f"{caplog.text}{transport!r}{vars(transport)}{error!r}{error.to_wire()}"
    written = "".join(
        file.read_text(errors="replace")
        for folder in (connecting.settings.data_dir, person.folder)
        for file in folder.rglob("*")
        if file.is_file()
    )
    for secret in ("phrase-4711-secret", "word-0815-secret"):
        assert secret not in shown
        assert secret not in written


# the clock and the texts


async def test_something_to_do_is_shown_until_it_is_done():
    answers = Answers()
    questions = Questions("gpu01", answers, Patience(60))
    async with questions.meanwhile("Touch your security key."):
        await asyncio.sleep(0)
    assert answers.asked == [("gpu01", "Touch your security key.", [])]
    assert len(asyncio.all_tasks()) == 1


async def test_patience_ends_a_silence_but_not_a_conversation():
    patience = Patience(0.05)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(patience.run(asyncio.Event().wait()), FAIL_SAFE_S)

    async def talk():
        for _ in range(10):
            await asyncio.sleep(0.02)
            patience.touch()
        with patience.paused():
            await asyncio.sleep(0.2)
        return "done"

    patience = Patience(0.15)
    assert await patience.run(talk()) == "done"


async def test_being_cancelled_is_not_a_time_out():
    patience = Patience(60)
    task = asyncio.ensure_future(patience.run(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[31mb\x07", "a[31mb"), ("a\r\nb\tc", "a\nb\tc"), ("é✓\u202eabc", "é✓abc"), (" x ", "x")],
)
def test_texts_of_servers_command_nothing(text, shown):
    assert plain(text) == shown
