"""Links between the browser's alias hosts and the machine's loopback; the grammar itself is in tests/conformance."""

import pytest

from jupyter_rmx.errors import LoopbackError
from jupyter_rmx.loopback import alias


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        ("http://localhost:8888", "http://p8000.demo-0a1b2c3d.localhost:8888"),
        ("http://127.0.0.1:8888", "http://p8000.demo-0a1b2c3d.localhost:8888"),
        ("http://[::1]:8888", "http://p8000.demo-0a1b2c3d.localhost:8888"),
        ("https://lab.localhost", "https://p8000.demo-0a1b2c3d.localhost"),
    ],
)
def test_the_link_stands_on_jupyters_own_front(origin, url):
    link = alias.open_url(
        "demo-0a1b2c3d", 8000, "/a b?c=d&e#f", "t/+=", origin=origin, alias_domain="localhost"
    )
    assert link == f"{url}/__rmx__/open?ticket=t%2F%2B%3D&path=%2Fa%20b%3Fc%3Dd%26e%23f"


def test_a_domain_of_its_own_serves_its_own_fronts_only():
    for origin in ("https://apps.example.org", "https://hub.apps.example.org"):
        assert alias.check_front_origin(origin, "apps.example.org") == origin


@pytest.mark.parametrize(
    ("origin", "domain"),
    [
        ("http://192.0.2.7:8888", "localhost"),
        ("https://hub.example.org", "localhost"),
        ("http://localhost.evil.example", "localhost"),
        ("http://localhost:8888", "apps.example.org"),
        ("https://evilapps.example.org", "apps.example.org"),
        ("file:///lab", "localhost"),
        ("ftp://localhost", "localhost"),
        ("null", "localhost"),
        ("", "localhost"),
    ],
)
def test_where_the_browser_would_not_find_the_alias_the_error_says_what_to_do(origin, domain):
    with pytest.raises(LoopbackError) as failed:
        alias.open_url("demo-0a1b2c3d", 8000, "/", "secret", origin=origin, alias_domain=domain)
    assert failed.value.code == "loopback_no_alias"
    assert "http://localhost:PORT" in failed.value.hint
    assert "secret" not in str(failed.value.to_wire())


@pytest.mark.parametrize(
    ("host", "below"),
    [
        ("p8000.demo.localhost:8888", True),
        ("ANYTHING.Localhost.", True),
        ("..localhost", True),
        ("a.localhost:notaport", True),
        ("localhost:8888", False),
        ("localhost.", False),
        ("xlocalhost", False),
        ("p80.demo.localhost.evil.example", False),
        ("p80.demo.localhost@evil.example", False),
        ("[::1]:8888", False),
        ("", False),
    ],
)
def test_below_the_alias_domain(host, below):
    assert alias.is_below_alias_domain(host, "localhost") is below


def test_an_alias_and_its_host_name_are_inverses():
    for layout, domain in (("nested", "localhost"), ("flat", "apps.example.org")):
        for made in (alias.Alias(1, "a"), alias.Alias(65535, "gpu1-0a1b2c3d", "x.y")):
            assert alias.parse_alias_host(made.host(domain, layout), domain, layout) == made


@pytest.mark.parametrize(
    ("made", "netloc"),
    [
        (alias.Alias(80, "a"), "localhost"),
        (alias.Alias(8000, "a"), "localhost:8000"),
        (alias.Alias(3000, "a", "api"), "api.localhost:3000"),
    ],
)
def test_how_the_machine_writes_it(made, netloc):
    assert alias.loopback_netloc(made) == netloc
