"""What `tiffin queue` prints, from a given world: no cluster is asked."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.queue_worlds import NOW, make_queue, make_workload, make_world, running
from tiffin.cli.app import app
from tiffin.cli.queue_command import line_of, start_words, tell, tell_difference
from tiffin.compute.forecast import History
from tiffin.compute.queue_change import changed, parse_change
from tiffin.compute.queue_view import QueueView, view_queues

WORLD = make_world(
    make_queue("team-network", 2),
    running(make_workload("night", "team-network", 2, labels={"tiffin.dev/asset": "eta"})),
    make_workload("morning", "team-network", 2, labels={"tiffin.dev/asset": "eta"}, age_s=90),
    make_workload("too-big", "team-network", 9),
    priorities={"prod": 1000},
)


def view(*what_if: str) -> QueueView:
    return view_queues(changed(WORLD, [parse_change(text) for text in what_if]), History({"eta": [60.0]}), now=NOW)


def test_a_row_tells_place_wait_and_start() -> None:
    rows = {row.job: line_of(row) for row in view().rows}

    assert rows["morning"][0] == "1"
    assert "1 min 30 s" in rows["morning"]
    assert "in 51 s" in rows["morning"]
    assert rows["night"][0] == ""


def test_a_start_from_other_assets_runs_is_only_perhaps_and_an_impossible_one_is_said() -> None:
    starts = {row.job: start_words(row) for row in view().rows}

    assert starts["too-big"] == "not as things are"
    assert starts["night"] == ""
    unknown = view_queues(WORLD, History({"other": [60.0]}), now=NOW)
    assert next(start_words(row) for row in unknown.rows if row.job == "morning").startswith("perhaps in ")


def test_the_text_names_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    tell(view(), as_json=False)

    shown = capsys.readouterr().out
    assert "would start at once with" in shown
    assert "quota of 4 cpu in flavor any (2 more)" in shown


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    tell(view(), as_json=True)

    assert {step["job"] for step in json.loads(capsys.readouterr().out)["steps"]} == {"night", "morning", "too-big"}


def test_a_what_if_shows_both_starts(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["quota:network/cpu=4"]

    tell_difference(view(), view(*texts), texts, as_json=True)
    shown = json.loads(capsys.readouterr().out)

    starts = {when: {step["job"]: step["expected_start_s"] for step in shown[when]["steps"]} for when in ("before", "after")}
    assert (starts["before"]["morning"], starts["after"]["morning"]) == (51.0, 0.0)
    tell_difference(view(), view(*texts), texts, as_json=False)
    assert "with quota:network/cpu=4" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["pause"], ["resume"], ["priority"]], ids=["list", "pause", "resume", "priority"])
def test_every_command_has_an_example(command: list[str]) -> None:
    shown = CliRunner().invoke(app, ["queue", *command, "--help"])

    assert shown.exit_code == 0
    assert "Example: tiffin queue" in shown.output
