"""The benchmark of the online store runs, compares everybody's answers, and gives the figures that it promises."""

from __future__ import annotations

import json
import math

import pytest

from bench.online import main

FIGURES = {
    "bytes_per_value_valkey9",
    "bytes_per_value_dense_valkey9",
    "bytes_per_vector_entity",
    "vector_cosine_min",
    "read_100_layout_over_ours",
    "read_100_fastlayout_over_ours",
    "read_100_cpu_over_floor",
    "generation_over_floor",
    "publication_over_floor",
    "delta_over_floor",
    "publish_ours_over_layout",
    "exponent_memory",
    "exponent_write",
    "exponent_read",
}


def test_a_quick_run_gives_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--sizes", "1000,3000", "--servers", "valkey9", "--peers", "layout"])

    found = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert found["bench"] == "online"
    assert set(found["figures"]) >= FIGURES
    assert all(math.isfinite(figure) for figure in found["figures"].values())
    assert found["figures"]["vector_cosine_min"] >= 0.9999
