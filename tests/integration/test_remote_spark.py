"""A real Spark standalone cluster as a remote provider: handed in, followed, read and priced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spark_standalone import PROGRAM, SETTINGS, page, spark_standalone
from tiffin.core.errors import Invalid, NotFound, NotReady
from tiffin.engines.remote import find_remote
from tiffin.engines.remote_drive import Pace, drive
from tiffin.engines.remote_keep import Keep
from tiffin.engines.remote_spark import SparkStandalone
from tiffin.storage.folder import FolderStore

QUICK = Pace(poll_s=0.5)


def test_a_driver_runs_on_the_cluster_and_its_words_and_cost_come_back(tmp_path: Path) -> None:
    program, go, result = tmp_path / "sum.py", tmp_path / "go", tmp_path / "result"
    program.write_text(PROGRAM)
    go.touch()
    with spark_standalone(tmp_path) as remote:
        job = {"program": str(program), "arguments": [str(go), str(result)], "settings": SETTINGS, "driver_memory": "512m"}
        said: list[str] = []

        done = drive(remote, job, Keep(FolderStore(tmp_path / "store"), "c/"), pace=QUICK, told=said.append)

        assert result.read_text() == "499500\n"
        assert "the sum is 499500" in done.logs
        assert (done.cost.amounts or {})["cpu"] >= 0
        assert [one["state"] for one in page(remote)["completeddrivers"]] == ["FINISHED"]
        assert any("is handed in" in text for text in said)
        again = find_remote(remote.provider, remote.where)
        assert again.poll(done.remote_id).state == "succeeded"
        with pytest.raises(NotFound, match="driver-nobody"):
            again.poll("driver-nobody")

        broken = {**job, "program": str(tmp_path / "absent.py")}
        with pytest.raises(Invalid, match="failed"):
            drive(remote, broken, Keep(FolderStore(tmp_path / "store"), "d/"), pace=QUICK, told=said.append)


def test_a_master_that_is_not_there_is_away_and_not_wrong() -> None:
    with pytest.raises(NotReady, match="does not answer"):
        SparkStandalone(master="spark://127.0.0.1:9", rest="http://127.0.0.1:9", ui="http://127.0.0.1:9").poll("driver-1")
