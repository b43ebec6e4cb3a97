"""What a view declares is what its generations are held to."""

from __future__ import annotations

import pytest

from tiffin.features.entity import Entity
from tiffin.features.expectations import Expect
from tiffin.features.feature_types import Float32, Int32
from tiffin.features.partitions import daily
from tiffin.features.view import Feature, Online, Source, feature_view
from tiffin.online.judge import Limits
from tiffin.orchestration.online_assets import limits_of


def view_of(online: Online | None, expect: Expect):
    return feature_view(
        name="delays",
        entity=Entity("carrier", key="carrier: string"),
        source=Source("raw/flights", time="landed_at"),
        partitions=daily("2013-01-01"),
        features=[Feature("delay", Float32(), expect=expect), Feature("flights", Int32())],
        online=online,
        sql="select 1",
    )


@pytest.mark.parametrize(
    ("online", "expect", "limits"),
    [
        pytest.param(None, Expect(), None, id="nothing"),
        pytest.param(Online(ttl="1d"), Expect(max_null_share=0.5), None, id="nothing about generations"),
        pytest.param(Online(fewest_rows_share=0.5), Expect(), Limits(fewest_rows_share=0.5), id="rows"),
        pytest.param(Online(null_rate_rise=0.1), Expect(), Limits(null_rate_rise=0.1), id="nulls"),
        pytest.param(Online(), Expect(low=-90), Limits(ranges={"delay": (-90.0, None)}), id="a range"),
    ],
)
def test_declared_limits_reach_the_publisher(online, expect, limits):
    assert limits_of(view_of(online, expect)) == limits
