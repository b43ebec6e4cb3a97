"""The exact artifact in this process: its golden rows first, then the endpoint's own bits."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.serving_case import TEAM, Case, delays, make_case, places
from tiffin.core.errors import Corrupt, Invalid, NotFound
from tiffin.features.compute import EVENT_TIME, KNOWN_AT
from tiffin.features.offline import WRITTEN_AT
from tiffin.manifests.records import FileRef
from tiffin.serving.box import Box, open_box
from tiffin.serving.box_rows import OfflineRows
from tiffin.serving.box_server import box_server
from tiffin.serving.explain import explain_box, take_apart
from tiffin.serving.render import Rendered
from tiffin.storage.content import PARTITION
from tiffin.storage.delta import DeltaStore

INSTANT = pa.timestamp("us", tz="UTC")
DAY = datetime(2013, 1, 5, tzinfo=UTC)
NOW = DAY + timedelta(hours=6)
FIELDS = ("carrier", "origin", "distance", "wind", "note")


def times(*instants: datetime) -> pa.Array:
    return pa.array(instants, INSTANT)


def store_views(case: Case, folder: Path) -> DeltaStore:
    """One row of each view for carrier AA, another a day later, which is not known yet at `NOW`."""
    tables = DeltaStore(str(folder))
    rows = case.rows.filter(case.rows["places__taste"].is_valid()).slice(0, 2)
    for one, keys in ((delays, {"carrier": ["AA", "AA"]}), (places, {"carrier": ["AA", "AA"], "origin": ["EWR", "EWR"]})):
        stamps = {name: times(DAY, DAY + timedelta(days=1)) for name in (EVENT_TIME, KNOWN_AT, WRITTEN_AT)}
        values = {feature.name: rows[f"{one.name}__{feature.name}"] for feature in one.features}
        days = {PARTITION: ["2013-01-04", "2013-01-05"]}
        tables.replace(f"{TEAM}/{one.name}", pa.table({**keys, **values, **stamps, **days}), partitions=days[PARTITION])
    return tables


@dataclass
class Opened:
    case: Case
    rendered: Rendered
    box: Box
    rows: OfflineRows


def blob(rendered: Rendered, **changed: bytes) -> Any:
    def fetch(file: FileRef) -> bytes:
        return changed.get(file.path.rpartition("/")[2].replace(".", "_"), rendered.blobs[file.digest])

    return fetch


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    case = make_case()
    rendered = case.render()
    rows = OfflineRows(case.views, tables=store_views(case, tmp_path_factory.mktemp("tables")), as_of=NOW)
    return Opened(case, rendered, open_box(rendered.record, blob(rendered), rows.read, folder=tmp_path_factory.mktemp("box")), rows)


def asked(rows: pa.Table) -> dict[str, Any]:
    return {name: rows[name].to_pylist() for name in FIELDS}


def joined(case: Case, rows: pa.Table, *, found: bool) -> pa.Table:
    """The rows with the features that the tables hold for AA at EWR, or with none."""
    first = case.rows.filter(case.rows["places__taste"].is_valid()).slice(0, 1)
    for one in (delays, places):
        for feature in one.features:
            name = f"{one.name}__{feature.name}"
            cell = first[name][0] if found else pa.scalar(None, rows.schema.field(name).type)
            column = pa.array([cell.as_py()] * len(rows), rows.schema.field(name).type)
            rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


def known(rows: pa.Table, carrier: str) -> pa.Table:
    """Some rows, all of one carrier at EWR."""
    rows = rows.slice(0, 8)
    rows = rows.set_column(rows.column_names.index("carrier"), "carrier", pa.array([carrier] * 8))
    return rows.set_column(rows.column_names.index("origin"), "origin", pa.array(["EWR"] * 8))


@pytest.mark.parametrize(("carrier", "found"), [pytest.param("AA", True, id="known"), pytest.param("??", False, id="unknown")])
def test_a_box_gives_the_bits_that_training_code_gives_for_the_rows_of_that_instant(opened: Opened, carrier: str, found: bool) -> None:
    rows = known(opened.case.rows, carrier)

    trace = opened.box.predict(asked(rows))

    expected = opened.case.offline(joined(opened.case, rows, found=found))
    assert list(trace.outputs) == list(expected)
    for name, values in expected.items():
        assert np.array_equal(trace.outputs[name].view(np.int64), values.view(np.int64))


def test_a_row_without_a_key_has_no_features(opened: Opened) -> None:
    request = {**asked(known(opened.case.rows, "AA").slice(0, 1)), "origin": [None]}

    places_found = opened.rows.read({"carrier": ["AA"], "origin": [None]})[f"{TEAM}/places"]

    assert np.isfinite(opened.box.predict(request).score).all()
    assert [column.valid is not None and not column.valid[0] for column in places_found.columns.values()] == [True] * 6


def test_a_row_that_was_known_later_is_not_read(opened: Opened) -> None:
    first = opened.case.rows.filter(opened.case.rows["places__taste"].is_valid())["delays__flights"][0].as_py()

    found = opened.rows.read({"carrier": ["AA"], "origin": ["EWR"]})[f"{TEAM}/delays"]

    assert found.columns["flights"].data.tolist() == [first]
    assert opened.rows.versions == {f"{TEAM}/delays": 0, f"{TEAM}/places": 0}


def test_an_artifact_whose_golden_rows_come_out_otherwise_does_not_open(opened: Opened, tmp_path: Path) -> None:
    other = make_case(seed=1).model_files["model.txt"]

    with pytest.raises(Corrupt, match="golden rows differently"):
        open_box(opened.rendered.record, blob(opened.rendered, model_txt=other), opened.rows.read, folder=tmp_path)


def test_a_launcher_that_starts_another_module_is_refused(opened: Opened, tmp_path: Path) -> None:
    launchers = {file.path for file in opened.rendered.record.files if file.path.endswith("/model.py")}

    def fetch(file: FileRef) -> bytes:
        return b"from os import open_step\n" if file.path in launchers else opened.rendered.blobs[file.digest]

    with pytest.raises(Corrupt, match="starts no program of the library"):
        open_box(opened.rendered.record, fetch, opened.rows.read, folder=tmp_path)


def test_a_wrong_field_is_named_before_anything_is_computed(opened: Opened) -> None:
    with pytest.raises(Invalid, match=r"deployment 'eta/eta' has no request field 'carier'(.|\n)*'carrier'"):
        opened.box.predict({"carier": ["AA"]})


def test_a_view_that_was_never_materialised_is_named(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="'eta/delays' has no offline rows"):
        OfflineRows(opened.case.views, tables=DeltaStore(str(tmp_path)), as_of=NOW)


def test_contributions_add_up_to_the_score_that_the_box_gave(opened: Opened) -> None:
    rows = asked(known(opened.case.rows, "AA"))

    found = explain_box(opened.box, rows, model=opened.case.model, files=opened.case.model_files)

    assert found.names == opened.case.model.inputs
    for row in range(8):
        told = found.row(row)
        total = told["base"] + sum(one["adds"] for one in told["contributions"])
        assert total == pytest.approx(told["raw_score"], abs=1e-9)
        assert told["raw_score"] == pytest.approx(found.trace.score[row], abs=1e-12)
        sizes = [abs(one["adds"]) for one in told["contributions"]]
        assert sizes == sorted(sizes, reverse=True)
    assert json.dumps(found.row(0), allow_nan=False)


def test_scores_of_another_model_are_not_explained_as_this_ones(opened: Opened) -> None:
    other = make_case(seed=1)

    with pytest.raises(Corrupt, match="where it is served"):
        take_apart(other.model, other.model_files, opened.box.predict(asked(known(opened.case.rows, "AA"))))


@pytest.fixture
def port(opened: Opened) -> Iterator[int]:
    server = box_server(opened.box, 0, about={"manifest": "1234", "features": "the tables"})
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def call(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_box_answers_rows_over_http(opened: Opened, port: int) -> None:
    rows = known(opened.case.rows, "AA")

    code, answer = call(port, "POST", "/predict", json.dumps({"rows": rows.select(list(FIELDS)).to_pylist()}).encode())

    assert (code, answer["rows"]) == (200, 8)
    assert answer["predictions"] == {name: array.tolist() for name, array in opened.box.predict(asked(rows)).outputs.items()}
    assert call(port, "GET", "/")[1]["features"] == "the tables"


@pytest.mark.parametrize(
    ("path", "body", "code", "told"),
    [
        pytest.param("/predict", b"{", 400, "not JSON", id="cut off"),
        pytest.param("/predict", b'{"rows": []}', 400, "no list 'rows'", id="no rows"),
        pytest.param("/predict", b'{"rows": [{"carier": "AA"}]}', 400, "'carier'", id="a misspelt field"),
        pytest.param("/predict", b'{"rows": [{"carrier": "AA"}, {}]}', 400, "differ in field 'carrier'", id="rows of two kinds"),
        pytest.param("/elsewhere", b"{}", 404, "no page", id="no page"),
    ],
)
def test_what_a_box_cannot_answer_is_told_with_its_fix(port: int, path: str, body: bytes, code: int, told: str) -> None:
    found, answer = call(port, "POST", path, body)

    assert found == code
    assert told in answer["message"]
    assert answer["fix"]


def test_a_request_that_announces_too_many_bytes_is_refused_before_they_are_read(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()

    answer = connection.getresponse()

    assert answer.status == 400
    assert "allowed are 1 to" in json.loads(answer.read())["message"]
