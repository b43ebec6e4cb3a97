"""A reader's own copy of the checkout, with a running stack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import Step
from tests.e2e.house import AS_OF, BIN, ROOT, House
from tests.mutants.run import scratch_copy


@dataclass(frozen=True)
class Reader:
    """Does what a page says, in a copy of the checkout that is theirs to change."""

    checkout: Path

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        """A block of commands, stopped at the first that fails."""
        # the copy's packages come first, as in a checkout of one's own
        path = os.pathsep.join([str(self.checkout / "platform"), str(self.checkout)])
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.checkout,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def do(self, step: Step) -> str:
        """One block; returns what its commands printed."""
        if step.kind == "sh":
            done = self.sh(step.body)
        elif step.kind == "diff":
            (self.checkout / ".change").write_text(step.body)
            done = self.sh("git apply --whitespace=nowarn .change && rm .change")
        else:
            assert step.path is not None
            target = self.checkout / step.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(step.body)
            return ""
        assert done.returncode == 0, f"line {step.line}:\n{step.body}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    folder = tmp_path_factory.mktemp("reader")
    checkout = folder / "checkout"
    checkout.mkdir()
    scratch_copy(checkout)
    (checkout / ".venv").symlink_to(BIN.parent)
    reader = Reader(checkout)
    house = House(checkout / ".tiffin")
    try:
        for command in (
            "git init -q",
            f".venv/bin/tiffin up --as-of {AS_OF}",
            ".venv/bin/python scripts/materialise.py --latest 744",
        ):
            done = reader.sh(command)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        yield reader
    finally:
        house.tiffin("down", check=False)


PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", PAGES, ids=lambda page: page.stem)
