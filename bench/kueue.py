"""Kubernetes with Kueue, on the real controllers: what handing in steps costs, how fast a hopeless one is refused, what is left behind.

    make bench BENCH=kueue      or      python -m bench.kueue [--seed N] [--steps 500] [--scenarios 200]

Starts a cluster of its own (binaries from the cache, else built), which ends with it.

- `requests_per_step`: what the API server has counted for the executor's account over the runs of one backfill, a watch per
  namespace and the preflight of each run included.
- `steps_per_s`, `submit_over_bare`: Jobs created per second by the executor, and that over a bare loop that creates the same Jobs,
  turn about.
- `refusal_seconds`: a request above every possible quota, from the run's start to its failure.
- `orphaned_jobs`: Jobs that go on although their run is over, after all of it and a run worker that was killed while its steps
  were queued; a janitor has come by once.
- `eta_median_error`, `whatif_agreement`: the model of admission beside the real Kueue, see bench/kueue_eta.py and kueue_model.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.kueue_eta import BURSTS
from bench.kueue_model import measure_model
from bench.kueue_submit import abandon, measure_refusal, measure_submission, orphaned
from bench.report import print_json, print_table
from deploy.devcluster.home import Wishes
from tests.cluster_case import own_cluster, teams_space

# the model's Workloads have no pods: a Kueue that evicts what is not ready in time would seem to disagree
PATIENT = Wishes(pods_ready_s=3600)
GOALS = {
    "requests_per_step": "<= 3.5",
    "steps_per_s": ">= 30, or the next",
    "submit_over_bare": ">= 0.7",
    "refusal_seconds": "<= 5",
    "eta_median_error": "<= 0.25",
    "whatif_agreement": ">= 0.95",
    "orphaned_jobs": "0",
}


def main(arguments: list[str]) -> int:
    """Measure everything; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the generated scenarios and waits")
    parser.add_argument("--steps", type=int, default=500, help="of the backfill")
    parser.add_argument("--scenarios", type=int, default=200, help="random worlds for whatif_agreement; 0 leaves the model out")
    parser.add_argument("--bursts", default=",".join(map(str, BURSTS)), help="steps that come at once, for eta_median_error")
    given = parser.parse_args(arguments)

    figures: dict[str, float] = {}
    detail: dict[str, object] = {"seed": given.seed, "steps": given.steps}
    with tempfile.TemporaryDirectory(prefix="bench-kueue-") as name, own_cluster(Path(name) / "cluster", PATIENT) as cluster:
        folder = Path(name)
        with teams_space(cluster, {"a": {"cpu": "32"}}) as space:
            rounds, instance = measure_submission(cluster, space, folder, steps=given.steps)
            figures |= rounds.figures()
            detail |= {"rounds": len(rounds.ours_s), "ours_s": rounds.ours_s, "bare_s": rounds.bare_s, "run_s": rounds.run_s}
            figures["refusal_seconds"], detail["refusal"] = measure_refusal(space, instance)
            detail["abandoned"] = abandon(cluster, space, instance, folder)
            left = orphaned(cluster, list(space.namespace.values()), instance)
            figures["orphaned_jobs"], detail["orphans"] = float(len(left)), left
        if given.scenarios:
            figures |= measure_model(
                cluster.kubeconfig, given.seed, scenarios=given.scenarios, bursts=[int(count) for count in given.bursts.split(",")]
            )

    print_table("Kueue", ["figure", "value", "goal"], [[name, f"{value:.4g}", GOALS.get(name, "")] for name, value in figures.items()])
    print_json("kueue", figures=figures, detail=detail, packages=["dagster", "dagster-k8s", "kubernetes"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
