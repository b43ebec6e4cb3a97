"""The importance of a model's inputs as a picture that fits into asset metadata."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

__all__ = ["importance_markdown", "importance_png"]

SHOWN = 20


def importance_png(importance: Mapping[str, float]) -> bytes:
    """A bar per input, the heaviest on top, as PNG."""
    # 0.4 s of import that only a training step pays
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    top = sorted(importance.items(), key=lambda item: (item[1], item[0]))[-SHOWN:]
    figure = Figure(figsize=(7, 0.3 * len(top) + 1), dpi=80, layout="constrained")
    axes = figure.add_subplot()
    axes.barh([name for name, _ in top], [weight for _, weight in top], color="#4a7ebb")
    axes.set_xlabel("importance (gain)")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def importance_markdown(importance: Mapping[str, float]) -> str:
    """The picture inside Markdown, as Dagster shows it."""
    if not importance:
        return "no importance was reported"
    picture = base64.b64encode(importance_png(importance)).decode()
    return f"![importance of the model's inputs](data:image/png;base64,{picture})"
