"""Dagster's pages as a person uses them. Pinned to its version: a renamed button turns a story red."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, ViewportSize, expect

__all__ = ["WINDOW", "Ui"]

RUN_S = 180.0
WINDOW: ViewportSize = {"width": 1600, "height": 900}


@dataclass(frozen=True)
class Ui:
    """A browser on a running webserver; pictures go to `shots`."""

    page: Page
    url: str
    shots: Path

    def open(self, path: str) -> None:
        self.page.goto(self.url + path, wait_until="networkidle")

    def asset(self, name: str) -> None:
        """The page of `team/asset`."""
        self.open(f"/assets/{name}")
        expect(self.page.get_by_text("Definition", exact=True).first).to_be_visible()

    def shot(self, name: str) -> Path:
        """A picture of what is shown now."""
        path = self.shots / f"{name}.png"
        terminal = self.page.locator("#terminal")
        (terminal if terminal.count() else self.page).screenshot(path=path)
        return path

    @contextmanager
    def tall(self) -> Iterator[None]:
        """A window that a team's whole graph fits into."""
        self.page.set_viewport_size({"width": 1600, "height": 2000})
        try:
            yield
        finally:
            self.page.set_viewport_size(WINDOW)

    def choose_partitions(self, chosen: str) -> Locator:
        """Open the launch dialog of a partitioned asset's page and type the partitions."""
        self.page.get_by_role("button", name="Materialize…").click()
        dialog = self.page.get_by_role("dialog")
        box = dialog.locator("input[placeholder^='ex: ']")
        box.fill(chosen)
        box.press("Enter")
        return dialog

    def launched(self) -> str:
        """The path of the run or backfill that the toast of a launch links to."""
        view = self.page.get_by_role("link", name="View", exact=True).first
        path = view.get_attribute("href")
        assert path is not None
        return path

    def wait_for_run(self, path: str) -> None:
        """Stay on a run's page until it says that it succeeded."""
        self.open(path)
        expect(self.page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_S * 1000)

    def terminal(self, command: str, printed: str) -> None:
        """A page that shows what a command printed, as a terminal would."""
        style = "background:#16161d;color:#dcd7ba;font:15px/1.45 monospace;padding:24px;white-space:pre"
        self.page.set_content(
            f'<body style="margin:0"><div id="terminal" style="{style}">$ {html.escape(command)}\n{html.escape(printed)}</div></body>'
        )

    def show_markdown(self, key: str) -> Locator:
        """Click the picture of a metadata row; returns the dialog's image."""
        row = self.page.locator("tr", has=self.page.get_by_text(key, exact=True)).first
        row.get_by_text("[Show Markdown]").click()
        return self.page.get_by_role("dialog").locator("img")

    def close_dialog(self) -> None:
        self.page.get_by_role("dialog").get_by_role("button", name="Close").click()
