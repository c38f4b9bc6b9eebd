"""Cases of the gate that need another domain than `localhost`; the rest is tested through a real server in faces."""

import pytest

from jupyter_rmx.clock import SystemClock
from jupyter_rmx.loopback.gate import AliasTarget, Forward, Gate, Head
from jupyter_rmx.loopback.tickets import Tickets

LABEL = "demo-0a1b2c3d"


class Directory:
    async def lookup(self, label):
        return AliasTarget("vm_demo", "demo", None) if label == LABEL else None


@pytest.mark.parametrize(
    ("domain", "headers", "passes"),
    [
        ("localhost", {}, True),
        ("apps.example.org", {}, False),
        ("apps.example.org", {"Referer": "http://p1.other-0a1b2c3d.apps.example.org/"}, False),
        ("apps.example.org", {"Referer": "http://p1.demo-0a1b2c3d.apps.example.org/"}, True),
        ("apps.example.org", {"Origin": "http://p1.demo-0a1b2c3d.apps.example.org"}, True),
        ("apps.example.org", {"Origin": "http://p1.other-0a1b2c3d.apps.example.org"}, False),
        ("apps.example.org", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, True),
    ],
)
async def test_under_a_shared_domain_another_machine_is_same_site_and_still_a_stranger(
    domain, headers, passes
):
    tickets = Tickets(SystemClock())
    gate = Gate(alias_domain=domain, directory=Directory(), tickets=tickets)
    cookie = tickets.redeem(
        tickets.mint("me", "vm_demo", LABEL, 8000), machine_id="vm_demo", port=8000
    ).cookie
    sent = {
        "Host": f"p8000.{LABEL}.{domain}",
        "Cookie": f"{tickets.cookie_name}={cookie}",
        "Sec-Fetch-Site": "same-site",
        "Sec-Fetch-Mode": "no-cors",
        **headers,
    }
    head = Head(b"GET", b"/", [(name.encode(), value.encode()) for name, value in sent.items()])
    decision = await gate.check(head)
    assert isinstance(decision, Forward) is passes
    assert passes or decision.status == 403
