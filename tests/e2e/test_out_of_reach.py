"""Hostile code in a real Dagster step: it cannot obtain the promoter's keys, write prod with its own, or change what is served."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.house import ROOT, House
from tiffin.embedded import stack
from tiffin.embedded.triton import PROBE_CONFIG, PROBE_MODEL
from tiffin.serving.triton import Triton, control_key_path

HOSTILE = """
import json, subprocess, sys
import boto3, botocore.exceptions, dagster as dg
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException
from tiffin.core.settings import Settings

def load_own_model(settings):
    with triton.InferenceServerClient(settings.need("triton_grpc")) as client:
        assert client.is_server_live()
        try:
            client.load_model("eta", config=json.dumps({config!r}), files={{"file:1/model.py": {model!r}}})
        except InferenceServerException as err:
            return err.message()
    return "loaded"

def refusal(access, secret, settings, act):
    keys = {{"aws_access_key_id": access, "aws_secret_access_key": secret}}
    client = boto3.client("s3", endpoint_url=settings.s3_endpoint, region_name="us-east-1", **keys)
    try:
        act(client)
    except botocore.exceptions.ClientError as err:
        return err.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200

@dg.asset(key=["evil", "hostile"])
def hostile():
    settings = Settings.from_environment()
    question = open({question!r}).read()
    attack = json.loads(subprocess.run([sys.executable, {attacker!r}, question], check=True, capture_output=True, text=True).stdout)
    dev = (settings.need("dev_access_key"), settings.need("dev_secret_key"))
    reader = (settings.need("prod_read_access_key"), settings.need("prod_read_secret_key"))
    put = lambda client: client.put_object(Bucket="prod", Key="blobs/evil", Body=b"x")
    statuses = {{
        "dev put": refusal(*dev, settings, put),
        "dev get": refusal(*dev, settings, lambda client: client.get_object(Bucket="prod", Key="x")),
        "dev list": refusal(*dev, settings, lambda client: client.list_objects_v2(Bucket="prod")),
        "prod-read put": refusal(*reader, settings, put),
    }}
    told = {{"attack": attack, "statuses": statuses, "load": load_own_model(settings)}}
    return dg.MaterializeResult(metadata={{name: dg.MetadataValue.json(value) for name, value in told.items()}})

defs = dg.Definitions(assets=[hostile], executor=dg.in_process_executor)
"""
CONFIG = {**PROBE_CONFIG, "name": "eta"}
METADATA = """{ assetNodes { assetMaterializations(limit: 1) { metadataEntries { label ... on JsonMetadataEntry { jsonString } } } } }"""


@pytest.fixture
def hostile_house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "home")
    attacker = str(ROOT / "tests" / "jail_attacker.py")
    code = HOSTILE.format(question=str(tmp_path / "question.json"), attacker=attacker, config=CONFIG, model=PROBE_MODEL)
    (tmp_path / "hostile.py").write_text(code)
    (tmp_path / "workspace.yaml").write_text("load_from:\n  - python_file: {relative_path: hostile.py, location_name: evil}\n")
    parts = [word for part in ("webserver", "daemon", "promoter", "valkey", "triton") for word in ("--only", part)]
    try:
        house.tiffin("up", *parts, "--workspace", str(tmp_path / "workspace.yaml"))
        yield house
    finally:
        house.tiffin("down", check=False)


def test_a_step_can_obtain_no_key_to_prod_or_to_what_is_served(hostile_house: House, tmp_path: Path) -> None:
    secrets = hostile_house.home / "secrets"
    words = [json.loads((secrets / name).read_text())[field] for name, field in SECRETS]
    control_key = control_key_path(hostile_house.home / "serving")
    words.append(control_key.read_text())
    promoter = stack.load(hostile_house.home).running()["promoter"].pid
    question = {
        "home": str(hostile_house.home),
        "promoter": promoter,
        "needles": [word.encode().hex() for word in words],
        "free": str(hostile_house.home / "dagster"),
    }
    (tmp_path / "question.json").write_text(json.dumps(question))
    time.sleep(1)

    hostile_house.materialise("evil", ["hostile"])

    entries = hostile_house.graphql(METADATA)["assetNodes"][0]["assetMaterializations"][0]["metadataEntries"]
    told = {entry["label"]: json.loads(entry["jsonString"]) for entry in entries if "jsonString" in entry}
    assert told["attack"]["found"] == []
    assert told["attack"]["done"] == []
    assert told["attack"]["tried"]["deed"] > 40
    assert told["attack"]["tried"]["home"] > 0
    assert set(told["statuses"].values()) == {403}
    assert "This protocol is restricted" in told["load"]
    # the same attempt with the key: nothing else was in its way
    agent = Triton(hostile_house.settings.need("triton_grpc"), control_key=control_key)
    assert agent.answering() == []
    agent.load("eta", config=CONFIG, files={"1/model.py": PROBE_MODEL})
    assert agent.answering() == ["eta"]
    agent.close()


SECRETS = [("prod_write.json", "secret_key"), ("signing_key.json", "private_hex")]
