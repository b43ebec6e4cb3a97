"""The packed online store beside its peers and beside the server's own floor.

    python -m bench.online [--quick] [--sizes 200000,2000000] [--peers layout,feast] [--servers redis7,valkey9] [--seed 0]

The first size is 1x: there everybody stores the same data (W1: 20 mixed scalars an entity) in the same server and reads
the same entities in the same round. Larger sizes are ours alone and give the exponents: 10x, and 100x or as many as the free memory
holds. Times are medians; CPU is client and server together unless a column says otherwise. Figures without a server's
name are of Redis 7 (of the first server in `--servers`), the others stand in `detail`.

- `ours`: `publish_generation`, `publish_delta`, `FeatureReader.read`; rows checked, one generation, numpy columns.
- `layout`: the published layout, a hash an entity, by redis-py and hiredis; `fast_layout`: the same, its requests made
  ready before the clock starts, its replies parsed by hiredis alone.
- `feast`: Feast 0.67 with Redis, in its own environment, measured inside its own process.
- `floor`: one raw MGET (pipelined raw SETs) of our keys and bytes, made ready before, its reply received and not looked at.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.online_data import VALUES, Rows, make_mixed, make_vectors
from bench.online_feast import Feast, opened
from bench.online_layout import PublishedLayout
from bench.online_ours import Ours
from bench.online_reads import Measured, Reader, feast_reader, floor_reader, layout_readers, reader_of, rounds_of_reads
from bench.online_scale import exponents, that_fit
from bench.online_servers import SERVERS, Server, started
from bench.online_truth import compare_feast, compare_layout, compare_ours, cosine_min
from bench.online_writes import Cost, cost_of, deltas, generations, middle
from bench.report import print_json, print_table

READ_SIZES = (1000, 5000)
DELTA_SHARE = 10
VECTOR_ENTITIES = 50_000


@dataclass(frozen=True)
class Plan:
    """How much is done."""

    sizes: tuple[int, ...]
    servers: tuple[str, ...]
    peers: frozenset[str]
    seed: int
    rounds: int
    writes: int
    feast_every: int
    read_sizes: tuple[int, ...]
    vectors: int

    @classmethod
    def of(cls, options: argparse.Namespace) -> Plan:
        """From the command line; `--quick` is a smoke test whose numbers mean little."""
        default = (2000, 8000) if options.quick else (200_000, 2_000_000, that_fit(20_000_000))
        sizes = tuple(map(int, options.sizes.split(","))) if options.sizes else default
        peers = frozenset(filter(None, options.peers.split(",")))
        servers = tuple(options.servers.split(","))
        if options.quick:
            return cls(sizes, servers, peers, options.seed, 2, 2, 2, (100, 500), 1000)
        return cls(sizes, servers, peers, options.seed, options.rounds, 5, 10, READ_SIZES, VECTOR_ENTITIES)


@dataclass
class Found:
    """What one server gave."""

    figures: dict[str, float] = field(default_factory=dict)
    detail: dict[str, object] = field(default_factory=dict)


def measure(plan: Plan, name: str, folder: Path) -> Found:
    """Everything at 1x on one server."""
    rows, found = make_mixed(plan.sizes[0], seed=plan.seed), Found()
    with started(name) as server:
        found.detail["server"] = server.version
        writes(plan, server, rows, folder, found)
        vectors(plan, server, folder, found)
        dense(plan, server, rows, folder, found)
    with started(name) as server, ExitStack() as stack:
        reads(plan, server, rows, folder, stack, found)
    return found


def writes(plan: Plan, server: Server, rows: Rows, folder: Path, found: Found) -> None:
    """Generations and deltas beside their floors."""
    costs = generations(rows, server, folder / "generations", rounds=plan.writes)
    delta = deltas(rows, server, folder / "deltas", share=DELTA_SHARE, rounds=plan.writes)
    found.figures["generation_over_floor"] = costs["generation"].cpu_s / costs["floor_set"].cpu_s
    found.figures["publication_over_floor"] = costs["publication"].cpu_s / costs["floor_set"].cpu_s
    found.figures["delta_over_floor"] = delta["delta"].cpu_s / delta["floor_guarded"].cpu_s
    table(f"{server.name}: writes of {len(rows):,} rows, medians of {plan.writes}", costs, len(rows))
    table(f"{server.name}: deltas of {len(rows) // DELTA_SHARE:,} rows, medians of {plan.writes}", delta, len(rows) // DELTA_SHARE)
    found.detail["writes"] = {key: cost_json(cost) for key, cost in {**costs, **delta}.items()}


def vectors(plan: Plan, server: Server, folder: Path, found: Found) -> None:
    """W3: bytes an entity, and what int8 does to a vector."""
    rows, exact = make_vectors(plan.vectors, seed=plan.seed)
    before = server.used_bytes()
    ours = Ours(server, rows, folder / "vectors")
    ours.publish()
    found.figures["bytes_per_vector_entity"] = (server.used_bytes() - before) / len(rows)
    found.figures["vector_cosine_min"] = cosine_min(ours, exact)
    server.client().flushall()


def dense(plan: Plan, server: Server, rows: Rows, folder: Path, found: Found) -> None:
    """The same rows in layout "dense": bytes, and what reading them costs."""
    before = server.used_bytes()
    ours = Ours(server, rows, folder / "dense", layout="dense")
    cost = cost_of(ours.publish, server)
    found.figures[f"bytes_per_value_dense_{server.name}"] = (server.used_bytes() - before) / len(rows) / VALUES
    compare_ours(ours)
    found.detail["dense_publish"] = cost_json(cost)
    for size in plan.read_sizes:
        measured = rounds_of_reads(
            {"dense": reader_of(ours)}, rows.ids, server=server, size=size, rounds=plan.rounds, seed=plan.seed, few={}
        )
        found.detail[f"dense_read_{size}_ms"] = milliseconds(measured["dense"])
    server.client().flushall()


def reads(plan: Plan, server: Server, rows: Rows, folder: Path, stack: ExitStack, found: Found) -> None:
    """Load everybody's copy, ours between the peers' so that the machine's moods fall on all; compare; then read in rounds."""
    loads: dict[str, list[Cost]] = {}
    memory: dict[str, int] = {}
    readers: dict[str, Reader] = {}
    few: dict[str, int] = {}
    ours = Ours(server, rows, folder / "reads")

    def load(name: str, run: Callable[[], object]) -> None:
        before = server.used_bytes()
        loads.setdefault(name, []).append(cost_of(run, server))
        memory.setdefault(name, server.used_bytes() - before)

    ours.publish()  # what a server takes once and for all, whatever is stored, is nobody's
    server.client().flushall()
    load("ours", ours.publish)
    server.client().flushall()
    if "layout" in plan.peers:
        layout = PublishedLayout(server, rows)
        rows.texts  # noqa: B018  made once, untimed
        load("layout", layout.write)
        server.client().flushall()
        load("ours", ours.publish)
        server.client().flushall()
    if "feast" in plan.peers:
        feast: Feast = stack.enter_context(opened(server, rows, folder))
        load("feast", feast.write)
        readers["feast"], few["feast"] = feast_reader(feast), plan.feast_every
    load("ours", ours.publish)
    compare_ours(ours)
    if "layout" in plan.peers:
        load("layout", layout.write)
        compare_layout(layout, ours)
        readers |= layout_readers(layout)
    if "feast" in plan.peers:
        compare_feast(feast, ours)
    readers = {"ours": reader_of(ours), "floor": floor_reader(ours), **readers}
    costs = {name: middle(some) for name, some in loads.items()}
    found.figures[f"bytes_per_value_{server.name}"] = memory["ours"] / len(rows) / VALUES
    found.detail["bytes_per_value"] = {name: round(size / len(rows) / VALUES, 3) for name, size in memory.items()}
    found.detail["loads"] = {name: cost_json(cost) for name, cost in costs.items()}
    table(f"{server.name}: publications of {len(rows):,} rows beside each other, medians", costs, len(rows))
    for peer in costs.keys() - {"ours"}:
        found.figures[f"publish_ours_over_{peer}"] = costs[peer].wall_s / costs["ours"].wall_s
    gc.collect()
    gc.freeze()  # the tables of the benchmark itself are no garbage of a reader's
    for size in plan.read_sizes:
        measured = rounds_of_reads(readers, rows.ids, server=server, size=size, rounds=plan.rounds, seed=plan.seed, few=few)
        ratios(size, measured, found)
        columns = ["", "p50", "p99", "client CPU", "server CPU", "CPU"]
        title = f"{server.name}: reads of {size:,} entities to numpy, medians of {plan.rounds} rounds, ms"
        print_table(title, columns, [one.row(name) for name, one in measured.items()])
        found.detail[f"read_{size}_ms"] = {name: milliseconds(one) for name, one in measured.items()}


