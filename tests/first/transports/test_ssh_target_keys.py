"""Which keys are shown to a server, and in which order: as OpenSSH does, held against the real `ssh`."""

import os
import shutil
import stat

import pytest

from tests.first.transports.target_fixtures import Answers
from tests.sshd import fingerprint, keygen, public


def test_a_key_of_the_configuration(person, sshd_shared, connecting):
    key = person.key()
    sshd_shared.authorize(key)
    transport = connecting.to(person.host(server=sshd_shared, IdentityFile=key))
    assert connecting.says(transport) == "in\n"
    assert (transport.key, transport.state) == ("k", "ready")
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")[0]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_every_kind_of_key(person, sshd_shared, connecting, kind):
    key = person.key(kind=kind)
    sshd_shared.authorize(key)
    assert connecting.says(connecting.to(person.host(server=sshd_shared, IdentityFile=key))) == "in\n"


def test_several_keys_in_their_order(person, sshd_shared, connecting):
    first, second, third = (person.key(name) for name in ("first", "second", "third"))
    sshd_shared.authorize(third)
    connecting.to(person.host(server=sshd_shared, IdentityFile=[first, second, third]))
    sshd_shared.authorize()
    error = connecting.error(person.host(server=sshd_shared, IdentityFile=[second, first]))
    assert error.details["tried"] == [f"{key} ({fingerprint(key)})" for key in (second, first)]


def test_a_wrong_key_is_refused_with_what_was_tried_and_what_the_server_takes(
    person, sshd_shared, connecting
):
    key = person.key()
    sshd_shared.authorize(person.key("other"))
    error = connecting.error(person.host(server=sshd_shared, IdentityFile=key), Answers())
    assert (error.code, error.retryable) == ("ssh_auth_failed", False)
    assert "it takes publickey" in error.message
    assert f"{key} ({fingerprint(key)})" in error.message
    assert "authorized_keys" in error.hint
    assert not person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")[0]


def test_keys_that_are_not_there_are_passed_over(person, sshd_shared, connecting):
    key = person.key()
    sshd_shared.authorize(key)
    connecting.to(person.host(server=sshd_shared, IdentityFile=[person.folder / "nowhere", key]))


def test_a_key_that_others_may_read_is_refused_with_the_line_that_mends_it(person, sshd_shared, connecting):
    key = person.key("my key")
    sshd_shared.authorize(key)
    key.chmod(0o644)
    target = person.host(server=sshd_shared, IdentityFile=f'"{key}"')
    error = connecting.error(target)
    assert (error.code, error.retryable) == ("ssh_key_permissions", False)
    assert error.hint == f"Run: chmod 600 '{key}'"
    got_in, said = person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")
    assert not got_in
    assert "UNPROTECTED PRIVATE KEY FILE" in said
    os.system(error.hint.removeprefix("Run: "))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    connecting.to(target)


def test_another_key_still_opens_where_one_may_be_read_by_others(person, sshd_shared, connecting):
    loose, good = person.key("loose"), person.key("good")
    loose.chmod(0o640)
    sshd_shared.authorize(good)
    connecting.to(person.host(server=sshd_shared, IdentityFile=[loose, good]))


def test_a_file_that_is_no_key_is_named(person, sshd_shared, connecting):
    bad = person.folder / "bad"
    bad.write_text("not a key\n")
    bad.chmod(0o600)
    error = connecting.error(person.host(server=sshd_shared, IdentityFile=bad))
    assert error.code == "ssh_auth_failed"
    assert f"{bad} is no key." in error.hint


def test_tokens_of_the_configuration_in_the_path_of_a_key(person, sshd_shared, connecting):
    key = person.key(f"id-gpu01-{sshd_shared.port}")
    sshd_shared.authorize(key)
    connecting.to(person.host(server=sshd_shared, IdentityFile=f"{person.folder}/id-%n-%p"))


# passphrases


def test_the_passphrase_is_asked_for_once(person, sshd_shared, connecting):
    key = person.key(passphrase="open sesame")
    sshd_shared.authorize(key)
    answers = Answers(["open sesame"])
    transport = connecting.to(person.host(server=sshd_shared, IdentityFile=key), answers)
    assert connecting.says(transport) == "in\n"
    ((title, instructions, (prompt,)),) = answers.asked
    assert "gpu01" in title
    assert instructions == ""
    assert (prompt.text, prompt.echo, prompt.kind) == (f"Passphrase of the key {key}:", False, "passphrase")


def test_a_key_that_the_server_does_not_take_is_never_asked_about(person, sshd_shared, connecting):
    locked, good = person.key("locked", passphrase="x" * 8), person.key("good")
    sshd_shared.authorize(good)
    answers = Answers()
    connecting.to(person.host(server=sshd_shared, IdentityFile=[locked, good]), answers)
    assert answers.asked == []


