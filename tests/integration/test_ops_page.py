"""The operator's page in a real browser: each of its states, without JavaScript, by keyboard, on a narrow screen."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from environment import forget_settings
from pictures import NOW, STATES, TOKEN, Shown, app, history, settings
from playwright.sync_api import Browser, Page, Route, sync_playwright

from devstack.servers import CAP, wait_for
from ops import page as page_module
from ops.history import History

BROWSER = which("chromium-headless-shell") or which("chromium")
WIDTHS = (360, 820, 1280)
REFRESH = 6000  # milliseconds, in which a page of these settings is refreshed once
PATIENCE = 1000 * CAP  # milliseconds

pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium-headless-shell and no chromium is installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield made
        made.close()


class Site:
    """The page, served. What it shows can be changed."""

    def __init__(self) -> None:
        self.shown = Shown(None, History())
        self.url = ""

    def show(self, name: str) -> None:
        found = STATES[name]
        self.shown = Shown(found, history([found]) if found else History())

    @property
    def last(self) -> Any:
        return self.shown.last

    @property
    def history(self) -> History:
        return self.shown.history


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One server for all states; time stands still in it."""
    made = Site()
    forget_settings()
    with pytest.MonkeyPatch.context() as patch, socket.socket() as listening:
        patch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")  # nobody listens there
        patch.setattr(page_module, "time", lambda: NOW)
        listening.bind(("127.0.0.1", 0))
        made.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        application: Any = app(made, settings(collect_interval=5))  # type: ignore[arg-type]  # it has what is needed
        server = uvicorn.Server(uvicorn.Config(application, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: server.started, what="the page to be served")
            yield made
        finally:
            server.should_exit = True
            thread.join(CAP)
            forget_settings()


@contextmanager
def opened(browser: Browser, site: Site, path: str = "/", **options: Any) -> Iterator[Page]:
    """A tab that shows the page, in which everything that goes elsewhere, or wrong, fails the test."""
    wrong: list[str] = []
    context = browser.new_context(http_credentials={"username": "anybody", "password": TOKEN}, **options)
    context.set_default_timeout(PATIENCE)

    def route(asked: Route) -> None:
        if not asked.request.url.startswith((site.url, "data:")):
            wrong.append(asked.request.url)
        asked.continue_()

    context.route("**/*", route)
    tab = context.new_page()
    tab.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.clock.install()
    tab.goto(site.url + path)
    yield tab
    context.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", list(STATES))
def test_every_state_is_legible_at_every_width(
    browser: Browser, site: Site, name: str, scheme: Any, tmp_path: Path
) -> None:
    site.show(name)
    with opened(browser, site, color_scheme=scheme) as tab:
        for width in sorted(WIDTHS, reverse=scheme == "dark"):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
        found = Axe().run(tab)  # in the light at the widest, in the dark at the narrowest
        assert found.violations_count == 0, found.generate_report()


def test_it_is_whole_without_javascript(browser: Browser, site: Site) -> None:
    site.show("busy")
    with opened(browser, site, java_script_enabled=False) as tab:
        assert tab.locator("h2", has_text="tron").is_visible()
        assert tab.locator("noscript meta").count() == 1
        assert not tab.get_by_role("button", name="Copy").first.is_visible()
        tab.locator("#q").fill("no uuid at all")
        tab.get_by_role("button", name="Find").click()
        assert tab.url.startswith(f"{site.url}/find?q=no")


def test_it_refreshes_itself_and_says_what_changed(browser: Browser, site: Site) -> None:
    site.show("well")
    with opened(browser, site) as tab:
        assert tab.locator(".network .chip").inner_text() == "Fresh"
        tab.locator("#q").fill("half typed")
        tab.locator("#live .copy").first.focus()
        site.show("stalled")
        tab.clock.run_for(REFRESH)
        tab.locator(".network .chip", has_text="Stalled").wait_for()
        assert tab.title().startswith("tron: Stalled")
        assert "Stalled" in tab.locator("#announcement").inner_text()
        assert tab.locator("#q").input_value() == "half typed"
        assert tab.evaluate("document.activeElement.className") == "copy"


def test_it_stays_as_it_is_while_something_is_selected(browser: Browser, site: Site) -> None:
    site.show("well")
    with opened(browser, site) as tab:
        tab.evaluate("getSelection().selectAllChildren(document.querySelector('.network .sentence'))")
        site.show("stalled")
        tab.clock.run_for(3 * REFRESH)
        assert tab.locator(".network .chip").inner_text() == "Fresh"
        tab.evaluate("getSelection().removeAllRanges()")
        tab.clock.run_for(REFRESH)
        tab.locator(".network .chip", has_text="Stalled").wait_for()


def test_it_says_so_where_it_cannot_be_refreshed(browser: Browser, site: Site) -> None:
    site.show("well")
    with opened(browser, site) as tab:
        tab.route("**/*", lambda route: route.fulfill(status=204))
        tab.clock.run_for(REFRESH)
        tab.locator("#unreachable", has_text="could not be refreshed").wait_for()
        assert tab.get_by_role("alert").count() == 1
        tab.unroute("**/*")
        tab.clock.run_for(REFRESH)
        tab.locator("#unreachable").wait_for(state="detached")


def test_a_command_is_copied_with_one_press_and_selected_where_there_is_no_clipboard(
    browser: Browser, site: Site
) -> None:
    site.show("busy")
    with opened(browser, site, permissions=["clipboard-read", "clipboard-write"]) as tab:
        button = tab.get_by_role("button", name="Copy the command: check the settings against reality")
        button.focus()
        tab.keyboard.press("Enter")
        tab.get_by_text("Copied").first.wait_for()
        assert tab.evaluate("navigator.clipboard.readText()") == "celery -A worker check"
        tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()); }")
        button.click()
        assert tab.evaluate("getSelection().toString()").strip() == "celery -A worker check"


def test_it_can_be_used_by_keyboard_alone(browser: Browser, site: Site) -> None:
    site.show("busy")
    with opened(browser, site) as tab:
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert tab.locator(".skip").bounding_box()["y"] >= 0  # type: ignore[index]
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "main"
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.hash") == "#network-tron"
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"


def test_the_prompt_for_the_token_and_a_closed_page_are_pages_too(browser: Browser, site: Site) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    answer = tab.goto(site.url + "/")
    assert answer
    assert answer.status == 401
    assert Axe().run(tab).violations_count == 0
    context.close()


def test_motion_is_left_out_for_whoever_wants_none(browser: Browser, site: Site) -> None:
    site.show("busy")
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    with opened(browser, site, reduced_motion="reduce") as tab:
        assert tab.evaluate(behaviour) == "auto"
    with opened(browser, site, reduced_motion="no-preference") as tab:
        assert tab.evaluate(behaviour) == "smooth"


def test_a_look_up_that_comes_to_nothing_is_a_page_in_order(browser: Browser, site: Site) -> None:
    for path in ("/find", "/find?q=" + "x" * 200):
        with opened(browser, site, path, viewport={"width": 360, "height": 800}) as tab:
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360
            found = Axe().run(tab)
            assert found.violations_count == 0, found.generate_report()
