"""The tab of a machine's port, in a real JupyterLab with a real machine behind it."""

import json
import urllib.error

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

OPEN = "args => { void window.jupyterapp.commands.execute('rmx:open-port', args); }"
TABS = """() => [...window.jupyterapp.shell.widgets('main')]
  .filter(widget => widget.hasClass('jp-rmx-PortTab')).map(widget => widget.title.label).sort()"""


@pytest.fixture(scope="module")
def machine(lab):
    """A machine named `demo`, with nothing running on it."""
    lab.create("demo")
    yield "demo"
    lab.rest("DELETE", "vms/demo")


@pytest.fixture
def open_port(lab_page, machine):
    """Open a port of the machine as a tab; the app's frame."""

    def open_(port, **more):
        lab_page.evaluate(OPEN, {"machine": machine, "port": port, **more})
        return lab_page.frame_locator(f"[id='jp-rmx-port-{machine}:{port}'] .jp-rmx-PortFrame")

    return open_


def test_the_tab_shows_the_machines_port_not_the_hosts(lab, lab_page, open_port, host_server, shot):
    port = host_server()
    lab.serve_app("demo", port)
    app = open_port(port, path="/a/b?c=d")
    expect(app.locator("h1")).to_have_text("Hello from demo")
    expect(app.locator("#path")).to_have_text("/a/b?c=d")
    tab = lab_page.locator(f"[id='jp-rmx-port-demo:{port}']")
    expect(tab.locator(".jp-rmx-AddressBar-machine")).to_have_text("demo")
    expect(tab.locator(".jp-rmx-AddressBar-url")).to_have_text(f"http://localhost:{port}/a/b?c=d")
    expect(tab.locator("[role=status]")).to_have_count(0)
    shot("tab")


def test_a_form_and_a_websocket_work_in_the_tab(lab, lab_page, open_port):
    lab.serve_app("demo", 8111)
    app = open_port(8111)
    app.locator("#talk").click()
    expect(app.locator("#heard")).to_have_text("OVER THE WIRE")
    app.locator("#send").click()
    expect(app.locator("#got")).to_have_text("localhost:8111 got plum")
    frame = next(frame for frame in lab_page.frames if "//p8111." in frame.url)
    assert frame.url.endswith("/form")
    assert frame.evaluate("localStorage.seen = '1', localStorage.seen + isSecureContext") == "1true"

    lab_page.locator("[id='jp-rmx-port-demo:8111'] [data-jp-item-name=reload]").click()
    expect(app.locator("h1")).to_have_text("Hello from demo")


def test_a_second_request_shows_the_tab_that_is_there(lab, lab_page, open_port):
    lab.serve_app("demo", 8112)
    app = open_port(8112)
    expect(app.locator("#path")).to_have_text("/")
    open_port(8112, path="/other")
    expect(app.locator("#path")).to_have_text("/other")
    expect(lab_page.locator(".jp-rmx-AddressBar-url")).to_have_text("http://localhost:8112/other")
    assert lab_page.evaluate(TABS) == ["demo:8112"]


def test_the_window_is_the_same_app_behind_jupyters_login(lab, lab_page, open_port):
    lab.serve_app("demo", 8113)
    expect(open_port(8113).locator("h1")).to_have_text("Hello from demo")
    with lab_page.context.expect_page() as opening:
        lab_page.get_by_text("Open in window").click()
    window = opening.value
    expect(window.locator("h1")).to_have_text("Hello from demo")
    assert "ticket" not in window.url
    assert window.evaluate("window.opener") is None
    window.close()


def test_nothing_listens_then_the_app_comes(lab, open_port, shot):
    app = open_port(8114)
    expect(app.locator("h1")).to_have_text("Nothing listens on port 8114 of demo yet")
    shot("waiting")
    lab.serve_app("demo", 8114)
    expect(app.locator("h1")).to_have_text("Hello from demo")


