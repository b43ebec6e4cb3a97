"""A line over partitions with its allowed band as a small picture, drawn by hand.

Every run draws some: importing a plotting library costs 0.4 s and each picture 40 ms, this takes 2 ms.
Numbers stand beside the picture, so it needs no text.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

__all__ = ["series_markdown", "series_png"]

WIDTH, HEIGHT, MARGIN = 480, 96, 6
PAPER, BAND, LINE, EARLIER, BAD = (255, 255, 255), (222, 235, 247), (49, 104, 173), (150, 170, 190), (204, 32, 32)
PALETTE = (PAPER, BAND, EARLIER, LINE, BAD)


def series_png(found: np.ndarray, low: np.ndarray, high: np.ndarray, outside: np.ndarray, *, judged_from: int = 0) -> bytes:
    """`(P,)` figures as a line, what was allowed as a band behind it, those outside as red dots.

    Args:
        found, low, high: float64, NaN where there is none.
        outside: bool.
        judged_from: position of the first one that this run made; the ones before are paler.
    """
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    shown = found[np.isfinite(found)]
    if not len(shown):
        return png(pixels)
    # the band may be wide: the line decides, and the band's ends are cut
    least, most = float(min(shown.min(), 0.0)), float(shown.max())
    band = high[np.isfinite(high)]
    most = max(most, min(float(np.median(band)), 3 * most)) if len(band) else most
    across = np.linspace(0, len(found) - 1, WIDTH - 2 * MARGIN)
    nearest = np.rint(across).astype(np.int64)
    columns = np.arange(MARGIN, WIDTH - MARGIN)

    def height_of(values: np.ndarray) -> np.ndarray:
        share = np.clip((values - least) / ((most - least) or 1.0), 0.0, 1.0)
        return np.rint((HEIGHT - 1 - MARGIN) - share * (HEIGHT - 1 - 2 * MARGIN)).astype(np.int64)

    known = np.isfinite(high[nearest])
    for column, place in zip(columns[known], nearest[known], strict=True):
        top, bottom = height_of(np.array([high[place], low[place] if np.isfinite(low[place]) else least]))
        pixels[top : bottom + 1, column] = 1
    filled = np.where(np.isfinite(found), found, least)
    heights = height_of(np.interp(across, np.arange(len(found)), filled))
    before = np.concatenate([heights[:1], heights[:-1]])
    for column, place, one, other in zip(columns, nearest, heights, before, strict=True):
        pixels[min(one, other) : max(one, other) + 1, column] = 2 if place < judged_from else 3
    for place in np.flatnonzero(outside):
        column = MARGIN + round(place * (WIDTH - 2 * MARGIN - 1) / max(len(found) - 1, 1))
        row = int(height_of(filled[place : place + 1])[0])
        pixels[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = 4
    return png(pixels)


def series_markdown(picture: bytes, *, says: str) -> str:
    """The picture inside Markdown, as Dagster shows it."""
    return f"![{says}](data:image/png;base64,{base64.b64encode(picture).decode()})"


def png(pixels: np.ndarray) -> bytes:
    """`(height, width)` uint8 positions in `PALETTE` as a PNG file."""
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1).tobytes()  # filter 0 before every line
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, palette
    chunks = ((b"IHDR", header), (b"PLTE", bytes(sum(PALETTE, ()))), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body
