"""Every block of docs/how-to/kubernetes works as it stands; `run-on-kubernetes` is followed by the end-to-end story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.test_end_to_end import PAGE as END_TO_END
from tests.docs.conftest import Reader
from tests.docs.pages import steps_of
from tests.e2e.house import BIN
from tests.mutants.run import scratch_copy

PAGES = [page for page in sorted(END_TO_END.parent.glob("*.md")) if page != END_TO_END]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader's copy of the checkout, without a stack; what a page starts is ended whatever happens."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    scratch_copy(checkout)
    (checkout / ".venv").symlink_to(BIN.parent)
    reader = Reader(checkout)
    try:
        yield reader
    finally:
        reader.sh("test ! -e .tiffin/cluster || .venv/bin/python -m deploy.devcluster down")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_can_be_followed_word_for_word(reader: Reader, page: Path) -> None:
    steps = list(steps_of(page))

    for step in steps:
        reader.do(step)

    assert steps
    assert not (reader.checkout / ".tiffin" / "cluster").exists()
