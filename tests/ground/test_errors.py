"""The error tree and its way over the wire."""

import pytest

from jupyter_rmx import errors


@pytest.mark.parametrize("kind", errors.TREE)
def test_every_branch_has_its_own_code_and_status(kind):
    assert kind.code != errors.RmxError.code
    assert 400 <= kind.status < 600
    assert issubclass(kind, errors.RmxError)
    assert len({branch.code for branch in errors.TREE}) == len(errors.TREE)


@pytest.mark.parametrize("kind", errors.TREE)
def test_an_error_survives_the_wire(kind):
    sent = kind("It broke.", hint="Mend it.", details={"field": "name"}, retryable=True)
    got = errors.from_wire(sent.to_wire("req_1"), sent.status)
    assert (type(got), got.code, got.message, got.hint) == (kind, sent.code, "It broke.", "Mend it.")
    assert (got.status, got.retryable, got.details) == (sent.status, True, {"field": "name"})


def test_an_envelope_of_somebody_else_is_still_an_error():
    got = errors.from_wire({"message": "Not Found"}, 404)
    assert (type(got), got.code, got.message, got.status) == (
        errors.RmxError,
        "internal_error",
        "Not Found",
        404,
    )


def test_one_line_holds_message_and_hint():
    assert str(errors.UsageError("No.", hint="Yes.")) == "No. Yes."
    assert str(errors.UsageError("No.")) == "No."
