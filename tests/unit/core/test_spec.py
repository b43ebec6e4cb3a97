"""Specs and records: frozen, strict, and errors that name the file, the thing, the field and the fix."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from tiffin.core.errors import Invalid, NotFound
from tiffin.core.spec import Record, Spec, declared_at


class Lunch(Spec):
    """A spec to make mistakes with."""

    name: str
    size: int = Field(default=1, ge=1)
    spice: Literal["mild", "medium", "hot"] = "mild"
    sides: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def name_is_on_the_menu(cls, name: str) -> str:
        if name == "stone":
            raise Invalid("nobody eats 'stone'", fix="order 'soup'")
        if name == "mud":
            raise ValueError("mud is not food")
        return name

    @model_validator(mode="after")
    def hot_is_for_one(self) -> Lunch:
        if self.spice == "hot" and self.size > 1:
            raise ValueError("hot is for one")
        return self


class Bill(Record):
    """A record with a default that a later version added."""

    format: Literal["test.bill.v1"] = "test.bill.v1"
    total: float
    tip: int | None = None


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def mistake(*names: Any, **fields: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        Lunch(*names, **fields)
    return caught.value


def test_the_first_field_may_be_given_without_its_name() -> None:
    assert Lunch("soup", size=2) == Lunch(name="soup", size=2)


def test_the_first_field_given_twice_is_refused() -> None:
    assert "got 'name' twice" in mistake("soup", name="salad").message


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Lunch("soup").size = 2  # type: ignore[misc]  # the mistake under test


def test_an_error_names_the_file_and_the_line_of_the_declaration() -> None:
    at = line() + 2
    with pytest.raises(Invalid) as caught:
        Lunch("soup", size=0)
    assert f"(declared at {__file__}:{at})" in caught.value.message


@pytest.mark.parametrize(
    ("fields", "parts", "fix"),
    [
        pytest.param({"siez": 2}, ["Lunch 'soup'", "'siez' is not one of its fields"], "did you mean 'size'?", id="misspelt field"),
        pytest.param({"size": 0}, ["Lunch 'soup'", "'size' is 0", "greater than or equal to 1"], "set size", id="out of range"),
        pytest.param({"size": "two"}, ["Lunch 'soup'", "'size' is 'two'"], "set size", id="wrong type"),
        pytest.param({"spice": "hto"}, ["Lunch 'soup'", "'spice' is 'hto'"], "did you mean 'hot'?", id="misspelt word"),
        pytest.param({"sides": [1]}, ["Lunch 'soup'", "'sides.0' is 1"], "set sides.0", id="inside a list"),
        pytest.param({"spice": "hot", "size": 2}, ["Lunch 'soup'", "hot is for one"], "change the spec", id="two fields together"),
        pytest.param({"size": 0, "siez": 1}, ["and 1 more"], "", id="several at once"),
    ],
)
def test_a_mistake_is_named_with_what_was_found_and_what_is_allowed(fields: dict[str, Any], parts: list[str], fix: str) -> None:
    err = mistake("soup", **fields)

    for part in parts:
        assert part in err.message
    assert fix in err.fix


def test_a_missing_field_is_named() -> None:
    err = mistake(size=2)

    assert "field 'name' is missing" in err.message
    assert err.fix == "add name=..."


def test_an_error_of_ours_inside_a_validator_keeps_its_words_and_its_fix() -> None:
    err = mistake("stone")

    assert err.message.startswith("Lunch 'stone': nobody eats 'stone'")
    assert err.fix == "order 'soup'"


def test_a_plain_value_error_inside_a_validator_names_the_field_to_change() -> None:
    err = mistake("mud")

    assert "mud is not food" in err.message
    assert err.fix == "change name"


def test_a_changed_copy_is_checked_like_a_new_one() -> None:
    soup = Lunch("soup")

    assert soup.with_changes(size=3) == Lunch("soup", size=3)
    assert soup.size == 1
    with pytest.raises(Invalid, match="'size' is 0"):
        soup.with_changes(size=0)


def test_where_something_is_declared_is_outside_the_library() -> None:
    found = declared_at()

    assert found.rpartition(":")[0] == __file__
    assert not found.startswith(str(Path(inspect.getfile(Spec)).parents[1]))


def test_equal_records_are_equal_bytes_and_have_one_address() -> None:
    assert Bill(total=2.5).to_bytes() == b'{"format":"test.bill.v1","tip":null,"total":2.5}'
    assert Bill(total=2.5, tip=None).address == Bill(total=2.5).address != Bill(total=2.75).address


def test_a_record_reads_back_from_its_bytes() -> None:
    bill = Bill(total=2.5, tip=1)

    assert Bill.from_bytes(bill.to_bytes(), name="bill") == bill


def test_old_bytes_without_a_field_that_came_later_still_read() -> None:
    assert Bill.from_bytes(b'{"format":"test.bill.v1","total":1}', name="bill").tip is None


@pytest.mark.parametrize(
    ("data", "part"),
    [
        pytest.param(b'{"format":"test.bill.v1"}', "'total'", id="missing field"),
        pytest.param(b'{"format":"test.bill.v1","total":1,"colour":"red"}', "'colour'", id="unknown field"),
        pytest.param(b'{"format":"test.bill.v2","total":1}', "'format'", id="another version"),
        pytest.param(b"{", "'document'", id="not json"),
        pytest.param(b"\xff", "'document'", id="not text"),
        pytest.param(b"[]", "'document'", id="not an object"),
    ],
)
def test_bytes_that_are_no_such_record_are_refused_by_name_and_field(data: bytes, part: str) -> None:
    with pytest.raises(Invalid, match="reading Bill 'bills/1'") as caught:
        Bill.from_bytes(data, name="bills/1")
    assert part in caught.value.message
    assert "upgrade" in caught.value.fix


def test_an_error_that_is_not_a_value_error_passes_through_a_spec_unchanged() -> None:
    class Picky(Spec):
        name: str

        @field_validator("name")
        @classmethod
        def never(cls, name: str) -> str:
            raise NotFound("no kitchen", fix="build one")

    with pytest.raises(NotFound, match="no kitchen"):
        Picky("x")
