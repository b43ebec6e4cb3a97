"""Mistakes people make while operating: each gives one error that names the thing and the fix, and changes nothing."""

from __future__ import annotations

import importlib.util
import json
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests import training_problem
from tests.flight_views import START, day, landings, make_view, returning
from tests.online_case import T0, online_view, view_record
from tests.online_case import edition as an_edition
from tests.registry_records import write_deployment, write_generation, write_model
from tests.training_problem import NOW, make_model, make_spine, make_table, order_rows, records, stored_views, training_rows
from tiffin.core.errors import Corrupt, Denied, Invalid, NotFound, NotReady, PlatformError
from tiffin.core.settings import Settings
from tiffin.embedded.operate import Operator, open_stack
from tiffin.embedded.processes import free_port
from tiffin.embedded.serving_env import serving_python
from tiffin.embedded.stack import Stack, down, load, up
from tiffin.embedded.state import StackState, state_path, write_state
from tiffin.embedded.triton import PROBE_MODEL, TritonServer, start_triton
from tiffin.features import Feature, Float32, Int16
from tiffin.features.offline import materialise
from tiffin.online.fast_source import open_source
from tiffin.online.publisher import publish_generation
from tiffin.online.reader import FeatureReader
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.registry.models import load_model, publish_record
from tiffin.registry.pointers import current
from tiffin.registry.snapshot import snapshot
from tiffin.serving.client import predict
from tiffin.serving.team_code import team_code
from tiffin.serving.triton import Triton
from tiffin.storage.delta import DeltaStore
from tiffin.storage.folder import FolderStore
from tiffin.storage.layout import blob_key
from tiffin.storage.s3 import S3Store
from tiffin.training.build import build
from tiffin.training.fit import train

LANDED = landings(("UA", 1, 5.0), ("AA", 2, 1.0), ("UA", 23, 7.0))
ENDPOINT = {
    "name": "eta",
    "backend": "python",
    "max_batch_size": 8,
    "input": [{"name": name, "data_type": "TYPE_FP64", "dims": [1]} for name in ("x", "distance")],
    "output": [{"name": "y", "data_type": "TYPE_FP64", "dims": [1]}],
    "instance_group": [{"kind": "KIND_CPU", "count": 1}],
}


class Servers:
    """A stack of an object store and an online store, and a Triton with one endpoint: started once, by whom needs them first."""

    def __init__(self, folder: Path, stopped: ExitStack) -> None:
        self.folder, self.stopped = folder, stopped

    @cached_property
    def stack(self) -> Stack:
        home = self.folder / "home"
        self.stopped.callback(down, home, force=True)
        return up(home, parts=["valkey", "seaweed"], settings=Settings(cache=self.folder / "cache"))

    @cached_property
    def triton(self) -> TritonServer:
        server = start_triton(self.folder / "serving", serving_python(Settings.from_environment().cache))
        self.stopped.callback(server.stop, grace_s=2)
        with closing(Triton(server.grpc, control_key=server.control_key)) as client:
            client.load("eta", config=ENDPOINT, files={"1/model.py": PROBE_MODEL})
        return server


@dataclass
class Here:
    """What a mistake is made with: the shared servers, and a folder of its own."""

    servers: Servers
    folder: Path

    @property
    def settings(self) -> Settings:
        return self.servers.stack.settings()

    @property
    def operator(self) -> Operator:
        return open_stack(self.servers.stack.home)

    @cached_property
    def tables(self) -> DeltaStore:
        """Tables in an own folder, with the source that the views read."""
        store = DeltaStore(str(self.folder / "tables"))
        store.replace("raw/landings", LANDED, partitions=None)
        return store

    def bucket(self, name: str = "dev", **changes: str) -> S3Store:
        """A bucket as a step reaches it: with the dev key."""
        found = self.settings
        keys = {"access_key": found.need("dev_access_key"), "secret_key": found.need("dev_secret_key")}
        return S3Store(name, **{"endpoint": found.need("s3_endpoint"), **keys, **changes})


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stopped:
        yield Servers(tmp_path_factory.mktemp("servers"), stopped)


@pytest.fixture
def here(servers: Servers, tmp_path: Path) -> Here:
    return Here(servers, tmp_path)


def run_sql(sql: str) -> Callable[[Here], Any]:
    """Materialise a day of a view in SQL."""
    return lambda here: materialise(make_view(sql=sql), [day()], team="network", tables=here.tables, written_at=START)


