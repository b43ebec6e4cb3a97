"""A stage for serving tests: real Valkey, real Triton, two buckets in folders, a signer, an agent driven by hand."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from tests.serving_case import CARRIERS, NOW_US, ORIGINS, TEAM, Case, delays, feature_values, places, training_rows
from tiffin.core.digests import digest_bytes
from tiffin.core.settings import Settings
from tiffin.embedded.serving_env import serving_python
from tiffin.embedded.triton import TritonServer, start_triton
from tiffin.embedded.valkey import Valkey, start_valkey
from tiffin.features.arrow_values import to_values
from tiffin.manifests.records import ViewRecord
from tiffin.manifests.signing import Signer, Verifier, generate_key
from tiffin.online.publisher import publish_generation
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.registry.models import save_model
from tiffin.registry.promote import promote, rollback
from tiffin.serving.agent import build
from tiffin.serving.client import predict
from tiffin.serving.publish import publish_deployment
from tiffin.serving.rounds import Agent
from tiffin.serving.watch import Watch
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import blob_key
from tiffin.storage.objects import ObjectStore, put_blob
from tiffin.wire.keys import encode_keys

KEYS = {"delays": [("carrier", "string")], "places": [("carrier", "string"), ("origin", "string")]}
REQUEST = ("carrier", "origin", "distance", "wind", "note")


class Switch:
    """A store that can be taken away."""

    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.down = False

    def __getattr__(self, name: str) -> Any:
        from tiffin.core.errors import NotReady

        if self.down:
            raise NotReady("the object store does not answer", fix="start it")
        return getattr(self.inner, name)


def online_tables(seed: int) -> dict[str, pa.Table]:
    """Feature rows by view, one per entity; the last carrier and some pairs are unknown."""
    rng = np.random.default_rng(seed)
    known = CARRIERS[:-1]
    pairs = [(carrier, origin) for carrier in CARRIERS for origin in ORIGINS if (carrier, origin) != ("AA", "JFK")]
    one, two = feature_values(rng, len(known)), feature_values(rng, len(pairs))
    first = {"carrier": pa.array(known)} | {name.partition("__")[2]: values for name, values in one.items() if name.startswith("delays__")}
    second = {"carrier": pa.array([pair[0] for pair in pairs]), "origin": pa.array([pair[1] for pair in pairs])}
    second |= {name.partition("__")[2]: values for name, values in two.items() if name.startswith("places__")}
    return {"delays": pa.table(first), "places": pa.table(second)}


def with_online_features(rows: pa.Table, tables: Mapping[str, pa.Table]) -> pa.Table:
    """Training rows whose features are those of `tables`, looked up by a plain dictionary."""
    for view in (delays, places):
        table, key_names = tables[view.name], [name for name, _ in KEYS[view.name]]
        places_of = {tuple(row[name] for name in key_names): number for number, row in enumerate(table.select(key_names).to_pylist())}
        index = pa.array([places_of.get(tuple(row[name] for name in key_names)) for row in rows.select(key_names).to_pylist()], pa.int64())
        for feature in view.features:
            name = f"{view.name}__{feature.name}"
            values = table[feature.name].combine_chunks().take(index)
            rows = rows.set_column(rows.column_names.index(name), name, values)
    return rows


def request_of(rows: pa.Table) -> dict[str, list[Any]]:
    """Ids and request-time fields only."""
    return {name: rows[name].to_pylist() for name in REQUEST}


def bits(array: np.ndarray) -> list[int]:
    """Float64 bits; every NaN is one."""
    clean = np.array(array, dtype=np.float64)
    clean[np.isnan(clean)] = np.nan
    found: list[int] = clean.view(np.uint64).tolist()
    return found


@dataclass
class Stage:
    """Everything at hand, and what a test does with it."""

    folder: Path
    triton: TritonServer
    valkey: Valkey
    dev: FolderStore
    prod: FolderStore
    signer: Signer
    remote: Switch = field(init=False)
    agent: Agent = field(init=False)
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        self.remote = Switch(self.prod)
        self.start_agent()

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.signer.public_hex)

    @property
    def store(self) -> RedisStore:
        return RedisStore(connect(self.valkey.publisher))

    def start_agent(self) -> None:
        """A new agent over the same folder, as after a restart."""
        self.agent, self.watch = build(
            self.folder / "serving",
            triton_grpc=self.triton.grpc,
            prod=self.remote,
            verifier=self.verifier,
            online=self.store,
            reader_url=self.valkey.reader,
        )

    def round(self) -> dict[str, Any]:
        """Look at prod, do one round, and give the status."""
        self.agent.round(self.watch.look())
        return self.agent.status()

    def until(self, done: Callable[[dict[str, Any]], bool], *, limit_s: float = 60) -> dict[str, Any]:
        """Rounds until the status is as wanted."""
        end = time.monotonic() + limit_s
        while not done(status := self.round()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {limit_s} s: {status}")
            time.sleep(0.05)
        return status

    def until_ready(self) -> dict[str, Any]:
        return self.until(lambda status: status["ready"] and bool(status["deployments"]))

    def promote(self, kind: Any, digest: str) -> None:
        promote(kind, digest, dev=self.dev, prod=self.prod, signer=self.signer)

    def publish_views(self, seed: int, views: tuple[ViewRecord, ...]) -> dict[str, pa.Table]:
        """Publish one generation of every view; returns its rows."""
        tables = online_tables(seed)
        for view in views:
            table, spec = tables[view.name], {"delays": delays, "places": places}[view.name]
            keys, valid = encode_keys(KEYS[view.name], {name: table[name].to_pylist() for name, _ in KEYS[view.name]})
            assert valid.all()
            columns = {one.name: to_values(table[one.name].combine_chunks(), one.column) for one in spec.features}
            publish_generation(
                view,
                keys=keys,
                columns=columns,
                event_time_us=np.full(len(keys), NOW_US, dtype=np.int64),
                watermark_us=NOW_US,
                as_of_us=NOW_US,
                dev=self.dev,
                promote=lambda digest: self.promote("generation", digest),
                store=self.store,
            )
        return tables

    def ship(self, case: Case, **changes: Any) -> str:
        """Save the model, render, publish to dev, promote; returns the deployment manifest's digest."""
        assert put_blob(self.dev, case.archive) == digest_bytes(case.archive)
        save_model(self.dev, case.model, case.model_files)
        for view in case.views:
            self.dev.put(f"manifests/view/{view.address}.json", view.to_bytes())
        digest = publish_deployment(self.dev, case.render(**changes))
        self.promote("deployment", digest)
        return digest

    def roll_back(self, name: str) -> None:
        rollback("deployment", TEAM, name, prod=self.prod)

    def ask(self, rows: pa.Table, name: str = "eta") -> dict[str, list[int]]:
        """The live endpoint's answer to ids and fields, as bits."""
        return {output: bits(values) for output, values in predict(self.triton.grpc, name, request_of(rows)).items()}

    def expect(self, case: Case, rows: pa.Table) -> dict[str, list[int]]:
        """The offline answer to rows with their features, as bits."""
        return {output: bits(values) for output, values in case.offline(rows).items()}

    def rows(self, seed: int, count: int, tables: Mapping[str, pa.Table]) -> pa.Table:
        """Requests with the features that are online."""
        return with_online_features(training_rows(seed, count), tables)

    def stubs(self, step: str) -> list[psutil.Process]:
        """Living python processes of a step (by its title, or its hashed name) whose parent is this Triton."""
        named = f"/{step}/" if "--" in step else f"/{step}--"
        found = []
        for one in psutil.Process(self.triton.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # or a zombie, which Triton does not collect
                if any(named in f"{word}/" for word in one.cmdline()):
                    found.append(one)
        return found

    def damage(self, digest: str) -> None:
        """Change one byte of a blob in prod."""
        path = self.prod.path / blob_key(digest)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def restart_triton(self) -> None:
        """Kill it and start an empty one at the same ports."""
        self.triton.stop(grace_s=1)
        self.triton = start_triton(self.folder / "serving", environment(), ports=self.triton.ports)

    def flush(self) -> None:
        """Empty the online store."""
        connect(self.valkey.admin).flushall()

    def reset(self, case: Case, digest: str) -> None:
        """Only this edition in prod, whole; live, and nothing else remembered of what other tests did."""
        self.remote.down = False
        shutil.rmtree(self.prod.path / "pointers" / "deployment", ignore_errors=True)
        shutil.rmtree(self.folder / "serving" / "cache", ignore_errors=True)
        self.publish_views(1, case.views)
        self.promote("deployment", digest)
        if not self.triton.alive():
            self.restart_triton()
        self.until(lambda status: status["ready"] and status["deployments"].get("eta/eta", {}).get("manifest") == digest)
        self.agent.served[TEAM, "eta"].previous = None
        self.agent.healed.clear()
        self.agent.tidy()
        self.agent.loader.fetch(TEAM, "eta", digest)


def environment() -> Path:
    """The serving environment of this lock file, from the cache."""
    return serving_python(Settings.from_environment().cache)


@contextlib.contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Start the servers, and stop them whatever happens."""
    with contextlib.ExitStack() as stack:
        valkey = start_valkey(folder / "valkey")
        stack.callback(valkey.stop)
        triton = start_triton(folder / "serving", environment())
        stage = Stage(folder, triton, valkey, FolderStore(folder / "dev"), FolderStore(folder / "prod"), generate_key())
        stack.callback(lambda: stage.triton.stop(grace_s=2))
        yield stage
