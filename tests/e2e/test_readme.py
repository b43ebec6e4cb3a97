"""What the README promises of `make demo` and of the commands it shows."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.e2e.house import BIN, ROOT, House

SHOWN = re.findall(r"^\.venv/bin/tiffin (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)


def test_the_independent_proof_agrees_to_the_last_bit(house: House) -> None:
    done = house.run(BIN / "python", "scripts/prove.py", "--home", str(house.home))

    report = json.loads(done.stdout.splitlines()[-1])
    assert report["prediction"] == report["prediction_recomputed"]
    assert report["flights_differing"] == 0
    assert report["flights_compared"] > 500
    assert report["assets_materialized"] == 9
    assert report["partitions"] == 2 * 365
    assert 0 < report["latency_ms_p50"] < report["latency_ms_p50_1000"]


def test_the_proof_imports_nothing_of_the_library() -> None:
    for script in ("prove.py", "materialise.py"):
        assert not re.search(r"^\s*(from|import) tiffin", (ROOT / "scripts" / script).read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in SHOWN if not line.startswith("rollback")])
def test_a_command_of_the_readme_works_as_it_stands(house: House, line: str) -> None:
    done = house.tiffin(*shlex.split(line))

    assert done.stdout.strip()


def test_materialising_again_does_nothing(house: House) -> None:
    command = (BIN / "python", "scripts/materialise.py", "--home", house.home, "--json")
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
