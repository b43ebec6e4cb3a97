"""Prove the demo from outside: ask both endpoints, recompute their answers from the tables, count what Dagster holds.

It imports nothing of the library: Dagster over GraphQL, plain deltalake, plain lightgbm, plain
tritonclient, plain boto3. The last line it prints is one JSON object; it exits 1 when a single bit
differs, or when an asset or a partition that the teams promise is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import lightgbm
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tritonclient.grpc as triton
from deltalake import DeltaTable

US = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_DAYS, YEAR_HOURS = 365, 365 * 24
DAILY = {
    *("network/airport_weather", "network/airport_traffic", "network/route_delays", "network/route_carriers"),
    *("fleet/carrier_delays", "fleet/carrier_profile", "fleet/plane_days"),
}
HOURLY, WHOLE = {"network/airport_hours"}, {"fleet/planes"}
# the teams' postprocess functions, written down again
ANSWERS = {"eta": lambda scores: np.clip(scores, -90.0, 720.0), "late": lambda scores: scores}
DTYPES = {
    "i8": ("INT8", np.int8),
    "i16": ("INT16", np.int16),
    "i32": ("INT32", np.int32),
    "i64": ("INT64", np.int64),
    "f32": ("FP32", np.float32),
}


def us(instant: datetime) -> int:
    return (instant - EPOCH) // US


class House:
    """The running stack as its state file describes it."""

    def __init__(self, home: Path) -> None:
        state = json.loads((home / "state.json").read_text())
        self.settings = state["settings"]
        self.tables: dict[str, pa.Table] = {}
        self.dagster = f"http://127.0.0.1:{state['parts']['webserver']['ports']['http']}"
        self.triton = self.settings["TIFFIN_TRITON_GRPC"]
        self.as_of = datetime.fromisoformat(self.settings["TIFFIN_AS_OF"]).astimezone(UTC)
        self.prod = boto3.client(
            "s3",
            endpoint_url=self.settings["TIFFIN_S3_ENDPOINT"],
            region_name="us-east-1",
            aws_access_key_id=self.settings["TIFFIN_PROD_READ_ACCESS_KEY"],
            aws_secret_access_key=self.settings["TIFFIN_PROD_READ_SECRET_KEY"],
        )

    def promoted(self, key: str, digest: str | None = None) -> bytes:
        """An object of the prod bucket; with a digest, exactly those bytes."""
        data = self.prod.get_object(Bucket="prod", Key=key)["Body"].read()
        if digest is not None and hashlib.sha256(data).hexdigest() != digest:
            raise SystemExit(f"prod object {key} is not the bytes that its manifest names")
        return data

    def blob(self, digest: str) -> bytes:
        return self.promoted(f"blobs/{digest[:2]}/{digest}", digest)

    def manifest(self, kind: str, digest: str) -> dict[str, Any]:
        return json.loads(self.promoted(f"manifests/{kind}/{digest}.json", digest))

    def table(self, path: str) -> pa.Table:
        """A whole table of the dev bucket; read once."""
        if path not in self.tables:
            self.tables[path] = self.read(path)
        return self.tables[path]

    def read(self, path: str) -> pa.Table:
        options = {
            "AWS_ENDPOINT_URL": self.settings["TIFFIN_S3_ENDPOINT"],
            "AWS_ACCESS_KEY_ID": self.settings["TIFFIN_DEV_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": self.settings["TIFFIN_DEV_SECRET_KEY"],
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        return DeltaTable(f"s3://dev/tables/{path}", storage_options=options).to_pyarrow_table()

    def counted(self) -> dict[str, tuple[int, int | None, int | None]]:
        """By asset: materialised at all (0 or 1), and of a partitioned one its materialised and all its partitions."""
        query = """{ assetNodes { assetKey { path } isMaterializable partitionStats { numMaterialized numPartitions }
          assetMaterializations(limit: 1) { timestamp } } }"""
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.dagster}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            nodes = json.load(answer)["data"]["assetNodes"]
        found = {}
        for node in nodes:
            if node["isMaterializable"]:
                stats = node["partitionStats"] or {}
                made = int(bool(node["assetMaterializations"]))
                found["/".join(node["assetKey"]["path"])] = (made, stats.get("numMaterialized"), stats.get("numPartitions"))
        return found


def promised() -> set[str]:
    """Every asset of the three teams."""
    views = DAILY | HOURLY | WHOLE
    made = {f"eta/{name}{part}" for name in ("eta", "late") for part in ("", "_table", "_model")}
    return {"raw/flights", "raw/weather", "raw/planes"} | views | {f"{view}_online" for view in views} | made


def missing(counted: dict[str, tuple[int, int | None, int | None]], *, hours: int) -> list[str]:
    """What the teams promise and Dagster does not hold, or holds beside it.

    Args:
        hours: how many of the hourly view's partitions were asked for.
    """
    found = [f"no asset {name}" for name in sorted(promised() - set(counted))]
    found += [f"an asset that nobody promised: {name}" for name in sorted(set(counted) - promised())]
    for name, (made, partitions, declared) in sorted(counted.items()):
        whole = YEAR_DAYS if name in DAILY else YEAR_HOURS if name in HOURLY else None
        wanted = min(hours, YEAR_HOURS) if name in HOURLY else whole
        if not made:
            found.append(f"{name} is not materialised")
        if declared != whole:
            found.append(f"{name} declares {declared} partitions, promised are {whole}")
        elif wanted is not None and (partitions or 0) < wanted:
            found.append(f"{name} holds {partitions} of {wanted} partitions")
    return found


def newest_known(rows: pa.Table, view: dict[str, Any], now_us: int) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Per key the row that is served at `now_us`: known by then, newest event time, not past its time to live."""
    names = [column["name"] for column in view["row_schema"]["columns"]]
    keys = [key["name"] for key in view["entity"]["keys"]]
    best: dict[tuple[Any, ...], tuple[tuple[int, int], dict[str, Any]]] = {}
    ttl = view["ttl_us"]
    if ttl is not None:  # a row that has expired by now cannot be the newest that is alive, nor hide one that is
        rows = rows.filter(pc.greater_equal(rows["event_time"], pa.scalar(EPOCH + (now_us - ttl) * US)))
    for row in rows.to_pylist():
        event, known = us(row["event_time"]), us(row["known_at"])
        key = tuple(row[name] for name in keys)
        if known <= now_us and (key not in best or (event, known) > best[key][0]):
            best[key] = ((event, known), {name: row[name] for name in names})
    return {key: row for key, ((event, _), row) in best.items() if ttl is None or now_us - event <= ttl}


