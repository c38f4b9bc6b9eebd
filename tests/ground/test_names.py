"""Machine names, ports, keys and labels (design.md § 3.1)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_rmx.errors import UsageError
from jupyter_rmx.loopback.alias import Alias, parse_alias_host
from jupyter_rmx.models import (
    check_idempotency_key,
    check_machine_name,
    check_port,
    machine_label,
    new_id,
)


@pytest.mark.parametrize("name", ["a", "demo", "gpu-1", "a" * 40, "0", "a-b-c"])
def test_a_good_name_is_returned(name):
    assert check_machine_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 41,
        "-a",
        "a-",
        "a--b",
        "Demo",
        "dé",
        "a b",
        "a_b",
        "a.b",
        "a\n",
        "demo\x00",
        "٣",
        "../x",
        None,
        7,
    ],
)
def test_a_bad_name_is_refused_with_the_grammar(name):
    with pytest.raises(UsageError) as caught:
        check_machine_name(name)
    assert caught.value.code == "usage_bad_name"
    assert "1 to 40 of a-z, 0-9" in caught.value.hint


@given(st.text(alphabet="abz09-", max_size=44))
def test_every_name_has_a_label_that_is_an_alias(name):
    try:
        check_machine_name(name)
    except UsageError:
        return
    label = machine_label(name, new_id("vm"))
    assert len(label) <= 49
    assert parse_alias_host(Alias(8000, label).host("localhost"), "localhost") == Alias(8000, label)


def test_the_label_carries_the_hash_of_the_id():
    assert machine_label("gpu1", "vm_1") == "gpu1-" + hashlib.sha256(b"vm_1").hexdigest()[:8]


@pytest.mark.parametrize("port", [1, 80, 65535, "8000"])
def test_a_good_port_is_a_number(port):
    assert check_port(port) == int(port)


@pytest.mark.parametrize(
    "port", [0, 65536, -1, "0", "08", "65536", "1e3", "+80", " 80", "8 0", "", True, None, 80.0, "٨"]
)
def test_a_bad_port_is_refused(port):
    with pytest.raises(UsageError) as caught:
        check_port(port)
    assert caught.value.code == "usage_bad_port"
    assert "1 to 65535" in caught.value.hint


@pytest.mark.parametrize("key", ["k", "k" * 128, "a b:c/d"])
def test_a_good_key_is_returned(key):
    assert check_idempotency_key(key) == key


@pytest.mark.parametrize("key", ["", "k" * 129, "é", "a\nb", "\x00"])
def test_a_long_or_odd_key_is_refused_never_cut(key):
    with pytest.raises(UsageError) as caught:
        check_idempotency_key(key)
    assert caught.value.code == "usage_bad_idempotency_key"
