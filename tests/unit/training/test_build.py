"""Building a training table: which labels, which features, in which form."""

from __future__ import annotations

import math
import unicodedata
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.training_problem import NOW, T0, at, load, load_rows, make_spine, make_table, make_view, order_rows, records, stored_views, taste
from tiffin.core.errors import Invalid, NotFound
from tiffin.features.entity import Entity
from tiffin.features.feature_types import Float32, Int8
from tiffin.features.offline import materialise
from tiffin.features.partitions import Window
from tiffin.features.view import Feature, Source
from tiffin.storage.delta import DeltaStore
from tiffin.training.build import Built, build, join_as_of
from tiffin.training.table import TrainingTable


@pytest.fixture
def tables(tmp_path: Path) -> DeltaStore:
    return DeltaStore(str(tmp_path))


def land(tables: DeltaStore, rows: pa.Table) -> None:
    tables.replace("raw/orders", rows, partitions=None)


def built(tables: DeltaStore, rows: pa.Table | None = None, table: TrainingTable | None = None, **changes: Any) -> Built:
    if rows is not None:
        land(tables, rows)
    given = {"team": "own", "views": records(), "tables": tables, "written_at": NOW, "read_view": stored_views, **changes}
    return build(table or make_table(), **given)


def content(tables: DeltaStore) -> pa.Table:
    return tables.read("own/delivery")


def column(tables: DeltaStore, name: str) -> list[Any]:
    return content(tables)[name].to_pylist()


def test_a_row_per_label_with_ids_time_fields_label_and_features(tables: DeltaStore) -> None:
    result = built(tables, order_rows([30, 20]))

    table = content(tables)
    assert table.column_names == [
        *("shop", "city", "at", "distance", "minutes"),
        *("load__orders", "load__wait", "taste__vector", "taste__dishes", "taste__mood"),
    ]
    assert table["at"].to_pylist() == [T0 + timedelta(hours=20), T0 + timedelta(hours=30)]
    assert table["load__orders"].to_pylist() == [None, 3]
    assert table["taste__vector"].to_pylist() == [None, [1.0, 2.0]]
    assert table["taste__dishes"].to_pylist() == [None, [7, 8]]
    assert table.schema.field("city").type == pa.int16()
    assert table.schema.field("distance").type == table.schema.field("minutes").type == pa.float32()
    assert (result.table.ref, result.table.version, result.table.rows) == ("own/delivery", 0, 2)
    assert result.table.digest == result.replaced.digests[""]
    assert result.null_share["load__orders"] == 0.5


def test_each_view_counts_its_own_ttl(tables: DeltaStore) -> None:
    built(tables, order_rows([24 + 48, 24 + 49], shop=pa.array(["b", "b"])))

    assert column(tables, "load__orders") == [9, None]


def test_the_newest_rows_null_stays_null(tables: DeltaStore) -> None:
    built(tables, order_rows([50]))

    assert column(tables, "load__orders") == [None]
    assert column(tables, "load__wait") == [2.5]


def test_fields_and_label_are_brought_to_their_declared_encoding(tables: DeltaStore) -> None:
    built(tables, order_rows([30], distance=pa.array([1.26]), minutes=pa.array([-0.1])))

    assert column(tables, "distance") == [1.5]
    assert str(column(tables, "minutes")[0]) == "0.0"


def test_rows_without_a_label_are_left_out(tables: DeltaStore) -> None:
    built(tables, order_rows([1, 2, 3], minutes=pa.array([None, math.nan, 5.0])))

    assert column(tables, "minutes") == [5.0]


def test_duplicate_labels_stay(tables: DeltaStore) -> None:
    assert built(tables, order_rows([30, 30, 30])).table.rows == 3


def test_only_labels_from_start_until_before_end_are_taken(tables: DeltaStore) -> None:
    rows = order_rows([23.999, 24, 47.999, 48])

    built(tables, rows, make_table(start=date(2020, 1, 2), end=date(2020, 1, 3)))

    assert column(tables, "at") == [T0 + timedelta(hours=24), T0 + timedelta(hours=47.999)]


def test_labels_that_became_known_after_now_do_not_exist_yet(tables: DeltaStore) -> None:
    rows = order_rows([1, 2, 3], known=at(10, 11, 12))

    built(tables, rows, written_at=T0 + timedelta(hours=11))

    assert column(tables, "at") == [T0 + timedelta(hours=1), T0 + timedelta(hours=2)]


def test_rows_that_never_become_known_are_left_out(tables: DeltaStore) -> None:
    known = pa.array([None, T0], pa.timestamp("us", tz="UTC"))

    assert built(tables, order_rows([1, 2], known=known)).table.rows == 1