def column_of(values: list[Any], encoding: str) -> np.ndarray:
    """A batch's column: numbers as float64, vectors as float32 `(rows, size)`, both NaN for null; text and lists as objects."""
    if encoding.startswith("vec:"):
        size = int(encoding.split(":")[1])
        return np.array([[np.nan] * size if value is None else value for value in values], np.float32).reshape(-1, size)
    if encoding.startswith(("str:", "cat:", "ints:")):
        made = np.empty(len(values), object)
        made[:] = [np.array(value, np.int64) if isinstance(value, list) else value for value in values]
        return made
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def preprocess_of(house: House, deployment: dict[str, Any]) -> Any:
    """The promoted preprocess function, from its exact bytes."""
    step = next(name for name in deployment["steps"] if name.startswith("preprocess--"))
    files = {file["path"]: file["digest"] for file in deployment["files"] if file["path"].startswith(f"{step}/")}
    path = next(path for path in files if path.endswith("/inputs.py"))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "inputs.py"
        source.write_bytes(house.blob(files[path]))
        spec = importlib.util.spec_from_file_location("promoted_inputs", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module.prepare


def departures(house: House, deployment: dict[str, Any]) -> dict[str, np.ndarray]:
    """Ids and request-time fields of every flight that departs in (as of, as of + 24 h]."""
    flights = house.table("raw/flights")
    start, end = pa.scalar(house.as_of), pa.scalar(house.as_of + timedelta(hours=24))
    at = flights["sched_dep_at"]
    chosen = flights.filter(pc.and_(pc.greater(at, start), pc.less_equal(at, end))).sort_by(
        [("sched_dep_at", "ascending"), ("carrier", "ascending"), ("flight", "ascending"), ("origin", "ascending")]
    )
    return {field["name"]: chosen[field["name"]].to_numpy(zero_copy_only=False) for field in deployment["request"]}


def recompute(house: House, deployment: dict[str, Any], asked: dict[str, np.ndarray]) -> np.ndarray:
    """The answers, from the offline tables and the promoted model alone."""
    rows = len(next(iter(asked.values())))
    fields = [field["name"] for field in deployment["request"]]
    batch: dict[str, np.ndarray] = {
        name: asked[name].astype(object) if asked[name].dtype == object else asked[name].astype(np.float64) for name in fields
    }
    for view in deployment["views"]:
        served = newest_known(house.table(f"{view['team']}/{view['name']}"), view, us(house.as_of))
        parts = [asked[key["name"]] for key in view["entity"]["keys"]]
        found = [served.get(tuple(part[row] for part in parts), {}) for row in range(rows)]
        for column in view["row_schema"]["columns"]:
            values = [row.get(column["name"]) for row in found]
            batch[f"{view['name']}__{column['name']}"] = column_of(values, column["encoding"])
    model = house.manifest("model", deployment["model"])
    inputs = preprocess_of(house, deployment)(batch)
    matrix = np.column_stack([np.asarray(inputs[name], np.float64) for name in model["inputs"]])
    text = next(file["digest"] for file in model["files"] if file["path"] == "model.txt")
    booster = lightgbm.Booster(model_str=house.blob(text).decode())
    return np.asarray(ANSWERS[deployment["name"]](booster.predict(matrix, num_threads=1)), np.float64)


def request(deployment: dict[str, Any], asked: dict[str, np.ndarray], rows: slice | np.ndarray) -> list[triton.InferInput]:
    inputs = []
    for field in deployment["request"]:
        values = asked[field["name"]][rows]
        if field["encoding"].startswith("str"):
            name, data = "BYTES", np.array([b"\x00" if value is None else value.encode() for value in values], object)
        else:
            name, dtype = DTYPES[field["encoding"]]
            data = values.astype(dtype)
        tensor = triton.InferInput(field["name"], [len(data), 1], name)
        tensor.set_data_from_numpy(data.reshape(-1, 1))
        inputs.append(tensor)
    return inputs


def latency_ms(client: triton.InferenceServerClient, endpoint: str, inputs: list[triton.InferInput], *, warm_up: int, calls: int) -> float:
    for _ in range(warm_up):
        client.infer(endpoint, inputs)
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        client.infer(endpoint, inputs)
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds) * 1e3, 3)


