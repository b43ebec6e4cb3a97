from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tiffin.cli.app import main
from tiffin.cli.output import exit_code
from tiffin.cli.predict_command import parse_row, read_rows
from tiffin.cli.status_command import age, deployment_row, view_row
from tiffin.core.errors import Conflict, Corrupt, Denied, Invalid, NotFound, NotReady, PlatformError, Unsupported
from tiffin.embedded.state import StackState, state_path, write_state
from tiffin.embedded.status import aged, teams_of
from tiffin.orchestration.catalog import read_catalog
from tiffin.serving.json_rows import columns_of

COMMANDS = ("up", "down", "doctor", "status", "predict", "box", "promote", "rollback")
COMMANDS += ("features list", "features show", "features get", "models list", "models show", "models compare")
CATALOG = Path(__file__).parents[3] / "assets" / "catalog.json"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["tiffin", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example_and_its_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run(monkeypatch, *command.split(), "--help") == 0

    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: tiffin {command}" in text
    assert "Exit codes: 0 done" in text
    assert "--json" in text
    assert "--home" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotReady, 3), (NotFound, 4), (Denied, 5), (Conflict, 6), (Invalid, 1), (Corrupt, 1), (Unsupported, 1), (PlatformError, 1)],
)
def test_an_exit_code_means_the_same_for_every_command(error: type[PlatformError], code: int) -> None:
    assert exit_code(error("x", fix="y")) == code


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["predict", "eta", "a=1"],
        ["predict", "eta", "a=1", "--explain"],
        ["box", "eta", "a=1", "--offline"],
        ["promote", "eta"],
        ["rollback", "eta"],
        ["models", "list"],
        ["models", "show", "eta_model"],
        ["models", "compare", "eta_model"],
        ["features", "get", "fleet/carrier_delays", "carrier=UA", "origin=EWR", "--live", "--catalog", str(CATALOG)],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_without_a_stack_a_command_says_how_to_start_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    code = run(monkeypatch, *words, "--home", str(tmp_path))

    shown = capsys.readouterr()
    assert code == 4
    assert shown.out == ""
    assert shown.err == f"error: there is no stack in {tmp_path}\n  fix: start one with `tiffin up`\n"


def test_an_error_under_json_is_one_object_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = run(monkeypatch, "status", "--json", "--home", str(tmp_path))

    shown = capsys.readouterr()
    assert code == 4
    assert json.loads(shown.out) == {
        "error": "NotFound",
        "message": f"there is no stack in {tmp_path}",
        "fix": "start one with `tiffin up`",
        "context": {},
    }
    assert shown.err == ""


def test_a_stack_that_is_down_cannot_be_promoted_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_state(tmp_path, StackState())

    assert run(monkeypatch, "promote", "eta", "--home", str(tmp_path)) == 3
    assert "does not run\n  fix: tiffin up" in capsys.readouterr().err


def test_a_state_file_open_to_others_is_denied_with_the_command_that_closes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_state(tmp_path, StackState())
    state_path(tmp_path).chmod(0o644)

    assert run(monkeypatch, "down", "--home", str(tmp_path)) == 5
    assert f"fix: chmod 600 {state_path(tmp_path)}" in capsys.readouterr().err


def test_a_misspelt_setting_is_one_line_and_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TIFFIN_ISOLATON", "none")

    assert run(monkeypatch, "status") == 1

    shown = capsys.readouterr().err
    assert "TIFFIN_ISOLATON is not a setting" in shown
    assert "'isolation'" in shown
    assert "Traceback" not in shown


