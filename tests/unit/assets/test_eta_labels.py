"""The two labels of a departure."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from assets.eta.departures import LATE_MINUTES, departures, eta_table, late_departures, late_table, with_late


def test_late_is_more_than_half_an_hour_and_unknown_without_an_arrival(year: pa.Table) -> None:
    found = with_late(year)

    assert found["late"].null_count == year["arr_delay"].null_count == 9_430
    assert pc.sum(found["late"]).as_py() == pc.sum(pc.greater(year["arr_delay"], LATE_MINUTES)).as_py()
    edge = found.filter(pc.equal(found["arr_delay"], LATE_MINUTES))
    assert pc.any(edge["late"]).as_py() is False
    assert edge.num_rows > 0


def test_both_endpoints_ask_the_same_of_a_client_and_join_the_same_views() -> None:
    assert departures.keys == late_departures.keys
    assert departures.fields == late_departures.fields
    assert eta_table.features == late_table.features
