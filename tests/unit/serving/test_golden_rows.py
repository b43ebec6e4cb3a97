"""Golden rows are kept and compared bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tiffin.core.errors import Corrupt
from tiffin.serving.golden import Golden

FILE = Path(__file__).parents[2] / "golden" / "serving" / "golden_rows.json"


def make() -> Golden:
    carrier = np.empty((2, 1), dtype=object)
    carrier[:, 0] = [b"UA", b"\x00"]
    return Golden(
        {"carrier": carrier, "distance": np.array([[100], [-7]], dtype=np.int16), "wet": np.array([[True], [False]])},
        {"_features": np.array([[1.5, np.nan], [-0.0, 2.0**60]])},
        {"delay": np.array([[0.1], [np.nan]])},
    )


def same(one: Golden, other: Golden) -> bool:
    pairs = [(getattr(one, part), getattr(other, part)) for part in ("request", "features", "expected")]
    return all(
        a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes() for a, b in pairs for name in a if a[name].dtype != object
    )


def test_the_stored_form_is_the_golden_file_and_decodes_for_ever() -> None:
    assert make().to_bytes() == FILE.read_bytes().rstrip(b"\n")
    assert same(Golden.from_bytes(FILE.read_bytes(), name="golden"), make())
    assert Golden.from_bytes(FILE.read_bytes(), name="golden").request["carrier"].tolist() == [[b"UA"], [b"\x00"]]


def test_equal_bits_pass_and_one_differing_bit_is_named() -> None:
    golden = make()
    golden.check({"delay": np.array([[0.1], [np.nan]])}, of="deployment 'eta/eta'")

    with pytest.raises(Corrupt) as refused:
        golden.check({"delay": np.array([[np.nextafter(0.1, 1)], [np.nan]])}, of="deployment 'eta/eta'")

    assert "deployment 'eta/eta' answers 1 of its 2 golden rows differently: output 'delay', row 0" in refused.value.message


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({}, id="no output"),
        pytest.param({"delay": np.array([[0.1]])}, id="a row less"),
        pytest.param({"delay": np.array([[0.1], [0.0]], dtype=np.float32)}, id="another dtype"),
    ],
)
def test_an_answer_of_another_shape_is_refused(answers: dict[str, np.ndarray]) -> None:
    with pytest.raises(Corrupt, match="for output 'delay', expected float64"):
        make().check(answers, of="deployment 'eta/eta'")


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"format":"tiffin.golden.v9"}', b'{"format":"tiffin.golden.v1"}'])
def test_a_file_that_is_no_golden_rows_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(Corrupt, match=r"file 'golden\.json' is not readable"):
        Golden.from_bytes(data, name="file 'golden.json'")


def test_a_dtype_that_could_run_code_is_refused() -> None:
    value = json.loads(make().to_bytes())
    value["expected"]["delay"]["dtype"] = "|O"

    with pytest.raises(Corrupt):
        Golden.from_bytes(json.dumps(value).encode(), name="golden")
