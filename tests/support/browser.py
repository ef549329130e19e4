"""Debian's Chromium, driven by Playwright, and Prefect's web pages as a user works with them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, Response, sync_playwright

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

__all__ = [
    "DRAW_RARELY",
    "PROGRAM",
    "Browser",
    "Locator",
    "Page",
    "PrefectPages",
    "chromium",
    "sync_playwright",
]

PROGRAM = shutil.which("chromium") or shutil.which("chromium", path="/usr/bin")
# No sandbox, because Chromium has none for root; no background network traffic.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Only this machine. Playwright's routes would do so, too, but keep the browser from its cache.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
SECONDS = 1000.0  # Playwright counts in milliseconds
PATIENCE = 900 * SECONDS  # longer than an export takes on a busy machine
REST = 2 * SECONDS  # until a run's timeline is drawn
TRIES = 3


# Pages draw four times a second; a run's timeline is drawn all the time, which takes a processor.
DRAW_RARELY = """
    window.requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 250);
    window.cancelAnimationFrame = clearTimeout;
"""


def chromium(playwright: Playwright) -> Browser:
    """Start the browser without a window; the caller closes it."""
    return playwright.chromium.launch(executable_path=PROGRAM, args=list(OPTIONS))


@dataclass(frozen=True)
class PrefectPages:
    """Prefect's pages in a window.

    Attributes:
        page: the window.
        address: URL of the server, such as `http://127.0.0.1:4200`.
        pictures: folder for screenshots.
    """

    page: Page
    address: str
    pictures: Path

    @property
    def main(self) -> Locator:
        """The part of the page beside the menu."""
        return self.page.get_by_role("main")

    @property
    def refusals(self) -> Locator:
        """A form's messages about values that the server rejects."""
        return self.page.locator("p.text-destructive")

    def sign_in(self, secret: str) -> None:
        """Enter the server's secret on the page that asks for it."""
        self.page.locator("input[type=password]").fill(secret)
        self.page.get_by_role("button", name="Login", exact=True).click()
        self.page.get_by_role("link", name="Deployments", exact=True).wait_for()

    def open_deployment(self, name: str) -> None:
        """Open a deployment's page by the menu, as a new user does."""
        self.page.goto(self.address)
        self.page.get_by_role("link", name="Deployments", exact=True).click()
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.get_by_role("button", name="Run", exact=True).wait_for()

    def open_form(self, deployment: str) -> None:
        """Open the form that starts a run with other parameters."""
        self.open_deployment(deployment)
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.page.get_by_role("heading", name="Parameters").wait_for()

    def field(self, key: str) -> Locator:
        """Return the field of an optional parameter."""
        return self.page.get_by_label(f"{key} (Optional)", exact=True)

    def tabbed_field(self, key: str) -> Locator:
        """Return the field of a key with a tab for each kind of values, which has no label."""
        label = f"//label[normalize-space()='{key} (Optional)']"
        return self.page.locator(f"xpath={label}/following::textarea[1]")

    def fill(self, values: Mapping[str, object]) -> None:
        """Fill the fields of a form: selections, switches, numbers and texts."""
        for key, value in values.items():
            self.page.get_by_text(f"{key} (Optional)", exact=True).first.wait_for()
            choice = self.page.get_by_role("button", name=f"Select {key}", exact=True)
            if choice.count():
                name = str(value).lower() if isinstance(value, bool) else str(value)
                choice.click()
                self.page.get_by_role("option", name=name, exact=True).click()
            elif value is True:
                self.field(key).click()
            elif self.field(key).count():
                self.field(key).fill(str(value))
            else:
                self.tabbed_field(key).fill(str(value))

    def press_submit(self) -> None:
        """Submit a form that may be rejected."""
        self.page.get_by_role("button", name="Submit").click()

    def submit(self) -> str:
        """Submit a valid form and return the id of the run."""
        for _ in range(TRIES):  # the server answers 503 while its SQLite is busy
            with self.page.expect_response(_creates_a_run, timeout=PATIENCE) as answer:
                self.press_submit()
            if answer.value.status != 503:
                break
        assert answer.value.ok, answer.value.text()
        return str(answer.value.json()["id"])

    def open_run(self, run: str, tab: str) -> None:
        """Load a tab of a run's page; not all tabs update themselves."""
        self.page.goto(f"{self.address}/v2/runs/flow-run/{run}")
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def wait_for_state(self, run: str, name: str) -> None:
        """Wait until a run is in a state, and its page shows it.

        The page is opened only then, because drawing a run's timeline keeps a processor busy.
        """
        self.rest()
        deadline = time.monotonic() + PATIENCE / SECONDS
        while (seen := self._state(run)) != name:
            assert time.monotonic() < deadline, f"{run} is {seen}, not {name}"
            time.sleep(0.5)
        self.open_run(run, "Details")
        self.main.get_by_text(name, exact=True).first.wait_for()

    def rest(self) -> None:
        """Leave a page that draws although nobody looks at it."""
        self.page.goto("about:blank")

    def _state(self, run: str) -> str:
        answer = self.page.request.get(f"{self.address}/api/flow_runs/{run}")
        return str(answer.json()["state"]["name"]) if answer.ok else answer.status_text

    def open_artifact(self, run: str, key: str) -> None:
        """Open an artifact of the newest run by its card, then as the latest with that key."""
        self.open_run(run, "Artifacts")
        title = self.page.get_by_role("heading", name=key, exact=True)
        self.page.get_by_role("link").filter(has=title).first.click()
        self.main.locator("a[href*='/artifacts/artifact/']").first.click()
        self.page.wait_for_url("**/artifacts/artifact/**")

    def cells(self, *columns: str) -> list[list[str]]:
        """Return the texts of some columns of the visible table, row by row."""
        self.main.get_by_role("cell").first.wait_for()
        names = self.main.get_by_role("columnheader").all_inner_texts()
        places = [names.index(column) for column in columns]
        rows = [row.get_by_role("cell") for row in self.main.get_by_role("row").all()[1:]]
        return [[row.nth(at).inner_text().strip() for at in places] for row in rows]

    def use_menu(self, run: str, entry: str) -> None:
        """Choose an entry of the menu on a run's page."""
        self.open_run(run, "Details")
        self.main.get_by_role("button", name="Open menu").first.click()
        self.page.get_by_role("menuitem", name=entry, exact=True).click()

    def confirm(self, button: str) -> None:
        """Press a button of the confirmation dialog."""
        dialog = self.page.get_by_role("dialog").or_(self.page.get_by_role("alertdialog"))
        dialog.get_by_role("button", name=button, exact=True).click()
        dialog.wait_for(state="hidden")

    def picture(self, name: str) -> None:
        """Save a screenshot once the page has stopped changing."""
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(REST)
        self.page.screenshot(path=self.pictures / f"{name}.png", animations="disabled")


def _creates_a_run(answer: Response) -> bool:
    return "create_flow_run" in answer.url
