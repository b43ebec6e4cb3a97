"""Every block of docs/how-to works as it stands, in the order of its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.conftest import Reader
from tests.docs.pages import steps_of


def test_a_page_can_be_followed_word_for_word(reader: Reader, page: Path) -> None:
    steps = list(steps_of(page))

    for step in steps:
        reader.do(step)

    assert any(step.kind == "sh" for step in steps) or page.stem == "README"


def test_a_block_that_nobody_could_follow_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nprint()\n```\n")

    with pytest.raises(ValueError, match=r"page.md, line 3: a 'python' block needs title"):
        list(steps_of(page))


def test_a_command_that_fails_fails_its_page(reader: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\n.venv/bin/tiffin predict nobody carrier=UA\n```\n")

    with pytest.raises(AssertionError, match="nobody"):
        reader.do(next(steps_of(page)))
