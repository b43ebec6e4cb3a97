"""The list of mutants is kept in step with the code."""

from __future__ import annotations

import pytest

from tests.mutants.run import ROOT, Mutant, load, mutate

MUTANTS = load()


def test_there_are_enough_mutants_and_each_has_its_own_name() -> None:
    assert len(MUTANTS) >= 15
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_still_fits_its_file(mutant: Mutant) -> None:
    before = (ROOT / mutant.file).read_text()

    after = mutate(before, mutant)

    assert after != before
    if mutant.file.endswith(".py"):
        compile(after, mutant.file, "exec")
    assert (ROOT / mutant.test.split()[0].partition("::")[0]).exists()
