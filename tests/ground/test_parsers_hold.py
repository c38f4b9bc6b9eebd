"""Whatever is fed to a parser, it answers or raises what it says it raises; and what it answers is safe to use."""

from urllib.parse import urljoin, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from jupyter_rmx.command_line import parse_line, parse_target
from jupyter_rmx.errors import RmxError, UsageError, from_wire
from jupyter_rmx.loopback.alias import Alias, alias_url_to_loopback, loopback_url_to_alias, parse_alias_host
from jupyter_rmx.loopback.headers import local_path
from jupyter_rmx.models import check_port

LAYOUTS = st.sampled_from(["nested", "flat"])
NEARLY_HOSTS = st.text(alphabet="pP0189az.-:localhsLOCALH[]@/\\\x00é ", max_size=60)
DOMAINS = st.sampled_from(["localhost", "rmx.example.org"])
LABELS = st.from_regex(r"[a-z0-9](?:-?[a-z0-9]){0,20}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(NEARLY_HOSTS | st.text(max_size=80), DOMAINS, LAYOUTS)
def test_an_alias_host_is_refused_or_means_exactly_one_port(host, domain, layout):
    for text in (host, f"{host}.{domain}", f"p8000.{host}.{domain}"):
        alias = parse_alias_host(text, domain, layout)
        if alias is not None:
            assert check_port(alias.port) == alias.port
            assert parse_alias_host(alias.host(domain, layout), domain, layout) == alias
            assert text.lower().split(":")[0].removesuffix(".") == alias.host(domain, layout)


@given(st.integers(1, 65535), LABELS, DOMAINS, LAYOUTS, st.sampled_from(["", "api", "a.b"]))
def test_every_alias_is_found_again(port, label, domain, layout, sub):
    alias = Alias(port, label, sub)
    assert parse_alias_host(alias.host(domain, layout), domain, layout) == alias
    assert parse_alias_host(alias.host(domain, layout).upper() + ".:8888", domain, layout) == alias


@given(st.text(max_size=60) | st.text(alphabet="htps:/localhost.p80[]127@?#\\", max_size=60), LAYOUTS)
def test_any_text_may_be_taken_for_a_url(text, layout):
    there = loopback_url_to_alias(text, "vm1", alias_domain="localhost", layout=layout, front_port=8888)
    if there is not None:
        assert parse_alias_host(urlsplit(there).netloc, "localhost", layout) is not None
    alias_url_to_loopback(text, alias_domain="localhost", layout=layout, front_port=8888)


@given(st.text(max_size=40) | st.text(alphabet="/\\.:@?#\t\n\r ahttp", max_size=20))
def test_a_redirect_never_leaves_its_origin(path):
    checked = local_path(path)
    if checked is not None:
        front = "http://p8000.demo-0a1b2c3d.localhost:8888"
        assert urlsplit(urljoin(f"{front}/x/y", checked)).netloc == urlsplit(front).netloc
        assert "\r" not in checked
        assert "\n" not in checked


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["create", "exec", "open", "--", "-h", "--env", "A=b", "'", '"', "demo", "\\", "%"]),
        max_size=8,
    ).map(" ".join),
    st.sampled_from(["magic", "cell", "cli"]),
)
def test_a_line_is_a_request_or_a_usage_error(line, face):
    try:
        parse_line(line, face)
    except UsageError as error:
        assert error.message
        assert "\n" not in error.message


@given(st.text(max_size=30))
def test_a_target_is_a_port_and_a_path_or_a_usage_error(text):
    try:
        port, path = parse_target(text)
        check_port(port)
    except UsageError:
        return
    assert path.startswith("/")


@given(
    JSON.filter(lambda value: isinstance(value, dict))
    | st.fixed_dictionaries({"error": JSON, "details": JSON})
)
def test_any_answer_of_a_server_is_an_error_of_ours(envelope):
    error = from_wire(envelope, 500)
    assert isinstance(error, RmxError)
    assert isinstance(error.details, dict)
    assert str(error)
