"""How a model did on rows that it was not trained on: residuals of a number, calibration of a probability."""

from __future__ import annotations

import base64
import io

import numpy as np

from tiffin.training.measure import HeldOut, calibration_curve

__all__ = ["held_out_markdown", "held_out_png"]

BINS = 60
SHOWN = (0.5, 99.5)  # percentiles: one flight that was a day late would squeeze all others into a line


def held_out_png(held_out: HeldOut, *, classifier: bool) -> bytes:
    """One picture as PNG.

    Args:
        classifier: scores are probabilities and labels 0 or 1.
    """
    # 0.4 s of import that only a training step pays
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    if classifier:
        axes, rows_axes = figure.subplots(1, 2, width_ratios=(2, 1))
        mean, share, rows = calibration_curve(held_out.scores, held_out.label)
        top = float(max(mean.max(initial=0.01), share.max(initial=0.01))) * 1.05
        axes.plot([0, top], [0, top], color="#999999", linewidth=1)
        axes.plot(mean, share, marker="o", color="#4a7ebb")
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share that happened")
        rows_axes.bar(np.arange(len(rows)), rows, color="#4a7ebb")
        rows_axes.set_xlabel("rows by group")
    else:
        axes, by_score = figure.subplots(1, 2)
        error = held_out.scores - held_out.label
        low, high = np.percentile(error, SHOWN)
        axes.hist(np.clip(error, low, high), bins=BINS, color="#4a7ebb")
        axes.axvline(0, color="#999999", linewidth=1)
        axes.set_xlabel("prediction - label")
        order = np.argsort(held_out.scores, kind="stable")
        groups = [part for part in np.array_split(order, 20) if len(part)]
        by_score.plot(
            [held_out.scores[part].mean() for part in groups], [error[part].mean() for part in groups], marker="o", color="#4a7ebb"
        )
        by_score.axhline(0, color="#999999", linewidth=1)
        by_score.set_xlabel("prediction")
        by_score.set_ylabel("mean error")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def held_out_markdown(held_out: HeldOut, *, classifier: bool) -> str:
    """The picture inside Markdown, as Dagster shows it."""
    if not len(held_out.label):
        return "no row was held out"
    picture = base64.b64encode(held_out_png(held_out, classifier=classifier)).decode()
    return f"![{'calibration' if classifier else 'residuals'} on rows held out](data:image/png;base64,{picture})"