def test_text_ids_are_stored_and_joined_in_nfc(tables: DeltaStore) -> None:
    name = unicodedata.normalize("NFD", "Café")

    def views(record: Any, **_: Any) -> pa.Table:
        rows = stored_views(record)
        return rows.set_column(0, "shop", pa.array([unicodedata.normalize("NFC", "Café")] * len(rows)))

    built(tables, order_rows([30], shop=pa.array([name])), read_view=views)

    assert column(tables, "shop") == [unicodedata.normalize("NFC", "Café")]
    assert column(tables, "taste__mood") == ["calm"]


def test_a_null_id_keeps_its_label_and_gets_no_features(tables: DeltaStore) -> None:
    built(tables, order_rows([30], city=pa.array([None], pa.int16())))

    assert column(tables, "load__orders") == [3]
    assert column(tables, "taste__mood") == [None]


def test_equal_content_commits_nothing_and_changed_content_commits_once(tables: DeltaStore) -> None:
    first = built(tables, order_rows([30, 20]))

    again = built(tables, order_rows([20, 30]))
    changed = built(tables, order_rows([20, 31]))

    assert again.table == first.table
    assert not again.replaced.changed
    assert changed.table.version == 1
    assert changed.table.digest != first.table.digest


def tomorrow(rows: pa.Table) -> pa.Table:
    place = rows.column_names.index("at")
    return rows.set_column(place, "at", pc.add(rows["at"], timedelta(days=1)))


def test_the_spine_may_reshape_its_source(tables: DeltaStore) -> None:
    built(tables, order_rows([6]), make_table(spine=make_spine(rows=tomorrow)))

    assert column(tables, "at") == [T0 + timedelta(hours=30)]


def misspelt(rows: pa.Table) -> pa.Table:
    return rows.select(["distanse"])


def not_a_table(rows: pa.Table) -> Any:
    return rows.to_pydict()


def drops_time(rows: pa.Table) -> pa.Table:
    return rows.drop_columns(["at"])


@pytest.mark.parametrize(
    ("function", "found", "fix"),
    [
        pytest.param(misspelt, "rows function 'misspelt' raised KeyError", "", id="a column that is not there"),
        pytest.param(not_a_table, "returned dict", "return a pyarrow.Table", id="no table"),
        pytest.param(drops_time, r"spine 'asked' \(drops_time\) has no column 'at'", "", id="a column lost"),
    ],
)
def test_a_rows_function_that_breaks_a_rule_is_named(tables: DeltaStore, function: Any, found: str, fix: str) -> None:
    with pytest.raises(Invalid, match=found) as refusal:
        built(tables, order_rows([1]), make_table(spine=make_spine(rows=function)))

    assert fix in refusal.value.fix


@pytest.mark.parametrize(
    ("table", "found", "fix"),
    [
        pytest.param(make_table(spine=make_spine(time="att")), "no column 'att'", "'at'", id="time"),
        pytest.param(make_table(spine=make_spine(label=Feature("minute", Int8()))), "no column 'minute'", "'minutes'", id="label"),
        pytest.param(make_table(spine=make_spine(fields=(Feature("distanc", Int8()),))), "no column 'distanc'", "'distance'", id="field"),
        pytest.param(make_table(spine=make_spine(keys="shop: string, city: int16, citi: int8")), "no column 'citi'", "'city'", id="id"),
        pytest.param(
            make_table(spine=make_spine(source=Source("raw/orders", time="knwon"))),
            "'raw/orders' has no column 'knwon'",
            "'known'",
            id="source time",
        ),
    ],
)
def test_a_missing_column_is_refused_with_the_nearest_name(tables: DeltaStore, table: TrainingTable, found: str, fix: str) -> None:
    with pytest.raises(Invalid, match=found) as refusal:
        built(tables, order_rows([1]), table)

    assert fix in refusal.value.fix


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({"distance": pa.array([math.inf])}, "spine 'asked' .*'distance', row 0", id="infinite field"),
        pytest.param({"distance": pa.array(["far"])}, "'distance' holds string", id="text as a number"),
        pytest.param({"city": pa.array([40_000])}, "'city', row 0: value 40000", id="id outside its type"),
        pytest.param({"at": pa.array([None], pa.timestamp("us", tz="UTC"))}, "'at' is null", id="no time"),
        pytest.param({"at": pa.array([5])}, "'at' is int64", id="time as a number"),
    ],
)
def test_values_outside_their_declaration_are_refused_by_column_and_row(tables: DeltaStore, changes: Any, found: str) -> None:
    with pytest.raises(Invalid, match=found):
        built(tables, order_rows([1], **changes))


def test_a_field_that_may_not_be_null_is_refused(tables: DeltaStore) -> None:
    strict = make_spine(fields=(Feature("distance", Float32(), nullable=False),))

    with pytest.raises(Invalid, match="'distance', row 0: value null"):
        built(tables, order_rows([1], distance=pa.array([None], pa.float64())), make_table(spine=strict))


