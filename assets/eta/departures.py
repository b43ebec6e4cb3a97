"""How late will a flight arrive, asked at its scheduled departure: table, model, endpoint."""

from __future__ import annotations

from datetime import date

from assets.eta.answers import clip
from assets.eta.inputs import prepare
from tiffin.features import Feature, Int8, Int16, Source
from tiffin.serving.deployment import Deployment
from tiffin.training import Metric, NotWorseThanLive, Spine, TrainingTable, model

__all__ = ["departures", "eta", "eta_model", "eta_table"]

flights = Source("raw/flights", time="landed_at", description="landed by the network team")

departures = Spine(
    "departures",
    source=flights,
    keys="carrier: string, origin: string",
    time="sched_dep_at",
    fields=(
        Feature("distance", Int16(), nullable=False, description="miles"),
        Feature("sched_dep_minute", Int16(), nullable=False, description="minute of the New York day, 0 to 1439"),
        Feature("month", Int8(), nullable=False, description="1 to 12, of the New York day"),
        Feature("weekday", Int8(), nullable=False, description="1 is Monday, 7 is Sunday, of the New York day"),
    ),
    label=Feature("arr_delay", Int16(), description="minutes late at the gate; negative is early"),
)

eta_table = TrainingTable(
    "eta_table",
    spine=departures,
    features=("network/carrier_delays", "network/airport_weather"),
    start=date(2013, 1, 2),  # the first partition's features are known from here on
    end=None,
    description="Departures with what was known about carrier and airport at that moment, and how late they arrived.",
)

eta_model = model(
    name="eta_model",
    table=eta_table,
    params={
        "objective": "regression_l1",
        "num_iterations": 60,
        "learning_rate": 0.1,
        "num_leaves": 15,
        "min_data_in_leaf": 500,
        "max_bin": 63,
    },
    holdout="60d",
    gates=(
        Metric("mae").below(23),  # always answering the median gives 23.4 on the same 60 days
        NotWorseThanLive("mae", by=0.02),
    ),
)(prepare)

eta = Deployment(
    "eta",
    model=eta_model,
    postprocess=clip,
    description="Minutes late at arrival, from ids and what is known at departure.",
)