def milliseconds(measured: Measured) -> list[float]:
    """p50, p99, client CPU, server CPU, CPU."""
    return [round(one * 1e3, 4) for one in measured.figures()]


def ratios(size: int, measured: Mapping[str, Measured], found: Found) -> None:
    """The figures of one request size."""
    ours = measured["ours"]
    found.figures[f"read_{size}_cpu_over_floor"] = ours.cpu_s / measured["floor"].cpu_s
    for peer, name in (("feast", "feast"), ("layout", "layout"), ("fast_layout", "fastlayout")):
        if peer in measured and measured[peer].wall_s:
            found.figures[f"read_{size}_{name}_over_ours"] = measured[peer].p50_s / ours.p50_s


def table(title: str, costs: Mapping[str, Cost], rows: int) -> None:
    """Writes."""
    columns = ["", "wall µs/row", "client CPU", "server CPU", "CPU", "M values/s"]
    print_table(title, columns, [cost.row(name, rows, VALUES) for name, cost in costs.items()])


def cost_json(cost: Cost) -> dict[str, float]:
    """For the last line."""
    return {name: round(getattr(cost, name), 4) for name in ("wall_s", "client_s", "server_s")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test of seconds")
    parser.add_argument("--sizes", default="", help="entities, comma-separated; the first is 1x")
    parser.add_argument("--peers", default="layout,feast", help="layout, feast, both or empty")
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--rounds", type=int, default=40, help="of reads, four counted requests each")
    parser.add_argument("--seed", type=int, default=0)
    plan = Plan.of(parser.parse_args(arguments))
    figures: dict[str, float] = {}
    detail: dict[str, object] = {"entities": plan.sizes[0], "values": VALUES, "seed": plan.seed, "rounds": plan.rounds}
    with tempfile.TemporaryDirectory(prefix="bench-online-") as folder:
        for name in plan.servers:
            found = measure(plan, name, Path(folder) / name)
            figures = {**found.figures, **figures}
            detail[name] = {**found.detail, "figures": {key: float(f"{value:.4g}") for key, value in found.figures.items()}}
        if len(plan.sizes) > 1:
            found_exponents, detail["scale"] = exponents(plan.sizes, plan.servers[0], Path(folder) / "scale", seed=plan.seed)
            figures |= found_exponents
    print_json("online", figures=figures, detail=detail, packages=["tiffin", "numpy", "redis", "hiredis"])


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