def test_no_label_at_all_is_refused_with_the_span(tables: DeltaStore) -> None:
    with pytest.raises(Invalid, match=r"no label in \[2020-03-01, the end\)"):
        built(tables, order_rows([1]), make_table(start=date(2020, 3, 1)))


def test_a_source_that_has_not_been_landed_is_named(tables: DeltaStore) -> None:
    with pytest.raises(NotFound, match="raw/orders"):
        built(tables)


def test_a_view_without_a_record_is_refused_with_the_nearest_name(tables: DeltaStore) -> None:
    with pytest.raises(NotFound, match="'other/tastes'") as refusal:
        built(tables, order_rows([1]), make_table(features=("other/tastes",)))

    assert refusal.value.fix == "did you mean 'other/taste'?"


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param("city: int16", "joins 'own/load' by 'shop', which is no key of spine 'asked'", id="missing part"),
        pytest.param("shop: string, city: int32", "by 'city' of type int16, the spine has int32", id="another type"),
    ],
)
def test_a_spine_that_lacks_a_key_of_a_view_is_refused(tables: DeltaStore, keys: str, found: str) -> None:
    with pytest.raises(Invalid, match=found):
        built(tables, order_rows([1]), make_table(spine=make_spine(keys=keys)))


def as_of(hours: float | None, rows: pa.Table) -> pa.Table:
    instant = None if hours is None else T0 + timedelta(hours=hours)
    return join_as_of(make_table(), rows, instant, team="own", views=records(), tables=DeltaStore("/nowhere"), read_view=stored_views)


def test_rows_joined_as_of_an_instant_see_what_was_known_then_and_keep_their_order() -> None:
    asked = order_rows([100, 10, 60], shop=pa.array(["b", "a", "a"])).drop_columns(["minutes", "known"])

    table = as_of(47, asked)

    assert table["load__orders"].to_pylist() == [9, 3, 3]
    assert table["at"].to_pylist() == asked["at"].to_pylist()
    assert "minutes" not in table.column_names
    assert as_of(24 + 48, asked)["load__wait"].to_pylist() == [7.0, 2.5, 2.5]
    assert as_of(24 + 48.5, asked)["load__wait"].to_pylist() == [None, 2.5, 2.5]


def test_rows_joined_at_their_own_times_equal_the_training_table(tables: DeltaStore) -> None:
    rows = order_rows([20, 30, 60])
    built(tables, rows)

    table = as_of(None, rows)

    assert table.to_pydict() == content(tables).drop_columns(["minutes"]).to_pydict()


def test_own_views_are_found_under_the_teams_name(tables: DeltaStore) -> None:
    own = {"own/load": records()["own/load"], "own/taste": taste.record(team="own", owner="team:own")}

    assert built(tables, order_rows([30]), make_table(features=(load, taste)), views=own).table.rows == 1
    assert column(tables, "load__orders") == load_rows()["orders"].slice(0, 1).to_pylist()


def busy(rows: pa.Table, window: Window) -> pa.Table:
    """Orders per shop that became known on the window's day, and their mean duration."""
    return rows.group_by("shop").aggregate([([], "count_all"), ("minutes", "mean")]).rename_columns(["shop", "orders", "wait"])


def test_materialised_partitions_are_joined_to_every_label_as_a_plain_loop_would(tables: DeltaStore) -> None:
    hours = [hour * 1.75 for hour in range(90)]
    rows = order_rows(hours, shop=pa.array([f"s{i * i % 5}" for i in range(90)]), minutes=pa.array([i % 11 * 0.5 for i in range(90)]))
    land(tables, rows)
    view = make_view("load", Entity("shop", key="shop: string"), *load.features, ttl="2d", transform=busy, delay="90m")
    windows = view.windows(until=T0 + timedelta(days=5))
    materialise(view, windows, team="own", tables=tables, written_at=NOW)
    record = view.record(team="own", owner="team:own")

    build(make_table(features=(view,)), team="own", views={"own/load": record}, tables=tables, written_at=NOW)

    orders = rows.to_pylist()
    for label in content(tables).to_pylist():
        day = (label["at"] - timedelta(minutes=90) - T0) // timedelta(days=1)  # the last day whose row was known at the label's time
        expected = (None, None)
        for end in (T0 + timedelta(days=back) for back in range(min(day, len(windows)), 0, -1)):
            seen = [order for order in orders if end - timedelta(days=1) <= order["known"] < end and order["shop"] == label["shop"]]
            if seen:
                mean = sum(order["minutes"] for order in seen) / len(seen)
                expected = (len(seen), round(mean * 2) / 2) if label["at"] - end <= timedelta(days=2) else expected
                break
        assert (label["load__orders"], label["load__wait"]) == expected
