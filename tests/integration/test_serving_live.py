"""The live endpoint on real Triton and Valkey: the same bits as offline, and clear words when it cannot answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from tests.serving_case import Case, make_case
from tests.serving_stage import Stage, open_stage, request_of
from tiffin.core.errors import Invalid, NotFound, NotReady
from tiffin.serving.client import predict
from tiffin.serving.triton import Triton


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("live")) as stage:
        yield stage


@pytest.fixture(scope="module")
def case() -> Case:
    return make_case(max_rows=4000, max_bytes=200_000)


@pytest.fixture(scope="module")
def tables(stage: Stage, case: Case) -> dict[str, pa.Table]:
    tables = stage.publish_views(1, case.views)
    stage.ship(case)
    stage.until_ready()
    return tables


@pytest.mark.parametrize(
    "count", [pytest.param(1, id="one row"), pytest.param(2, id="two rows"), pytest.param(4000, id="thousands of rows")]
)
def test_live_answer_has_the_bits_of_the_offline_answer(stage: Stage, case: Case, tables: dict[str, pa.Table], count: int) -> None:
    rows = stage.rows(11, count, tables)

    assert stage.ask(rows) == stage.expect(case, rows)


def test_a_row_is_answered_alike_alone_and_in_company(stage: Stage, tables: dict[str, pa.Table]) -> None:
    rows = stage.rows(12, 40, tables)

    together = stage.ask(rows)
    alone = [stage.ask(rows.slice(place, 1)) for place in range(len(rows))]

    assert together == {name: [one[name][0] for one in alone] for name in together}


def test_unknown_and_missing_ids_get_null_features(stage: Stage, case: Case, tables: dict[str, pa.Table]) -> None:
    rows = stage.rows(13, 3, tables).set_column(0, "carrier", pa.array(["never seen", None, ""]))
    without = {name: pa.nulls(3, rows[name].type) for name in rows.column_names if "__" in name}
    for name, nothing in without.items():
        rows = rows.set_column(rows.column_names.index(name), name, nothing)

    assert stage.ask(rows) == stage.expect(case, rows)


def test_more_rows_than_declared_are_refused_by_the_server_itself(stage: Stage, tables: dict[str, pa.Table]) -> None:
    client = Triton(stage.triton.grpc)
    golden = stage.agent.live()[0].golden

    with pytest.raises(Invalid, match="batch-size must be <= 4000 for 'eta'"):
        client.infer("eta", {name: np.repeat(array[:1], 4001, axis=0) for name, array in golden.request.items()})


def test_more_rows_than_declared_are_refused_by_the_client_before_sending(stage: Stage, tables: dict[str, pa.Table]) -> None:
    with pytest.raises(Invalid, match="has 4001 rows, endpoint 'eta' takes 1 to 4000"):
        predict(stage.triton.grpc, "eta", request_of(stage.rows(14, 4001, tables)))


def test_more_bytes_than_declared_are_refused(stage: Stage, tables: dict[str, pa.Table]) -> None:
    request = request_of(stage.rows(15, 10, tables))
    request["carrier"] = ["x" * 30_000] * 10

    with pytest.raises(Invalid, match=r"holds 3001\d\d bytes of ids and fields, allowed are 200000") as refused:
        predict(stage.triton.grpc, "eta", request)
    assert "fewer rows" in refused.value.fix


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        pytest.param(
            "wind", 1e30, r"request field 'wind': .*row 1: value 1\.0*\d*e\+30 is not allowed", id="a stepped number out of reach"
        ),
        pytest.param("note", "y" * 21, "request field 'note': .*row 1.*21 bytes of UTF-8: expected at most 20", id="a text too long"),
        pytest.param(
            "distance", 40_000, "request field 'distance', row 1: value 40000 .* from -32768 to 32767", id="a whole number too large"
        ),
        pytest.param("distance", None, "request field 'distance', row 1: value None .* it has no null", id="a null whole number"),
        pytest.param("carrier", 7, "request field 'carrier', row 1: value 7 is not allowed, expected text", id="a number as text"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_row(
    stage: Stage, tables: dict[str, pa.Table], field: str, value: object, message: str
) -> None:
    request = request_of(stage.rows(16, 3, tables))
    request[field][1] = value

    with pytest.raises(Invalid, match=message):
        predict(stage.triton.grpc, "eta", request)


def test_an_unknown_endpoint_field_or_a_missing_one_is_named_with_the_nearest(stage: Stage, tables: dict[str, pa.Table]) -> None:
    request = request_of(stage.rows(17, 1, tables))

    with pytest.raises(NotFound, match="no endpoint 'etta'") as no_endpoint:
        predict(stage.triton.grpc, "etta", request)
    with pytest.raises(Invalid, match="no request field 'widn'") as no_field:
        predict(stage.triton.grpc, "eta", {**request, "widn": [1.0]})
    with pytest.raises(Invalid, match="needs the request field 'wind'"):
        predict(stage.triton.grpc, "eta", {name: values for name, values in request.items() if name != "wind"})

    assert no_endpoint.value.fix == "did you mean 'eta'?"
    assert no_field.value.fix == "did you mean 'wind'?"


def test_an_unreachable_server_is_not_ready_and_says_what_starts_it() -> None:
    with pytest.raises(NotReady) as refused:
        predict("127.0.0.1:1", "eta", {}, timeout_s=2)

    assert "tiffin up" in refused.value.fix


def test_an_empty_online_store_is_an_error_and_never_a_default(stage: Stage, case: Case, tables: dict[str, pa.Table]) -> None:
    request = request_of(stage.rows(18, 1, tables))
    stage.flush()

    with pytest.raises(NotReady, match="view eta/delays has no generation in the online store"):
        predict(stage.triton.grpc, "eta", request)

    stage.until_ready()


def test_a_generation_that_moves_is_followed_at_once(stage: Stage, case: Case, tables: dict[str, pa.Table]) -> None:
    other = stage.publish_views(2, case.views)
    rows = stage.rows(19, 50, other)

    assert stage.ask(rows) == stage.expect(case, rows)

    stage.publish_views(1, case.views)