def test_an_old_pem_key_without_its_public_part(person, sshd_shared, connecting):
    key = keygen(person.folder / "old", "-m", "PEM", kind="rsa", passphrase="open sesame")
    sshd_shared.authorize(key)
    os.unlink(f"{key}.pub")
    answers = Answers(["wrong"], ["open sesame"])
    connecting.to(person.host(server=sshd_shared, IdentityFile=key), answers)
    assert [instructions for _, instructions, _ in answers.asked] == ["", "That was not the passphrase."]


def test_a_wrong_passphrase_is_asked_for_again_and_then_the_next_key_is_tried(
    person, sshd_shared, connecting
):
    locked, good = person.key("locked", passphrase="x" * 8), person.key("good")
    sshd_shared.authorize(locked, good)
    answers = Answers(["a"], ["b"], ["c"])
    connecting.to(person.host(server=sshd_shared, IdentityFile=[locked, good]), answers)
    assert len(answers.asked) == 3


def test_nothing_typed_passes_over_the_key(person, sshd_shared, connecting):
    locked = person.key("locked", passphrase="x" * 8)
    sshd_shared.authorize(locked)
    error = connecting.error(person.host(server=sshd_shared, IdentityFile=locked), Answers([""]))
    assert error.code == "ssh_auth_failed"
    assert f"{locked} was not opened" in error.hint


def test_giving_up_ends_the_attempt(person, sshd_shared, connecting):
    locked, good = person.key("locked", passphrase="x" * 8), person.key("good")
    sshd_shared.authorize(locked, good)
    error = connecting.error(person.host(server=sshd_shared, IdentityFile=[locked, good]), Answers(None))
    assert (error.code, error.retryable) == ("ssh_needs_answer", False)
    assert "the passphrase of" in error.message


def test_where_nobody_can_be_asked_the_error_says_what_would_help(person, sshd_shared, connecting):
    locked = person.key(passphrase="x" * 8)
    sshd_shared.authorize(locked)
    target = person.host(server=sshd_shared, IdentityFile=locked)
    error = connecting.error(target)
    assert (error.code, error.retryable) == ("ssh_needs_answer", False)
    assert f"the passphrase of {locked}" in error.message
    assert "%vm attach gpu01" in error.hint
    assert "ssh-add" in error.hint
    assert not person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")[0]


def test_batch_mode_means_that_nobody_may_be_asked(person, sshd_shared, connecting):
    locked = person.key(passphrase="open sesame")
    sshd_shared.authorize(locked)
    answers = Answers(["open sesame"])
    target = person.host(server=sshd_shared, IdentityFile=locked, BatchMode="yes")
    assert connecting.error(target, answers).code == "ssh_needs_answer"
    assert answers.asked == []


# the agent


def test_a_key_of_the_agent(person, sshd_shared, connecting, agent):
    key = person.key()
    sshd_shared.authorize(key)
    agent.add(key)
    key.unlink()
    target = person.host(server=sshd_shared, IdentityAgent=agent.socket)
    assert connecting.says(connecting.to(target)) == "in\n"
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")[0]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_the_agent_of_the_environment(person, sshd_shared, connecting, agent, monkeypatch, kind):
    key = person.key(kind=kind)
    sshd_shared.authorize(key)
    agent.add(key)
    monkeypatch.setenv("SSH_AUTH_SOCK", agent.socket)
    connecting.to(person.host(server=sshd_shared, IdentityAgent="SSH_AUTH_SOCK"))
    monkeypatch.setenv("OTHER_AGENT", agent.socket)
    connecting.to(person.host(server=sshd_shared, IdentityAgent="$OTHER_AGENT"))


def test_an_encrypted_key_that_the_agent_holds_needs_no_passphrase(person, sshd_shared, connecting, agent):
    key = person.key()
    agent.add(key)
    os.system(f"ssh-keygen -q -p -P '' -N 'open sesame' -f '{key}'")
    sshd_shared.authorize(key)
    answers = Answers()
    target = person.host(server=sshd_shared, IdentityFile=key, IdentityAgent=agent.socket)
    connecting.to(target, answers)
    assert answers.asked == []


def test_identities_only_keeps_other_keys_of_the_agent_out(person, sshd_shared, connecting, agent):
    named, other = person.key("named"), person.key("other")
    for key in (named, other):
        agent.add(key)
    sshd_shared.authorize(other)
    options = {"IdentityFile": named, "IdentityAgent": agent.socket}
    connecting.to(person.host(server=sshd_shared, **options))
    error = connecting.error(person.host(server=sshd_shared, **options, IdentitiesOnly="yes"))
    assert error.details["tried"] == [f"{named} ({fingerprint(named)})"]
    assert not person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")[0]
    sshd_shared.authorize(named)
    connecting.to(person.host(server=sshd_shared, **options, IdentitiesOnly="yes"))


