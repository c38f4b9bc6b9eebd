"""The OpenAPI document and the running server say the same: schemathesis asks what the document allows, and what it
forbids, and finds nothing.

The same requests in each `make test`; new ones and many more with RMX_SOAK=1.
"""

import os

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import CHECKS
from schemathesis.config import SchemathesisConfig

from jupyter_rmx.server.routes import ROUTES
from tests.faces.fake_server import FakeServer

SOAK = bool(os.environ.get("RMX_SOAK"))
EXAMPLES = 300 if SOAK else 25

# Not plain HTTP with an end: `test_events.py` and `test_rest.py` follow and run these.
ENDLESS = {"followEvents", "exec"}
OPERATIONS = [
    pytest.param(f"/{route.path}", operation.method, id=operation.name)
    for route in ROUTES
    for operation in route.operations
    if operation.name not in ENDLESS
]
# Statuses of 5xx that are right here, and the reason.
RIGHT_5XX = {
    "/machines/{name}/files/{path}": {
        502
    },  # the fake's machines are reached by nothing that could write a file
    "/machines/{name}/api/terminals": {502},  # nor open a terminal
    "/workspaces": {502},  # nobody is behind the port that is knocked at
}
# Fields that may be refused although the document allows them: what is printable in Unicode's sense (names of images and
# snapshots), and what is a URL that an alias can serve, are rules that no pattern can say.
RIGHT_400 = {
    "/vms": {"image"},
    "/workspaces": {"startup"},
    "/vms/{id}/snapshot": {"name"},
    "/vms/{id}/open-port": {None},
    "/machines/{name}/ports/{port}/ticket": {None},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schemathesis") / "jupyter"
    with FakeServer(folder, options=["--RmxExtension.max_active_owner=100000"]) as running:
        yield running


@pytest.fixture(scope="module")
def schema(server):
    connection = server.connection
    config = SchemathesisConfig.from_dict(
        {
            "request-timeout": 60,
            # Parameters and fields that are not known are ignored, as the reference has it. Strangers are asked for by
            # the check `ignored_auth`.
            "generation": {"allow-extra-parameters": False, "with-security-parameters": False},
            "checks": {
                "positive_data_acceptance": {
                    # Beside the usual ones: the limit of machines, and a key that was used for another wish.
                    "expected-statuses": ["2xx", "401", "402", "403", "404", "409", "422"]
                }
            },
        }
    )
    return schemathesis.openapi.from_url(
        f"{connection.url}rmx/api/v1/openapi.json",
        headers={"Authorization": f"rmx {connection.key}"},
        config=config,
    )


@pytest.fixture(scope="module")
def http(server):
    with server.client() as client:
        yield client


def knock_at_nobody(case, known):
    """What would be reached by chance, as a host of that name, must not be: only loopback, where nobody listens."""
    body = case.body if isinstance(case.body, dict) else {}
    if isinstance(body.get("target"), str) and body["target"].strip():
        body["target"] = "demo" if known else "ssh -p 1 me@127.0.0.1"


def findings_that_are_none(path, response):
    """Names of the checks that would find what the tables above explain."""
    if response.status_code in RIGHT_5XX.get(path, ()):
        return {"not_a_server_error", "positive_data_acceptance"}
    if response.status_code == 400 and response.json()["details"].get("field") in RIGHT_400.get(path, ()):
        return {"positive_data_acceptance"}
    return set()


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_document_is_kept(schema, http, path, method, mode):
    operation = schema[path][method.upper()]
    key = {"Authorization": http.headers["Authorization"]}

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=not SOAK,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def ask(case, known):
        if known and mode.is_positive:
            # Else hardly anything but 404 would be seen.
            assert http.post("vms", json={"name": "demo"}).status_code == 200
            for name in {"id", "name"} & set(case.path_parameters or {}):
                case.path_parameters[name] = "demo"
        knock_at_nobody(case, known)
        response = case.call(headers=key)
        left_out = findings_that_are_none(path, response)
        checks = [check for check in CHECKS.get_all() if check.__name__ not in left_out]
        case.validate_response(response, checks=checks, headers=key, transport_kwargs={"headers": key})

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        assert not mode.is_positive, "an operation without anything that could be wrong"