def test_an_unknown_machine_is_said_with_what_to_do_and_retry_works(lab, lab_page, shot):
    with pytest.raises(urllib.error.HTTPError) as refused:
        lab.rest("POST", "machines/late/ports/8115/ticket", {"origin": lab.origin})
    envelope = json.loads(refused.value.read())
    lab_page.evaluate(OPEN, {"machine": "late", "port": 8115})
    panel = lab_page.locator(".jp-rmx-ErrorPanel")
    expect(panel.locator(".jp-rmx-ErrorPanel-message")).to_have_text(envelope["message"])
    expect(panel.locator(".jp-rmx-ErrorPanel-hint")).to_have_text(envelope["action"])
    shot("error")
    lab.create("late")
    panel.get_by_role("button", name="Retry").click()
    frame = lab_page.frame_locator(".jp-rmx-PortFrame")
    expect(frame.locator("h1")).to_have_text("Nothing listens on port 8115 of late yet")
    lab.rest("DELETE", "vms/late")


def test_a_server_that_does_not_answer_is_said_and_retry_works(lab, lab_page, machine):
    lab_page.route("**/ports/8118/ticket*", lambda route: route.abort())
    lab_page.evaluate(OPEN, {"machine": machine, "port": 8118})
    panel = lab_page.locator(".jp-rmx-ErrorPanel")
    expect(panel).to_contain_text("The Jupyter server does not answer.")
    lab_page.unroute_all()
    panel.get_by_role("button", name="Retry").click()
    frame = lab_page.frame_locator(".jp-rmx-PortFrame")
    expect(frame.locator("h1")).to_have_text("Nothing listens on port 8118 of demo yet")


@pytest.mark.parametrize("port", [0, 65536])
def test_a_bad_port_is_refused_by_the_command(lab_page, port):
    attempt = (
        "args => window.jupyterapp.commands.execute('rmx:open-port', args).catch(error => error.message)"
    )
    message = lab_page.evaluate(attempt, {"machine": "demo", "port": port})
    assert "1 to 65535" in message
    assert lab_page.evaluate(TABS) == []


def test_the_palette_asks_until_it_has_a_port(lab_page, machine, shot):
    lab_page.keyboard.press("Control+Shift+C")
    lab_page.keyboard.type("Machine's Port")
    lab_page.keyboard.press("Enter")
    question = lab_page.locator(".jp-Dialog")
    question.locator("input").fill("demo")
    lab_page.keyboard.press("Enter")
    expect(question).to_contain_text("Port on demo")
    question.locator("input").fill("65536")
    lab_page.keyboard.press("Enter")
    expect(question).to_contain_text("“65536” is not a port")
    shot("dialog", themes=("Light",))
    question.locator("input").fill("8116")
    lab_page.keyboard.press("Enter")
    frame = lab_page.frame_locator(".jp-rmx-PortFrame")
    expect(frame.locator("h1")).to_have_text("Nothing listens on port 8116 of demo yet")


def test_a_reload_of_jupyterlab_brings_the_tab_back_and_no_secret_was_saved(lab, lab_page, open_port):
    lab.serve_app("demo", 8117)
    expect(open_port(8117, path="/deep?token=of-the-app").locator("h1")).to_have_text("Hello from demo")
    first = next(frame for frame in lab_page.frames if "//p8117." in frame.url).url

    def saved():
        return json.dumps(lab.request("GET", "lab/api/workspaces"))

    with lab_page.expect_response(
        lambda response: (
            "api/workspaces" in response.url
            and response.request.method == "PUT"
            and "8117" in (response.request.post_data or "")
        )
    ):
        lab_page.evaluate("void window.jupyterapp.serviceManager")
    assert "jupyter-rmx:demo:8117" in saved()
    assert "ticket" not in saved()
    assert "of-the-app" not in saved()

    lab_page.goto(f"{lab.origin}/lab")
    frame = lab_page.frame_locator("[id='jp-rmx-port-demo:8117'] .jp-rmx-PortFrame")
    expect(frame.locator("h1")).to_have_text("Hello from demo")
    expect(frame.locator("#path")).to_have_text("/deep")
    assert lab_page.evaluate(TABS) == ["demo:8117"]
    assert "ticket" not in first
