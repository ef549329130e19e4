"""Debian's chromium, driven by Playwright, and Prefect's web pages as a person uses them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Playwright, Response, sync_playwright

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

__all__ = ["PROGRAM", "Browser", "Locator", "Page", "PrefectPages", "chromium", "sync_playwright"]

PROGRAM = shutil.which("chromium") or shutil.which("chromium", path="/usr/bin")
# Without a sandbox, because root has none; and nothing that talks to anybody by itself.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 1000.0  # Playwright counts in milliseconds
PATIENCE = 900 * SECONDS  # as long as an export can take on a busy machine, and then some
REST = 2 * SECONDS  # a run's timeline is drawn last
TRIES = 3


def chromium(playwright: Playwright) -> Browser:
    """Start the browser, without a window; whoever starts it closes it."""
    return playwright.chromium.launch(executable_path=PROGRAM, args=list(OPTIONS))


@dataclass(frozen=True)
class PrefectPages:
    """Prefect's pages in a window.

    Attributes:
        page: the window.
        address: of the server, such as `http://127.0.0.1:4200`.
        pictures: where `picture` puts them.
    """

    page: Page
    address: str
    pictures: Path

    @property
    def main(self) -> Locator:
        """What stands beside the menu."""
        return self.page.get_by_role("main")

    @property
    def refusals(self) -> Locator:
        """What a form says of values that the server does not take."""
        return self.page.locator("p.text-destructive")

    def open_deployment(self, name: str) -> None:
        """Go there as a new user does."""
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
        """Give the field of a parameter that may be left out."""
        return self.page.get_by_label(f"{key} (Optional)", exact=True)

    def fill(self, values: Mapping[str, object]) -> None:
        """Fill the fields of a form: switches, lists to choose from, numbers and texts."""
        for key, value in values.items():
            choice = self.page.get_by_role("button", name=f"Select {key}", exact=True)
            if value is True:
                self.field(key).click()
            elif choice.count():
                choice.click()
                self.page.get_by_role("option", name=str(value), exact=True).click()
            else:
                self.field(key).fill(str(value))

    def press_submit(self) -> None:
        """Send a form that may be refused."""
        self.page.get_by_role("button", name="Submit").click()

    def submit(self) -> str:
        """Send a form that is right; gives the id of the run."""
        for _ in range(TRIES):  # the server answers 503 while its SQLite is busy
            with self.page.expect_response(_creates_a_run, timeout=PATIENCE) as answer:
                self.press_submit()
            if answer.value.status != 503:
                break
        assert answer.value.ok, answer.value.text()
        return str(answer.value.json()["id"])

    def open_run(self, run: str, tab: str) -> None:
        """Open a tab of a run's page, as it is now: not all of them move by themselves."""
        self.page.goto(f"{self.address}/v2/runs/flow-run/{run}")
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def wait_for_state(self, run: str, name: str) -> None:
        """Look at a run's page until it shows the state."""
        self.open_run(run, "Details")
        self.main.get_by_text(name, exact=True).first.wait_for(timeout=PATIENCE)

    def open_artifact(self, run: str, key: str) -> None:
        """Open an artifact of the newest run: by its card, and as the newest one of that key."""
        self.open_run(run, "Artifacts")
        title = self.page.get_by_role("heading", name=key, exact=True)
        self.page.get_by_role("link").filter(has=title).first.click()
        self.main.locator("a[href*='/artifacts/artifact/']").first.click()
        self.page.wait_for_url("**/artifacts/artifact/**")

    def cells(self, *columns: str) -> list[list[str]]:
        """Give the texts of some columns of the table that is shown, row by row."""
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
        """Press a button of the question that has come up."""
        dialog = self.page.get_by_role("dialog").or_(self.page.get_by_role("alertdialog"))
        dialog.get_by_role("button", name=button, exact=True).click()
        dialog.wait_for(state="hidden")

    def picture(self, name: str) -> None:
        """Take a picture of what the window shows, when it has come to rest."""
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(REST)
        self.page.screenshot(path=self.pictures / f"{name}.png", animations="disabled")


def _creates_a_run(answer: Response) -> bool:
    return "create_flow_run" in answer.url
