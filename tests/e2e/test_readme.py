"""What the README promises of `make demo` and of the commands it shows."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.e2e.house import BIN, LATEST, OUTPUTS, ROOT, VIEWS, House

DAILY = {f"{team}/{view}" for team, views in VIEWS.items() for view in views} - {"network/airport_hours", "fleet/planes"}
SHOWN = re.findall(r"^\.venv/bin/tiffin (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_independent_proof_agrees_to_the_last_bit(house: House) -> None:
    done = house.run(BIN / "python", "scripts/prove.py", "--home", str(house.home), "--hours", LATEST)

    report = json.loads(done.stdout.splitlines()[-1])
    assert set(report["endpoints"]) == set(OUTPUTS)
    for found in (report, *report["endpoints"].values()):
        assert found["prediction"] == found["prediction_recomputed"]
        assert found["flights_differing"] == 0
        assert found["flights_compared"] > 500
        assert 0 < found["latency_ms_p50"] < found["latency_ms_p50_1000"]
    assert report["missing"] == []
    assert report["assets_materialized"] == 3 + 2 * 9 + 2 * 3
    assert report["partitions"] == sum(report["partitions_by_view"].values())
    assert {name for name, made in report["partitions_by_view"].items() if made == 365} == DAILY
    assert [step.partition("--")[0] for step in report["shared_steps"]] == ["features", "preprocess"]


def test_the_proof_imports_nothing_of_the_library() -> None:
    for script in ("prove.py", "materialise.py"):
        assert not re.search(r"^\s*(from|import) tiffin", (ROOT / "scripts" / script).read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in SHOWN if not line.startswith("rollback")])
def test_a_command_of_the_readme_works_as_it_stands(house: House, line: str) -> None:
    done = house.tiffin(*shlex.split(line))

    assert done.stdout.strip()


def test_materialising_again_does_nothing(house: House) -> None:
    command = (BIN / "python", "scripts/materialise.py", "--home", house.home, "--latest", LATEST, "--json")
    house.run(*command)  # other stories publish other instants, which makes the endpoint due

    done = house.run(*command)

    assert json.loads(done.stdout.splitlines()[-1])["runs"] == []


def test_a_second_up_keeps_every_part(house: House) -> None:
    done = house.tiffin("up", "--json")

    assert set(json.loads(done.stdout)["parts"].values()) == {"kept"}


def test_no_secret_shows_in_status_or_logs(house: House) -> None:
    secret = json.loads((house.home / "secrets" / "prod_write.json").read_text())["secret_key"]
    shown = house.tiffin("status", "--json").stdout + house.tiffin("doctor", "--json").stdout

    assert secret not in shown
    assert not [log for log in (house.home / "logs").iterdir() if log.is_file() and secret in log.read_text(errors="replace")]
