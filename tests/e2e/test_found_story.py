"""Hosts that a terminal of JupyterLab's own shows are offered, attached on a click, and asked about in a dialog."""

import pytest
from playwright.sync_api import expect

from tests.own_host import PASSPHRASE, OwnHost, files_with

pytestmark = pytest.mark.browser

TRUST = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
TYPE = """async text => {
  const app = window.jupyterapp;
  const main = await app.commands.execute('terminal:create-new');
  await main.content.ready;
  main.content.session.send({type: 'stdin', content: [text]});
}"""
SHUT_DOWN = "window.jupyterapp.serviceManager.terminals.shutdownAll()"


@pytest.fixture(scope="module")
def host():
    running = OwnHost()
    yield running
    running.finish()


@pytest.fixture(autouse=True)
def nothing_left(lab, lab_page):
    yield
    lab_page.evaluate(SHUT_DOWN)
    for workspace in lab.rest("GET", "workspaces")["workspaces"]:
        lab.rest("DELETE", f"workspaces/{workspace['name']}")


def toast(page, text):
    return page.locator(".Toastify__toast", has_text=text).last


def test_a_host_in_a_terminal_is_offered_asked_for_and_attached(lab, lab_page, host, shot):
    lab_page.evaluate(TYPE, f"{host.line()} {TRUST}\r")
    offer = toast(lab_page, "Attach gpu01 here?")
    expect(offer).to_be_visible(timeout=60_000)
    assert lab.rest("GET", "workspaces")["workspaces"] == [], "it is offered, never taken"
    shot("found-offer")
    offer.get_by_role("button", name="Attach").click()
    dialog = lab_page.locator(".jp-Dialog")
    prompt = dialog.locator("input")
    expect(prompt).to_have_attribute("type", "password")
    shot("found-question")
    prompt.fill(PASSPHRASE)
    dialog.get_by_role("button", name="Answer").click()
    expect(toast(lab_page, "gpu01 is attached")).to_be_visible()
    (workspace,) = lab.rest("GET", "workspaces")["workspaces"]
    assert workspace["connection"]["status"] == "ready"
    expect(lab_page.get_by_text("Attach gpu01 here?")).to_have_count(0, timeout=60_000)
    shot("found-attached")
    assert files_with(PASSPHRASE, lab.folder) == []


def test_who_gives_up_has_nothing_attached_and_is_not_asked_again(lab, lab_page, host):
    attach = "target => void window.jupyterapp.commands.execute('rmx:attach', {target})"
    lab_page.evaluate(attach, host.line())
    dialog = lab_page.locator(".jp-Dialog")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    lab_page.wait_for_function("() => !document.querySelector('.Toastify__toast--default .jp-mod-spinning')")
    assert lab.rest("GET", "workspaces")["workspaces"] == []


def test_what_is_no_host_is_one_clear_line(lab, lab_page, shot):
    lab_page.evaluate("() => void window.jupyterapp.commands.execute('rmx:attach')")
    dialog = lab_page.locator(".jp-Dialog")
    dialog.locator("input").fill("-oProxyCommand=x")
    dialog.get_by_role("button", name="Attach").click()
    expect(lab_page.locator(".jp-Dialog-body")).to_contain_text("begins with '-'")
    shot("attach-refused")
    lab_page.locator(".jp-Dialog").get_by_role("button").last.click()
