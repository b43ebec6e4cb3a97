"""`tiffin teams` as people and programs meet it; the cluster's side is in tests/cluster/test_teams.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.team_files import ROOT
from tiffin.cli.app import app
from tiffin.core.errors import Invalid, NotFound


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with the example's teams alone."""
    for team in ("network", "fleet", "eta"):
        (tmp_path / "assets" / team).mkdir(parents=True)
        shutil.copy(ROOT / "assets" / team / "team.yaml", tmp_path / "assets" / team)
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "platform.yaml", tmp_path / "deploy")
    return tmp_path


def teams(project: Path, command: str, *arguments: str) -> Result:
    places = ["--platform", str(project / "deploy" / "platform.yaml"), "--assets", str(project / "assets")]
    out = ["--out", str(project / "deploy" / "teams")] if command == "render" else []
    return CliRunner().invoke(app, ["teams", command, *arguments, *places, *out])


def test_rendering_writes_a_folder_a_team_and_then_changes_nothing(project: Path) -> None:
    first = teams(project, "render", "--json")
    second = teams(project, "render", "--check")

    assert first.exit_code == second.exit_code == 0
    assert sorted(path.name for path in (project / "deploy" / "teams").iterdir() if path.is_dir()) == ["eta", "fleet", "network"]
    assert set(json.loads(first.stdout)["stale"].values()) == {"missing"}
    assert "are as rendered" in second.stdout


def test_a_check_fails_on_what_was_changed_by_hand_and_leaves_it(project: Path) -> None:
    teams(project, "render")
    target = project / "deploy" / "teams" / "network" / "objects.yaml"
    target.write_text(target.read_text().replace("nominalQuota: '64'", "nominalQuota: '96'"))
    (project / "deploy" / "teams" / "old.yaml").write_text("kind: Namespace\n")

    done = teams(project, "render", "--check", "--json")

    assert done.exit_code == 1
    assert json.loads(done.stdout)["stale"] == {"network/objects.yaml": "changed", "old.yaml": "leftover"}
    assert "nominalQuota: '96'" in target.read_text()


def test_rendering_mends_what_was_changed_and_removes_what_is_left_over(project: Path) -> None:
    teams(project, "render")
    (project / "deploy" / "teams" / "old.yaml").write_text("kind: Namespace\n")
    shutil.rmtree(project / "assets" / "eta")

    done = teams(project, "render")

    assert done.exit_code == 0
    assert "leftover" in done.stdout
    assert not [
        path for path in (project / "deploy" / "teams").rglob("*") if path.is_file() and ("eta" in path.parts or path.name == "old.yaml")
    ]
    assert teams(project, "render", "--check").exit_code == 0


def test_one_team_alone_leaves_the_others_files(project: Path) -> None:
    teams(project, "render")
    path = project / "assets" / "fleet" / "team.yaml"
    path.write_text(path.read_text() + "weight: 3\n")

    assert teams(project, "render", "network", "--check").exit_code == 0
    assert teams(project, "render", "fleet", "--check").exit_code == 1


def test_an_unknown_team_is_told_the_nearest(project: Path) -> None:
    done = teams(project, "render", "netwrk")

    assert isinstance(done.exception, NotFound)
    assert done.exception.fix == "did you mean 'network'?"


def test_a_team_in_another_teams_folder_is_refused(project: Path) -> None:
    shutil.copy(project / "assets" / "fleet" / "team.yaml", project / "assets" / "eta" / "team.yaml")

    done = teams(project, "list")

    assert isinstance(done.exception, Invalid)
    assert "eta/team.yaml is of team 'fleet'" in done.exception.message


def test_teams_that_share_a_token_of_the_online_store_are_refused(project: Path) -> None:
    # found by trying names: the token has four characters
    from tiffin.wire.keys import token

    seen: dict[bytes, str] = {}
    pair = next((seen[token(name)], name) for name in (f"t{n}" for n in range(10**6)) if seen.setdefault(token(name), name) != name)
    for name in pair:
        (project / "assets" / name).mkdir()
        (project / "assets" / name / "team.yaml").write_text(f"team: {name}\nowner: team:{name}\nimage: x/{name}:1\n")

    done = teams(project, "render")

    assert isinstance(done.exception, Invalid)
    assert "same key token" in done.exception.message


def test_users_of_the_online_store_have_no_password_and_no_foreign_key(project: Path) -> None:
    teams(project, "render")
    lines = (project / "deploy" / "teams" / "fleet" / "online.acl").read_text().splitlines()

    assert [line.split()[:2] for line in lines] == [["user", "fleet-publisher"], ["user", "fleet-reader"]]
    for line in lines:
        words = line.split()
        assert not any(word.startswith((">", "#", "nopass", "+@")) for word in words)
        assert len([word for word in words if word.startswith("~")]) == 1


def test_the_list_shows_what_each_team_owns_and_may_use(project: Path) -> None:
    found = {one["team"]: one for one in json.loads(teams(project, "list", "--json").stdout)["teams"]}

    assert found["eta"]["namespace"] == "team-eta"
    assert found["eta"]["quotas"]["a10"]["nvidia.com/gpu"] == {"nominal": "4", "borrow": "all", "lend": "3"}
    assert "h100" not in found["eta"]["quotas"]


@pytest.mark.parametrize("command", ["list", "render", "diff", "apply"])
def test_every_command_shows_an_example_and_the_exit_codes(command: str) -> None:
    shown = CliRunner().invoke(app, ["teams", command, "--help"])

    assert shown.exit_code == 0
    assert f"Example: tiffin teams {command}" in shown.stdout
    assert "Exit codes" in shown.stdout