def run_view(*, features: tuple[Feature, ...] | None = None, **columns: Any) -> Callable[[Here], Any]:
    """Materialise a day of a view whose function returns these columns."""
    view = make_view(returning(**columns), **({} if features is None else {"features": features}))
    return lambda here: materialise(view, [day()], team="network", tables=here.tables, written_at=START)


def run_training_table(table: Any, **changed_columns: Any) -> Callable[[Here], Any]:
    """Build a training table of some orders, as they were landed."""

    def act(here: Here) -> Any:
        here.tables.replace("raw/orders", order_rows([30.0, 31.0], **changed_columns), partitions=None)
        return build(table, team="own", views=records(), tables=here.tables, written_at=NOW, read_view=stored_views)

    return act


def run_training(preprocess: Any = training_problem.prepare, **changes: Any) -> Callable[[Here], Any]:
    return lambda here: train(make_model(preprocess, **changes), training_rows(), views=records())


def gives_infinity(batch: Any) -> dict[str, np.ndarray]:
    with np.errstate(divide="ignore"):
        return {"closeness": 1.0 / (batch["distance"] * 0.0)}


def looks_at_neighbours(batch: Any) -> dict[str, np.ndarray]:
    return {"share": batch["distance"] / batch["distance"].sum()}


def ship_preprocess(source: str) -> Callable[[Here], Any]:
    """Ship the function `prepare` of a module with this text."""

    def act(here: Here) -> Any:
        path = here.folder / "inputs.py"
        path.write_text(f"{source}\n\n\ndef prepare(batch):\n    return batch\n")
        module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("inputs", path))  # type: ignore[arg-type]
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        return team_code(module.prepare, role="preprocess")

    return act


def ask(name: str, **rows: Any) -> Callable[[Here], Any]:
    return lambda here: predict(here.servers.triton.grpc, name, rows)


def state_of(here: Here, text: str | None = None, *, mode: int = 0o600) -> Any:
    """Read a state file that somebody edited or opened."""
    write_state(here.folder, StackState())
    path = state_path(here.folder)
    if text is not None:
        path.write_text(text)
    path.chmod(mode)
    return load(here.folder)


def nowhere() -> str:
    return f"http://127.0.0.1:{free_port()}"


def tables_at(endpoint: str, access_key: str) -> DeltaStore:
    return DeltaStore.for_bucket(endpoint, "dev", access_key, "wrong")


def admin(here: Here) -> dict[str, str]:
    found = json.loads((here.servers.stack.home / "secrets" / "weed.json").read_text())
    pair = next(one for one in found["identities"] if one["name"] == "admin")["credentials"][0]
    return {"access_key": pair["accessKey"], "secret_key": pair["secretKey"]}


def wrong_password(here: Here) -> Any:
    scheme, _, rest = here.settings.need("online_url").partition("://publisher:")
    return RedisStore(connect(f"{scheme}://publisher:hunter2@{rest.partition('@')[2]}")).state("network", "congestion")


def reader_writes(here: Here) -> Any:
    """As a publisher that was given the URL of Triton's user."""
    edition = here.folder / "online"
    record, rows = view_record(name="read_only"), an_edition(1, range(3))
    return publish_generation(
        record,
        keys=rows.keys,
        columns=rows.columns,
        event_time_us=rows.event_time_us,
        watermark_us=T0,
        as_of_us=None,
        dev=FolderStore(edition),
        promote=lambda digest: None,
        store=RedisStore(connect(here.settings.need("online_reader_url"))),
    )


def view_never_published(here: Here) -> Any:
    source = open_source(here.settings.need("online_reader_url"))
    return FeatureReader(source, [online_view(view_record(name="never"))], now_us=lambda: 0).read({"airport": ["A1"], "slot": [1]})


def promote_nothing_of_that_name(here: Here) -> Any:
    publish_record(here.bucket(), write_deployment(here.bucket()).record)
    return here.operator.team_of("etta", newest="dev")


def roll_back_the_first(here: Here) -> Any:
    edition = write_deployment(here.bucket(), 7, name="first")
    here.operator.promote("eta", "first", edition.digest, progress=lambda *_: None)
    return here.operator.rollback("eta", "first", steps=1)


def promote_below_its_gate(here: Here) -> Any:
    gate = {"gate": "mae < 15", "passed": False, "evidence": {"mae": 21.0, "limit": 15.0}}
    edition = write_deployment(here.bucket(), 8, model=lambda: write_model(here.bucket(), 8, gates=(gate,)), name="gated")
    return here.operator.promote("eta", "gated", edition.digest, progress=lambda *_: None)


