"""The quickstart as a person meets it: opened in JupyterLab, run by its menu, its app used in the tab."""

import errno

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

BUSY = ".jp-Notebook-ExecutionIndicator:not([data-status=idle])"


@pytest.fixture
def no_machine_left(lab):
    yield
    for vm in lab.rest("GET", "vms")["vms"]:
        lab.rest("DELETE", f"vms/{vm['id']}")


@pytest.fixture
def host_has_its_own_port_8000(host_server):
    """This computer's port 8000 serves something else, ours or that of whoever has it already."""
    try:
        host_server(8000)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise


@pytest.mark.usefixtures("no_machine_left", "host_has_its_own_port_8000")
def test_the_quickstart_runs_from_the_menu(lab_page, notebook, run_all, shot):
    panel = notebook("01_quickstart.ipynb")
    run_all()
    streamed = panel.locator(".jp-CodeCell", has_text="counting").locator(".jp-OutputArea-output")
    expect(streamed).to_contain_text("This is demo.")

    app = lab_page.frame_locator("[id='jp-rmx-port-demo:8000'] .jp-rmx-PortFrame")
    expect(app.locator("h1")).to_have_text("Hello from demo")
    expect(app.locator(".bar")).to_have_count(3)
    expect(app.locator("#state")).to_have_text("connected")
    app.get_by_label("A line to send").fill("over the wire")
    app.get_by_role("button", name="Send").click()
    expect(app.locator("#log")).to_have_text("demo heard: over the wire")
    app.get_by_label("Your message").fill("by the form")
    app.get_by_role("button", name="Post").click()
    expect(app.locator("#posted")).to_contain_text("by the form")

    expect(panel.locator(BUSY)).to_have_count(0)
    expect(panel.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']")).to_have_count(
        0
    )
    expect(panel.locator(".jp-CodeCell").last.locator(".jp-OutputArea-output")).to_contain_text("demo")
    shot("quickstart")

    # Twice is fine: no error, no second machine, no second tab.
    run_all()
    expect(panel.locator(".jp-CodeCell", has_text="The app runs already.")).to_be_visible()
    expect(app.locator("#posted")).to_contain_text("by the form")
    assert lab_page.locator(".jp-rmx-PortTab").count() == 1
