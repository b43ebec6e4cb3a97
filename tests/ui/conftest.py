"""One house, one browser: what a person sees and does in Dagster's UI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.house import House, filled
from tests.ui.pages import WINDOW, Ui

SHOTS = os.environ.get("SCREENSHOTS")
"""Where pictures go; the README's are made with `make test-ui SCREENSHOTS=docs/images`."""


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with filled(Path(tmp_path_factory.mktemp("house"))) as house:
        yield house


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(SHOTS).resolve() if SHOTS else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def ui(house: House, shots: Path) -> Iterator[Ui]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "no Chromium on this machine\n  fix: apt-get install -y --no-install-recommends chromium"
    with sync_playwright() as player:
        # root has no user namespaces to build a sandbox from; every page is our own
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page(viewport=WINDOW)
        page.set_default_timeout(60_000)
        yield Ui(page, house.dagster, shots)
        browser.close()
