"""The platform's own code location on a cluster: the janitor, the usage collector, the daily bill and the budgets.

It reads its addresses and keys when it works, not when it is loaded. Prices and budgets come from `prices.yaml` and
`budgets.yaml` in `TIFFIN_HOME`, which `tiffin teams render` writes.
"""

from __future__ import annotations

from datetime import date

import dagster as dg
import yaml

from resources.stack import object_store, stack_resources
from sensors.budget import TeamBudget, budget_sensor, read_budgets
from sensors.janitor import janitor_sensor
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.prices import Prices
from tiffin.core.errors import NotFound
from tiffin.core.settings import Settings
from tiffin.manifests.signing import Verifier
from tiffin.orchestration.cost_assets import cost_schedule, daily_cost, usage_sensor
from tiffin.orchestration.cost_measure import measure_online
from tiffin.storage.objects import ObjectStore

__all__ = ["definitions"]

FIRST_DAY = date(2026, 1, 1)


def prices() -> Prices:
    """What the platform team asks, as it stands now.

    Raises:
        NotFound: nobody has put the file there.
        Invalid: it is not one of prices.
    """
    path = Settings.from_environment().home / "prices.yaml"
    if not path.exists():
        raise NotFound(f"there is no {str(path)!r}", fix="mount the ConfigMap dagster-prices there (deploy/kubernetes/base/platform.yaml)")
    return Prices.parse(yaml.safe_load(path.read_text()))


def budgets() -> dict[str, TeamBudget]:
    """What each team may cost, as it stands now. Raises as `prices`."""
    return read_budgets(Settings.from_environment().home / "budgets.yaml")


def open_cluster() -> KubernetesCluster:
    """The cluster that this location runs on."""
    return KubernetesCluster.connect(Settings.from_environment().need("cluster"), agent="tiffin-usage")


def open_store() -> ObjectStore:
    """The dev bucket, where usage records are kept."""
    return object_store(Settings.from_environment(), "dev")


def open_prod() -> tuple[ObjectStore, Verifier]:
    """The prod bucket, to read which editions are online."""
    settings = Settings.from_environment()
    return object_store(settings, "prod_read"), Verifier(settings.need("signing_public_key"))


bill = daily_cost(prices, first_day=FIRST_DAY)
definitions = dg.Definitions(
    assets=[bill],
    schedules=[cost_schedule(bill)],
    sensors=[
        janitor_sensor(),
        usage_sensor(open_cluster, open_store, measure=measure_online(open_prod)),
        budget_sensor(open_cluster, open_store, prices, budgets),
    ],
    resources=stack_resources(),
    executor=dg.in_process_executor,
)