def examine(house: House, client: triton.InferenceServerClient, name: str, *, calls: int) -> tuple[dict[str, Any], list[str]]:
    """One endpoint: its answers for every departure of the next 24 hours beside the recomputed ones, its latency, its steps."""
    deployment = house.manifest("deployment", json.loads(house.promoted(f"pointers/deployment/eta/{name}.json"))["manifest"])
    asked = departures(house, deployment)
    rows = len(next(iter(asked.values())))
    (output,) = deployment["outputs"]
    live = client.infer(name, request(deployment, asked, slice(None))).as_numpy(output).reshape(-1)
    recomputed = recompute(house, deployment, asked)
    differing = int(np.count_nonzero(live.view(np.int64) != recomputed.view(np.int64)))
    flight = ", ".join(f"{field}={values[0]}" for field, values in asked.items())
    print(f"asked    {name}({flight}): {output} = {live[0]:.4g}; recomputed from the tables: {recomputed[0]:.4g}")
    print(f"compared {rows} departures of the next 24 hours: {differing} differ in any bit")
    report = {
        "prediction": float(live[0]),
        "prediction_recomputed": float(recomputed[0]),
        "flights_compared": rows,
        "flights_differing": differing,
        "latency_ms_p50": latency_ms(client, name, request(deployment, asked, slice(0, 1)), warm_up=100, calls=calls),
        "latency_ms_p50_1000": latency_ms(client, name, request(deployment, asked, np.arange(1000) % rows), warm_up=10, calls=calls // 10),
    }
    return report, deployment["steps"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(".tiffin"))
    parser.add_argument("--started", type=float, default=time.time(), help="when the demo began, seconds since 1970")
    parser.add_argument("--hours", type=int, default=YEAR_HOURS, help="how many of the hourly view's partitions were asked for")
    options = parser.parse_args()
    house = House(options.home)
    client = triton.InferenceServerClient(house.triton)
    endpoints, steps = {}, {}
    for name, calls in (("eta", 1000), ("late", 200)):
        endpoints[name], steps[name] = examine(house, client, name, calls=calls)
    counted = house.counted()
    lacking = missing(counted, hours=options.hours)
    report = {
        "seconds": 0.0,
        "dagster_ui": house.dagster,
        "triton_grpc": house.triton,
        "assets_materialized": sum(made for made, _, _ in counted.values()),
        "partitions": sum(partitions or 0 for _, partitions, _ in counted.values()),
        "as_of": house.as_of.isoformat(),
        **endpoints["eta"],
        "endpoints": endpoints,
        "shared_steps": [step for step in steps["eta"] if step in steps["late"]],
        "partitions_by_view": {name: partitions for name, (_, partitions, _) in sorted(counted.items()) if partitions is not None},
        "missing": lacking,
    }
    report["seconds"] = round(time.time() - options.started, 1)
    print(f"counted  {report['assets_materialized']} assets, {report['partitions']} partitions; {len(lacking)} promises not kept")
    print("".join(f"missing  {one}\n" for one in lacking), end="")
    print(f"Dagster  {house.dagster}/asset-groups   (stop everything: make down)")
    print(json.dumps(report))
    return 1 if lacking or any(one["flights_differing"] for one in endpoints.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