def test_a_public_key_as_identity_names_a_key_of_the_agent(person, sshd_shared, connecting, agent):
    key = person.key()
    agent.add(key)
    agent.add(person.key("other"))
    sshd_shared.authorize(key)
    key.unlink()
    options = {"IdentityAgent": agent.socket, "IdentitiesOnly": "yes"}
    connecting.to(person.host(server=sshd_shared, IdentityFile=f"{key}.pub", **options))


def test_keys_are_shown_in_the_order_of_openssh(person, server_of, connecting, agent):
    file_only, both, agent_only = (person.key(name) for name in ("file_only", "both", "agent_only"))
    agent.add(agent_only)
    agent.add(both)
    server = server_of()
    server.authorize(person.key("none_of_them"))
    target = person.host(server=server, IdentityFile=[file_only, both], IdentityAgent=agent.socket)
    error = connecting.error(target)
    assert [line.partition(" (")[2].rstrip(")") for line in error.details["tried"]] == [
        fingerprint(key) for key in (both, agent_only, file_only)
    ]
    _, said = person.ssh("gpu01", "-v", "-oStrictHostKeyChecking=accept-new")
    offered = [line.split("SHA256:")[1].split()[0] for line in said.splitlines() if "Offering public" in line]
    assert [f"SHA256:{one}" for one in offered] == [fingerprint(k) for k in (both, agent_only, file_only)]


def test_an_agent_that_is_not_there_is_named(person, sshd_shared, connecting):
    sshd_shared.authorize()
    error = connecting.error(person.host(server=sshd_shared, IdentityAgent=person.folder / "gone.sock"))
    assert error.code == "ssh_auth_failed"
    assert "gone.sock" in error.hint


def test_too_many_keys(person, server_of, connecting, agent):
    server = server_of(extra="MaxAuthTries 3\n")
    for index in range(5):
        agent.add(person.key(f"k{index}"))
    server.authorize(person.key("right"))
    error = connecting.error(person.host(server=server, IdentityAgent=agent.socket))
    assert error.code == "ssh_auth_failed"
    assert "too many keys" in error.message
    assert "IdentitiesOnly yes" in error.hint


# certificates


def signed(person, authority, key, principal, *options):
    os.system(
        f"ssh-keygen -q -s '{authority}' -I test -n {principal} {' '.join(options)} '{key}.pub' 2>/dev/null"
    )
    return f"{key}-cert.pub"


@pytest.fixture
def certified(server_of, person):
    """A server that trusts certificates only, and the authority."""
    authority = person.key("authority")
    server = server_of(extra="TrustedUserCAKeys {folder}/ca.pub\nAuthorizedPrincipalsFile {folder}/names\n")
    shutil.copy(f"{authority}.pub", server.folder / "ca.pub")
    (server.folder / "names").write_text("friend\n")
    return server, authority


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ed25519"])
def test_a_certificate_beside_the_key(person, certified, connecting, kind):
    server, authority = certified
    key = person.key(kind=kind)
    target = person.host(server=server, IdentityFile=key)
    assert connecting.error(target).code == "ssh_auth_failed"
    signed(person, authority, key, "friend")
    assert connecting.says(connecting.to(target)) == "in\n"
    assert person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")[0]


def test_a_certificate_file(person, certified, connecting):
    server, authority = certified
    key = person.key()
    elsewhere = person.folder / "elsewhere.pub"
    shutil.move(signed(person, authority, key, "friend"), elsewhere)
    connecting.to(person.host(server=server, IdentityFile=key, CertificateFile=elsewhere))


@pytest.mark.parametrize("options", [("-V", "20200101:20210101"), ()])
def test_a_certificate_that_the_server_does_not_take(person, certified, connecting, options):
    server, authority = certified
    key = person.key()
    signed(person, authority, key, "friend" if options else "stranger", *options)
    target = person.host(server=server, IdentityFile=key)
    assert connecting.error(target).code == "ssh_auth_failed"
    assert not person.ssh("gpu01", "-oStrictHostKeyChecking=accept-new")[0]


def test_a_certificate_that_the_agent_holds(person, certified, connecting, agent):
    server, authority = certified
    key = person.key()
    signed(person, authority, key, "friend")
    agent.add(key)  # takes the certificate beside it, too
    for file in (key, f"{key}.pub", f"{key}-cert.pub"):
        os.unlink(file)
    connecting.to(person.host(server=server, IdentityAgent=agent.socket))


def test_a_certificate_file_for_a_key_of_the_agent(person, certified, connecting, agent):
    server, authority = certified
    key = person.key()
    agent.add(key)
    certificate = signed(person, authority, key, "friend")
    key.unlink()
    target = person.host(server=server, IdentityAgent=agent.socket, CertificateFile=certificate)
    connecting.to(target)


def test_no_key_text_is_in_any_repr_or_error(person, sshd_shared, connecting):
    key = person.key(passphrase="open sesame")
    sshd_shared.authorize()
    error = connecting.error(person.host(server=sshd_shared, IdentityFile=key), Answers(["open sesame"]))
    assert public(key).split()[1] not in f"{error!r}{error}{error.details}"