def change_a_model_file(here: Here) -> Any:
    digest, record = write_model(here.bucket(), files={"model.txt": b"tree of the changed byte\n"})
    here.bucket().put(blob_key(record.files[0].digest), b"tree of the changed bytf\n")
    return load_model(here.bucket(), digest)


def pickle_in_the_package(here: Here) -> Any:
    package = here.folder / "eta"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "model.txt").write_bytes(b"\x80\x04N.")
    return snapshot(package)


UA = {"carrier": ["UA"], "flights": [1], "delay_mean": [0.5]}
BOUNDED = (Feature("flights", Int16()), Feature("delay_mean", Float32(step=1, low=0, high=100)))
NEAR_SPINE = make_spine(fields=(Feature("distance", Float32(step=0.5, low=0, high=10)),))
MISSPELT_SPINE = make_spine(fields=(Feature("distnace", Float32(step=0.5)),))

MISTAKES: dict[str, tuple[Callable[[Here], Any], type[PlatformError], list[str], str]] = {
    # a view's SQL
    "column misspelt in SQL": (
        run_sql("select carier as carrier, count(*) as flights, 0.0 as delay_mean from landings group by all"),
        Invalid,
        ["view 'delays', partition 2030-01-01", '"carier"'],
        "did you mean 'carrier'?",
    ),
    "table misspelt in SQL": (run_sql("select * from landing"), Invalid, ["view 'delays'", "landing"], "did you mean 'landings'?"),
    "two statements in SQL": (run_sql("select 1; drop table landings"), Invalid, ["view 'delays'", "2 statements"], "one SELECT"),
    "SQL that writes": (run_sql("drop table landings"), Invalid, ["view 'delays'", "DROP statement"], "only reads"),
    "SQL that reads a file": (
        run_sql("select * from read_csv('/etc/passwd')"),
        Invalid,
        ["view 'delays'", "disabled by configuration"],
        "reads only its source, as table 'landings'",
    ),
    "SQL that asks the clock": (run_sql("select now() as t from landings"), Invalid, ["view 'delays'", "now()"], "$start and $end"),
    # what a view's function returns
    "feature not returned": (
        run_view(carrier=["UA"], flights=[1]),
        Invalid,
        ["'delays'", "no column 'delay_mean'"],
        "every declared feature",
    ),
    "column not declared": (run_view(**UA, tail=["N1"]), Invalid, ["'delays'", "'tail'", "not declared"], "declare it as a Feature"),
    "column of another type": (run_view(**{**UA, "flights": ["1"]}), Invalid, ["'flights' holds string", "whole numbers"], "cast"),
    "null key": (
        run_view(**{**UA, "carrier": pa.nulls(1, pa.string())}),
        Invalid,
        ["key 'carrier', row 0", "null"],
        "where carrier is not null",
    ),
    "key twice": (run_view(**{name: 2 * value for name, value in UA.items()}), Invalid, ["two rows for carrier='UA'"], "group by carrier"),
    "number too large": (
        run_view(**{**UA, "flights": [40_000]}, features=BOUNDED),
        Invalid,
        ["column 'flights', row 0", "40000", "-32768..32767 (int16)"],
        "wider type",
    ),
    "number above high": (
        run_view(**{**UA, "delay_mean": [110.0]}, features=BOUNDED),
        Invalid,
        ["'delays'", "column 'delay_mean', row 0", "110.0", "0..100"],
        "widen low and high",
    ),
    "infinite number": (run_view(**{**UA, "delay_mean": [math.inf]}), Invalid, ["column 'delay_mean', row 0", "inf"], "step"),
    "source not landed": (
        lambda here: materialise(make_view(), [day()], team="network", tables=DeltaStore(str(here.folder)), written_at=START),
        NotFound,
        ["table 'raw/landings'"],
        "first, or correct its name",
    ),
    # training
    "column misspelt in the spine": (
        run_training_table(make_table(spine=MISSPELT_SPINE)),
        Invalid,
        ["spine 'asked'", "no column 'distnace'"],
        "did you mean 'distance'?",
    ),
    "field above high": (
        run_training_table(make_table(spine=NEAR_SPINE), distance=pa.array([1.0, 20.0])),
        Invalid,
        ["spine 'asked'", "column 'distance', row 1", "20.0", "0..10"],
        "widen low and high",
    ),
    "no labels": (
        run_training_table(make_table(), minutes=pa.nulls(2, pa.float64())),
        Invalid,
        ["training table 'delivery'", "no label", "'raw/orders'"],
        "widen start and end",
    ),
    "LightGBM parameter misspelt": (
        run_training(params={"num_leafs": 7}),
        Invalid,
        ["LightGBM", "'num_leafs'"],
        "did you mean 'num_leaf'?",
    ),
    "parameter that the trainer sets": (run_training(params={"seed": 7}), Invalid, ["'seed'", "set by the trainer"], "remove 'seed'"),
    "trainer misspelt": (run_training(trainer="lightgmb"), NotFound, ["no trainer 'lightgmb'"], "did you mean 'lightgbm'?"),
    "holdout longer than the labels": (run_training(holdout=timedelta(days=300)), Invalid, ["model 'minutes'", "0 labels"], "holdout="),
    "preprocess gives infinity": (run_training(gives_infinity), Invalid, ["'gives_infinity'", "inf", "'closeness', row 0"], "NaN for null"),
    "preprocess looks at other rows": (
        run_training(looks_at_neighbours),
        Invalid,
        ["'looks_at_neighbours'", "'share' of row 0 as 0.0", "1.0 alone"],
        "from its own columns only",
    ),
    "preprocess imports pandas": (ship_preprocess("import pandas"), Invalid, ["'prepare'", "inputs.py:1", "'pandas'"], "use numpy"),
    "preprocess unpickles": (ship_preprocess("import pickle"), Invalid, ["'prepare'", "inputs.py:1", "'pickle'"], "constants"),
    # a live endpoint
    "endpoint misspelt": (ask("etta", x=[1.0]), NotFound, ["no endpoint 'etta'", "127.0.0.1:"], "did you mean 'eta'?"),
    "request field missing": (ask("eta", x=[1.0]), Invalid, ["endpoint 'eta'", "'distance'"], "send all of: x, distance"),
    "request field misspelt": (ask("eta", x=[1.0], distnce=[1.0]), Invalid, ["endpoint 'eta'", "'distnce'"], "did you mean 'distance'?"),
    "no Triton there": (lambda here: predict(nowhere().removeprefix("http://"), "eta", {}), NotReady, ["'eta'", "127.0.0.1:"], "tiffin up"),
    # stores
    "wrong S3 secret": (
        lambda here: here.bucket(secret_key="wrong").get("x"),
        Denied,
        ["reading 'x' in bucket 'dev'", "access key 'TIFFIN", "SignatureDoesNotMatch"],
        "secret key is not that",
    ),
    "unknown S3 key": (lambda here: here.bucket(access_key="AKIDNOBODY").get("x"), Denied, ["bucket 'dev'", "'AKIDNOBODY'"], "use a key"),
    "dev key in prod": (lambda here: here.bucket("prod").put("x", b""), Denied, ["writing 'x' in bucket 'prod'"], "ask the owner"),
    "bucket misspelt": (
        lambda here: here.bucket("dve", **admin(here)).get("x"),
        NotFound,
        ["bucket 'dve'", "no such bucket"],
        "correct its name",
    ),
    "wrong S3 secret for a table": (
        lambda here: tables_at(here.settings.need("s3_endpoint"), here.settings.need("dev_access_key")).read("raw/flights"),
        Denied,
        ["table 'raw/flights'", "'TIFFIN", "may not"],
        "use a key that may",
    ),
    "object store down": (
        lambda here: S3Store("dev", nowhere(), "TIFFINSTEP", "wrong").get("x"),
        NotReady,
        ["reading 'x' in bucket 'dev'", "127.0.0.1:", "does not answer"],
        "tiffin up",
    ),
    "object store down under a table": (
        lambda here: tables_at(nowhere(), "TIFFINSTEP").read("raw/flights"),
        NotReady,
        ["table 'raw/flights'", "object store does not answer"],
        "tiffin up",
    ),
    "wrong Redis password": (wrong_password, Denied, ["network/congestion", "refuses this user"], "the user meant for this"),
    "online store down": (
        lambda here: RedisStore(connect(f"redis://publisher:hunter2@127.0.0.1:{free_port()}/0")).state("network", "congestion"),
        NotReady,
        ["network/congestion", "does not answer"],
        "tiffin doctor",
    ),
    "Redis URL not readable": (lambda here: connect("127.0.0.1:6379"), Invalid, ["online store's URL"], "redis://user:password@host"),
    "reader's user publishes": (reader_writes, Denied, ["network/read_only", "refuses this user"], "the user meant for this"),
    "view never published": (view_never_published, NotReady, ["network/never"], "materialise its online asset"),
    # the stack
    "state file damaged": (lambda here: state_of(here, "{"), Invalid, ["state file", "state.json", "damaged"], "tiffin down --force"),
    "state file of another version": (
        lambda here: state_of(here, json.dumps({"format": "tiffin.stack.v9"})),
        Invalid,
        ["state.json", "'tiffin.stack.v9'"],
        "tiffin down --force",
    ),
    "state file open to others": (lambda here: state_of(here, mode=0o644), Denied, ["state.json", "0644", "0600"], "chmod 600 "),
    "no stack here": (lambda here: load(here.folder), NotFound, ["no stack in "], "tiffin up"),
    "workspace file missing": (
        lambda here: up(here.folder / "home", workspace=here.folder / "workspace.yml", settings=Settings(cache=here.folder)),
        Invalid,
        ["workspace.yml", "does not exist"],
        "workspace.yaml is",
    ),
    "part misspelt": (lambda here: up(here.folder, parts=["valky"]), Invalid, ["no part 'valky'"], "did you mean 'valkey'?"),
    # promotion
    "deployment misspelt": (promote_nothing_of_that_name, NotFound, ["no deployment 'etta'", "dev"], "did you mean 'eta'?"),
    "manifest that nobody wrote": (
        lambda here: here.operator.promote("eta", "eta", "0" * 64, progress=lambda *_: None),
        NotFound,
        ["deployment manifest '000000", "the dev bucket"],
        "materialise",
    ),
    "manifest of something else": (
        lambda here: here.operator.promote("eta", "eta", write_generation(here.bucket())[0], progress=lambda *_: None),
        NotFound,
        ["deployment manifest", "is not in the dev bucket"],
        "materialise",
    ),
    "model below its gate": (promote_below_its_gate, Denied, ["model 'eta/eta'", "mae < 15", "21.0"], "train"),
    "nothing to go back to": (roll_back_the_first, NotFound, ["deployment 'eta/first'", "0 earlier editions"], "promote another edition"),
    "rollback of what never was": (
        lambda here: here.operator.rollback("eta", "unheard", steps=1),
        NotFound,
        ["deployment 'eta/unheard'", "never promoted"],
        "check the team and the name",
    ),
    "changed byte in a model file": (change_a_model_file, Corrupt, ["file 'model.txt' of model 'eta/eta'"], "train the model again"),
    "pickle by name among the files": (
        lambda here: write_model(here.bucket(), files={"model.pkl": b"tree\n"}),
        Denied,
        ["file 'model.pkl' of model 'eta/eta'", "pickle"],
        "LightGBM text",
    ),
    "pickle by content among the files": (
        lambda here: write_model(here.bucket(), files={"model.txt": b"\x80\x04N."}),
        Denied,
        ["file 'model.txt' of model 'eta/eta'", "pickle"],
        "LightGBM text",
    ),
    "pickle in the package": (pickle_in_the_package, Denied, ["file 'model.txt' of package", "pickle"], "LightGBM text"),
}
SECRETS = ("hunter2", "wrong")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_one_error_that_names_the_thing_and_the_fix(here: Here, name: str) -> None:
    act, kind, words, fix = MISTAKES[name]

    with pytest.raises(PlatformError) as caught:
        act(here)

    assert type(caught.value) is kind
    for word in words:
        assert word in caught.value.message
    assert fix in caught.value.fix
    assert "\n" not in caught.value.message
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_port_that_somebody_took_is_given_up_for_another_that_works(tmp_path: Path) -> None:
    home, settings = tmp_path / "home", Settings(cache=tmp_path / "cache")
    try:
        first = up(home, parts=["valkey"], settings=settings)
        down(home)
        old = first.state.ports["valkey"]["valkey"]
        with socket.create_server(("127.0.0.1", old)):
            second = up(home, parts=["valkey"], settings=settings)
            store = RedisStore(connect(second.settings().need("online_url")))

            assert second.state.ports["valkey"]["valkey"] != old
            assert store.state("network", "congestion") is None
    finally:
        down(home, force=True)


def test_a_view_that_was_refused_leaves_no_table(here: Here) -> None:
    with pytest.raises(Invalid):
        MISTAKES["key twice"][0](here)

    assert here.tables.version("network/delays") is None


def test_a_refused_promotion_leaves_no_pointer(here: Here) -> None:
    with pytest.raises(Denied):
        MISTAKES["model below its gate"][0](here)

    assert current(here.operator.prod, "deployment", "eta", "gated") is None
