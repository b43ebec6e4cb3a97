"""Why an endpoint answers what it answers: what each input of its model adds to the score.

For a live endpoint the inputs are asked from its very steps in Triton, and the score that Triton computed must
be the one that the promoted model file gives here, bit for bit: so it is that answer that is explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiffin.core.errors import Corrupt, NotReady, Unsupported
from tiffin.manifests.records import DeploymentRecord, ModelRecord
from tiffin.serving.box import Box, Trace
from tiffin.serving.client import request_tensors
from tiffin.serving.request import encode_request
from tiffin.serving.steps.program import INPUTS, SCORE
from tiffin.serving.triton import Triton
from tiffin.training.trainer import Contributions, TrainerThatExplains, find_trainer

__all__ = ["Explained", "explain_box", "explain_live", "take_apart"]


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """Answers, and the sums behind them.

    Args:
        names: the model's inputs, in order.
        trace: what was computed.
        parts: `parts.base + parts.by_input.sum(axis=1)` is `parts.raw`, but for the rounding of sums.
    """

    names: tuple[str, ...]
    trace: Trace
    parts: Contributions

    def row(self, row: int) -> dict[str, Any]:
        """One row, the largest contributions first; a missing input is None."""
        order = np.argsort(-np.abs(self.parts.by_input[row]), kind="stable")
        return {
            "base": float(self.parts.base[row]),
            "raw_score": float(self.parts.raw[row]),
            "contributions": [
                {"input": self.names[place], "value": number(self.trace.inputs[row, place]), "adds": float(self.parts.by_input[row, place])}
                for place in order
            ],
        }


def number(value: float) -> float | None:
    """NaN is no JSON."""
    return None if np.isnan(value) else float(value)


def take_apart(model: ModelRecord, files: Mapping[str, bytes], trace: Trace) -> Explained:
    """Contributions to the scores of a trace.

    Raises:
        Unsupported: the model's trainer cannot do that.
        Corrupt: the trace's scores are not this model's.
    """
    trainer = find_trainer(model.trainer)
    if not isinstance(trainer, TrainerThatExplains):
        raise Unsupported(f"trainer {model.trainer!r} cannot take a score apart", fix="give it explain(), or ask without --explain")
    again = trainer.predict(files, trace.inputs)
    if not np.array_equal(again.view(np.int64), trace.score.view(np.int64)):
        row = int(np.argmax(again.view(np.int64) != trace.score.view(np.int64)))
        found = f"row {row} scores {trace.score[row]!r} where it is served and {again[row]!r} here"
        raise Corrupt(
            f"model {model.name!r}: {found}", fix="align the model runtime of both environments; `tiffin status` shows what is served"
        )
    return Explained(model.inputs, trace, trainer.explain(files, trace.inputs))


def explain_box(box: Box, rows: Mapping[str, Any], *, model: ModelRecord, files: Mapping[str, bytes]) -> Explained:
    """Answer in a box, and take the answer apart."""
    return take_apart(model, files, box.predict(rows))


def explain_live(
    triton: Triton, rows: Mapping[str, Any], *, record: DeploymentRecord, model: ModelRecord, files: Mapping[str, bytes]
) -> Explained:
    """Ask the live endpoint step by step, and take its answer apart.

    Args:
        record: the deployment that is promoted; `model` and `files` are its model's.

    Raises:
        NotReady: another edition is live than the one that is promoted. Otherwise see `serving.client.predict`, `take_apart`.
    """
    tensors, max_rows = request_tensors(triton, record.name)
    live = [str(step["model_name"]) for step in triton.config(record.name)["ensemble_scheduling"]["step"]]
    if live != list(record.steps):
        found = f"endpoint {record.name!r} runs the steps {', '.join(live)}, promoted are {', '.join(record.steps)}"
        raise NotReady(found, fix="ask again when the agent has switched; `tiffin status` says what it waits for")
    seen = encode_request(tensors, rows, of=f"endpoint {record.name!r}", max_rows=max_rows)
    made: dict[str, np.ndarray] = {}
    for step in live:
        wanted = [tensor["name"] for tensor in triton.config(step)["input"]]
        made = triton.infer(step, {name: seen[name] for name in wanted})
        seen.update(made)
    trace = Trace(seen[INPUTS], seen[SCORE].reshape(-1), {name: array.reshape(-1) for name, array in made.items()})
    return take_apart(model, files, trace)
