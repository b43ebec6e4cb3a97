"""Two models over the same inputs, one endpoint each: `eta` in minutes, `late` as a probability.

Their requests, views and preprocess function are equal, so in Triton they share the features and the preprocess step.
"""

from __future__ import annotations

from assets.eta.answers import clip, probability
from assets.eta.departures import eta_table, late_table
from assets.eta.inputs import prepare
from tiffin.serving.deployment import Deployment
from tiffin.training import Metric, NotWorseThanLive, model

__all__ = ["eta", "eta_model", "late", "late_model"]

TREES = {"num_iterations": 60, "learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 500, "max_bin": 63}
HOLDOUT = "60d"

eta_model = model(
    name="eta_model",
    table=eta_table,
    params={"objective": "regression_l1", **TREES},
    holdout=HOLDOUT,
    gates=(
        Metric("mae").below(23),  # always answering the median gives 23.4 on the same 60 days
        NotWorseThanLive("mae", by=0.02),
    ),
)(prepare)

late_model = model(
    name="late_model",
    table=late_table,
    params={"objective": "binary", **TREES},
    holdout=HOLDOUT,
    gates=(
        Metric("auc").above(0.65),
        Metric("calibration_error").below(0.03),
        NotWorseThanLive("logloss", by=0.02),
    ),
)(prepare)

eta = Deployment(
    "eta",
    model=eta_model,
    postprocess=clip,
    description="Minutes late at arrival, from ids and what is known at departure.",
)

late = Deployment(
    "late",
    model=late_model,
    postprocess=probability,
    description="Probability of arriving more than 30 minutes late, from ids and what is known at departure.",
)
