"""Which code servers a workspace file asks for, and what Dagster is told about them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tiffin.core.errors import Invalid, NotFound
from tiffin.embedded.code_servers import addresses, locations_of


def written(folder: Path, text: str) -> Path:
    path = folder / "workspace.yaml"
    path.write_text(text)
    return path


def test_every_location_of_the_example_gets_a_server() -> None:
    found = locations_of(Path(__file__).resolve().parents[3] / "workspace.yaml")

    assert [one.name for one in found] == ["network", "fleet", "eta"]
    assert found[2].target == ("-m", "assets.eta.definitions")
    assert found[1].folder == Path(__file__).resolve().parents[3]


def test_a_file_is_found_beside_its_workspace(tmp_path: Path) -> None:
    found = locations_of(written(tmp_path, "load_from:\n  - python_file: {relative_path: defs.py, location_name: mine}\n"))

    assert (found[0].name, found[0].target) == ("mine", ("-f", str(tmp_path / "defs.py")))
    assert found[0].command(7)[-1] == "--use-python-environment-entry-point"


@pytest.mark.parametrize(
    ("text", "found", "fix"),
    [
        pytest.param("load_from:\n  - grpc_server: {port: 1}\n", "'grpc_server'", "python_module", id="an address already"),
        pytest.param("other: 1\n", "load_from", "example", id="no list"),
        pytest.param("load_from: [", "load_from", "example", id="not YAML"),
    ],
)
def test_a_workspace_that_cannot_be_served_is_refused(tmp_path: Path, text: str, found: str, fix: str) -> None:
    with pytest.raises(Invalid, match="workspace") as caught:
        locations_of(written(tmp_path, text))

    assert found in caught.value.message
    assert fix in caught.value.fix


def test_a_missing_workspace_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        locations_of(tmp_path / "workspace.yaml")

    assert "--workspace" in caught.value.fix


def test_dagster_is_told_addresses_and_no_code() -> None:
    told = yaml.safe_load(addresses({"network": 5001, "eta": 5002}))

    assert told["load_from"][1] == {"grpc_server": {"host": "127.0.0.1", "port": 5002, "location_name": "eta"}}