def test_down_where_nothing_runs_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(monkeypatch, "down", "--home", str(tmp_path / "nowhere"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["stopped"] == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["predict", "eta"], id="no rows"),
        pytest.param(["predict", "eta", "a=1", "--rows", "x"], id="rows twice"),
        pytest.param(["predict"], id="no endpoint"),
        pytest.param(["rollback", "eta", "--steps", "0"], id="no step"),
        pytest.param(["box", "eta", "a=1"], id="box without a source"),
        pytest.param(["box", "eta", "a=1", "--offline", "--live"], id="box with two sources"),
        pytest.param(["box", "eta", "a=1", "--live", "--as-of", "2013-06-10"], id="box of the live store at an instant"),
        pytest.param(["box", "eta", "a=1", "--live", "--serve"], id="box with a row and a server"),
        pytest.param(["features", "get", "fleet/planes", "tailnum=N1"], id="get without a source"),
        pytest.param(["features", "get", "fleet/planes", "tailnum=N1", "--live", "--as-of", "2013-06-10"], id="get from two sources"),
        pytest.param(["features"], id="no command of features"),
        pytest.param(["fly"], id="no command"),
        pytest.param(["up", "--frobnicate"], id="no option"),
    ],
)
def test_wrong_usage_ends_with_two(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    assert run(monkeypatch, *words) == 2


def test_a_row_is_read_as_json_where_it_is_json() -> None:
    assert parse_row(["carrier=UA", "hour=17", "wind=1.5", "late=true", "tail=null", 'code="17"', "note=a=b"]) == {
        "carrier": "UA",
        "hour": 17,
        "wind": 1.5,
        "late": True,
        "tail": None,
        "code": "17",
        "note": "a=b",
    }


@pytest.mark.parametrize(("pairs", "found"), [(["carrier"], "not of the form"), (["=x"], "not of the form"), (["a=1", "a=2"], "twice")])
def test_a_row_that_cannot_be_read_is_refused(pairs: list[str], found: str) -> None:
    with pytest.raises(Invalid, match=found):
        parse_row(pairs)


def test_rows_come_from_a_file_or_from_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n\n{"a": null}\n')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"a": 2}\n'))

    assert read_rows(str(tmp_path / "rows.jsonl")) == [{"a": 1}, {"a": None}]
    assert read_rows("-") == [{"a": 2}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param('{"a": 1}\n{"a": \n', "line 2 of .* is not JSON", id="cut off"),
        pytest.param("[1]\n", "line 1 of .* not an object", id="a list"),
        pytest.param("\n", "holds no rows", id="empty"),
    ],
)
def test_a_file_of_rows_that_cannot_be_read_names_the_line(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)

    with pytest.raises(Invalid, match=found):
        read_rows(str(tmp_path / "rows.jsonl"))


def test_a_missing_file_of_rows_is_named() -> None:
    with pytest.raises(Invalid, match="no file 'nowhere"):
        read_rows("nowhere.jsonl")


def test_rows_with_different_fields_are_refused_with_the_odd_one() -> None:
    with pytest.raises(Invalid, match="row 2 and row 1 differ in field 'b'"):
        columns_of([{"a": 1}, {"a": 1, "b": 2}])


def test_ages_are_for_people() -> None:
    assert [age(seconds) for seconds in (None, 5.2, 119.0, 180.0, 3600.0, 90000.0, 260_000.0)] == [
        "",
        "5 s",
        "119 s",
        "3 min",
        "1 h 0 min",
        "25 h 0 min",
        "3 d",
    ]


def test_a_damaged_record_is_shown_with_its_trouble() -> None:
    broken = {"team": "eta", "name": "eta", "trouble": "the signature does not match"}

    assert "the signature does not match" in deployment_row(broken)
    assert "the signature does not match" in view_row(broken)


def test_a_view_shows_how_far_it_lies_behind() -> None:
    one = {
        "team": "network",
        "name": "airport_hours",
        "generation": "f" * 64,
        "watermark": "2013-12-30T23:00:00+00:00",
        "age_s": 3600.0,
        "rows": 3,
    }

    assert view_row(one) == ["network/airport_hours", "f" * 12, "2013-12-30T23:00:00+00:00", "1 h 0 min", "3"]


def test_teams_count_what_is_published_and_what_is_ready() -> None:
    declared = read_catalog(CATALOG).values()
    views = [{"team": "network", "name": "airport_hours"}, {"team": "network", "name": "routes", "trouble": "a byte was changed"}]
    deployments = [
        {"team": "eta", "name": "eta", "owner": "team:eta", "ready": True},
        {"team": "eta", "name": "late", "trouble": "unsigned"},
    ]

    found = {one["team"]: one for one in teams_of(declared, deployments, views)}

    assert found["network"] == {"team": "network", "owner": "team:network", "views": 5, "published": 1, "endpoints": 0, "ready": 0}
    assert found["eta"] == {"team": "eta", "owner": "team:eta", "views": 0, "published": 0, "endpoints": 2, "ready": 1}
    assert found["fleet"]["views"] == 4


def test_a_views_age_counts_from_the_stacks_own_now() -> None:
    one = {"team": "network", "name": "airport_hours", "watermark": "2013-12-30T23:00:00+00:00"}

    assert aged(one, datetime(2013, 12, 31, tzinfo=UTC))["age_s"] == 3600.0
    assert aged({"trouble": "unsigned"}, datetime(2013, 12, 31, tzinfo=UTC)) == {"trouble": "unsigned"}
