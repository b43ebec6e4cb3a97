"""Errors say what happened and what to do, and callers decide by class."""

from __future__ import annotations

import pytest

from tiffin.core import errors
from tiffin.core.errors import Conflict, Corrupt, Denied, Invalid, NotFound, NotReady, PlatformError, Unsupported, nearest

CLASSES = [Conflict, Corrupt, Denied, Invalid, NotFound, NotReady, Unsupported]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_one_of_ours_and_shows_its_fix(kind: type[PlatformError]) -> None:
    err = kind("reading 'x' failed", fix="write it first", context={"key": "x"})

    assert isinstance(err, PlatformError)
    assert str(err) == "reading 'x' failed\n  fix: write it first"
    assert (err.message, err.fix, err.context) == ("reading 'x' failed", "write it first", {"key": "x"})


def test_an_error_cannot_be_raised_without_a_fix() -> None:
    with pytest.raises(TypeError, match="fix"):
        Invalid("something")  # type: ignore[call-arg]  # the mistake under test


@pytest.mark.parametrize(
    ("kind", "builtin"), [(Invalid, ValueError), (Corrupt, ValueError), (NotFound, LookupError), (Denied, PermissionError)]
)
def test_an_error_is_also_the_builtin_that_callers_expect(kind: type[PlatformError], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_only_a_lost_race_and_not_ready_are_worth_another_try() -> None:
    assert {kind for kind in CLASSES if kind.retryable} == {Conflict, NotReady}


def test_the_context_is_a_copy() -> None:
    context: dict[str, object] = {"key": "x"}
    err = Invalid("what", fix="how", context=context)

    context["key"] = "y"

    assert err.context == {"key": "x"}


def test_every_public_name_exists() -> None:
    assert all(hasattr(errors, name) for name in errors.__all__)


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        pytest.param("driver_ratng", ["driver_rating", "store_load"], "did you mean 'driver_rating'?", id="close"),
        pytest.param("zzz", ["b", "a", "b"], "use one of: a, b", id="far"),
        pytest.param("zzz", [], "there is none to choose from yet", id="nothing to choose"),
    ],
)
def test_a_hint_names_the_closest_word_or_all(word: str, known: list[str], hint: str) -> None:
    assert nearest(word, known) == hint
