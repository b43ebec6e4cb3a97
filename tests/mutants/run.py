"""Apply each mutant in a scratch copy and demand that its test turns red.

    python -m tests.mutants.run [--only TEXT] [--jobs N]

A mutant is one small edit that breaks one promise. It survives, and this fails, when the test that
guards the promise stays green; so does a mutant whose text no longer occurs exactly once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Mutant:
    """One edit: `old` occurs exactly once in `file`; `test` guards `promise`."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    test: str


def load() -> list[Mutant]:
    """The committed lists: one file a topic."""
    return [Mutant(**entry) for path in sorted(LISTS.glob("*.toml")) for entry in tomllib.loads(path.read_text())["mutant"]]


def mutate(text: str, mutant: Mutant) -> str:
    """The edited text; a mutant that no longer fits is an error, not a survivor."""
    found = text.count(mutant.old)
    if found != 1:
        raise SystemExit(f"mutant {mutant.name!r}: its text occurs {found} times in {mutant.file}, expected once; rewrite the mutant")
    return text.replace(mutant.old, mutant.new)


def scratch_copy(folder: Path) -> Path:
    """The tracked files as they are now, without the environment."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def run_test(tree: Path, test: str) -> tuple[int, str]:
    """Pytest's exit code and output, importing the library from `tree`."""
    path = os.pathsep.join([str(tree / "platform"), str(tree)])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *shlex.split(test)]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout + done.stderr


def judge(mutant: Mutant) -> tuple[Mutant, bool, float, str]:
    """Whether the mutant was caught: its test ran and failed (pytest's exit code 1, nothing else)."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        tree = scratch_copy(Path(folder))
        target = tree / mutant.file
        target.write_text(mutate(target.read_text(), mutant))
        code, output = run_test(tree, mutant.test)
    return mutant, code == 1, time.monotonic() - started, output


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in load() if options.only in mutant.name]
    if not chosen:
        print(f"no mutant is called like {options.only!r}", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(options.jobs) as pool, tempfile.TemporaryDirectory(prefix="unmutated-") as folder:
        tree = scratch_copy(Path(folder))
        tests = sorted({mutant.test for mutant in chosen})
        for test, (code, output) in zip(tests, pool.map(lambda test: run_test(tree, test), tests), strict=True):
            if code != 0:
                print(f"without any mutant, `{test}` exits {code}:\n{output}", file=sys.stderr)
                return 2
        survivors = 0
        for mutant, caught, seconds, output in pool.map(judge, chosen):
            print(f"{'red' if caught else 'SURVIVED':9} {seconds:6.1f} s  {mutant.name}: {mutant.promise}", flush=True)
            if not caught:
                survivors += 1
                print(output[-2000:], file=sys.stderr)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants turned a test red")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
