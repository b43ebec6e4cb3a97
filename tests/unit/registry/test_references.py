"""What a record needs beside it: promotion copies exactly that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry_records import make_deployment, make_generation, make_model, make_view
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Invalid
from tiffin.registry.references import check_kind, check_path, home_of, references, title_of

MODEL = "aa" * 32


def test_a_deployment_needs_its_model_files_golden_rows_and_code() -> None:
    record = make_deployment(MODEL, {"a.py": b"a", "b.py": b"b"}, b"golden")

    found = [(reference.kind, reference.digest) for reference in references(record)]

    assert found == [
        ("model", MODEL),
        ("blob", digest_bytes(b"a")),
        ("blob", digest_bytes(b"b")),
        ("blob", digest_bytes(b"golden")),
        ("blob", digest_bytes(b"the code archive")),
    ]


def test_a_model_needs_its_views_files_and_code() -> None:
    record = make_model({"model.txt": b"tree"})

    found = [(reference.kind, reference.digest) for reference in references(record)]

    assert found == [
        ("view", make_view().address),
        ("blob", digest_bytes(b"tree")),
        ("blob", digest_bytes(b"the code archive")),
    ]


def test_a_generation_needs_its_view_and_all_its_segments_in_order() -> None:
    record = make_generation(b"base", (b"one", b"two"))

    found = [(reference.kind, reference.digest) for reference in references(record)]

    assert found == [("view", make_view().address), *(("blob", digest_bytes(part)) for part in (b"base", b"one", b"two"))]


def test_a_view_needs_nothing() -> None:
    assert references(make_view()) == []


def test_every_digest_in_a_record_is_referenced_or_known_to_be_only_a_name() -> None:
    """A new digest field that nobody copies would be found missing in prod, at night."""
    only_names = {"preprocess", "definition", "library_digest", "table.digest"}
    model = make_model({"model.txt": b"tree"})
    deployment = make_deployment(MODEL, {"a.py": b"a"}, b"golden")
    generation = make_generation(b"base", (b"one",))

    for record in (model, deployment, generation):
        referenced = {reference.digest for reference in references(record)}
        assert set(digests_in(record.model_dump(mode="json"), skip=only_names)) <= referenced, title_of(record)


def digests_in(value: object, *, skip: set[str], path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [
            digest
            for key, below in value.items()
            if key not in skip and f"{path}.{key}" not in skip
            for digest in digests_in(below, skip=skip, path=key)
        ]
    if isinstance(value, list):
        return [digest for below in value for digest in digests_in(below, skip=skip, path=path)]
    return [value] if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef") else []


def test_a_reference_is_called_by_its_file_and_its_owner() -> None:
    names = [reference.name for reference in references(make_deployment(MODEL, {"pre/1/model.py": b"a"}, b"golden"))]

    assert "file 'pre/1/model.py' of deployment 'eta/eta'" in names


def test_a_generation_lives_under_the_name_of_its_view() -> None:
    assert home_of(make_generation(b"base")) == ("network", "carrier_delays")
    assert title_of(make_generation(b"base")) == "generation 'network/carrier_delays'"


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "a\\b", "c:x", "a\0b", "a\nb"],
)
def test_a_path_that_could_leave_its_folder_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="could leave its folder"):
        check_path(path, of="deployment 'eta/eta'")


@given(parts=st.lists(st.from_regex(r"[a-z0-9_\-][a-z0-9_.\-]{0,8}", fullmatch=True), min_size=1, max_size=5))
def test_a_plain_relative_path_is_accepted(parts: list[str]) -> None:
    path = "/".join(parts)

    assert check_path(path, of="x") == path


def test_a_record_with_a_climbing_path_has_no_references() -> None:
    with pytest.raises(Invalid, match=r"'\.\./evil\.py' of deployment 'eta/eta'"):
        references(make_deployment(MODEL, {"../evil.py": b"a"}, b"golden"))


def test_a_record_with_one_path_twice_has_no_references() -> None:
    record = make_deployment(MODEL, {"a.py": b"a"}, b"golden")
    twice = record.model_copy(update={"files": (*record.files, *record.files)})

    with pytest.raises(Invalid, match=r"'a\.py' of deployment 'eta/eta' occurs twice"):
        references(twice)


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(Invalid) as caught:
        check_kind("deploymnt")
    assert "'deployment'" in caught.value.fix
