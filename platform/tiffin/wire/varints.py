"""Lists of whole numbers as zigzag LEB128, a whole column at a time.

A number takes one byte per 7 bits, low bits first; every byte but a number's last has its top bit set.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tiffin.wire.columns import ends
from tiffin.wire.flaws import refuse

__all__ = ["LONGEST", "decode_varints", "encode_varints"]

LONGEST = 10


def encode_varints(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bytes of all numbers, and `(numbers,)` how many each takes."""
    zigzag = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    widths = np.ones(len(numbers), dtype=np.int64)
    for extra in range(1, LONGEST):
        widths += zigzag >= np.uint64(1 << (7 * extra))
    starts = ends(widths)
    out = np.zeros(starts[-1], dtype=np.uint8)
    for place in range(int(widths.max(initial=0))):
        has = widths > place
        bits = ((zigzag[has] >> np.uint64(7 * place)) & np.uint64(0x7F)).astype(np.uint8)
        more = np.where(widths[has] > place + 1, np.uint8(0x80), np.uint8(0))
        out[starts[:-1][has] + place] = bits | more
    return out, widths


def decode_varints(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], *, column: str, rows: npt.NDArray[np.int64] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers of all rows, and `(rows,)` how many each row has.

    Args:
        data: the rows' bytes, one after the other.
        offsets: `(rows + 1,)` where each row's bytes begin; the last is `len(data)`.
        column, rows: what an error calls them.

    Raises:
        Corrupt: a number is cut, too long, or not in its shortest form.
    """
    last = data < 0x80
    stops = np.flatnonzero(last) + 1
    starts = np.concatenate([[0], stops[:-1]]) if len(stops) else stops
    widths = stops - starts
    filled = np.diff(offsets) > 0
    whole = last[offsets[1:][filled] - 1]
    if not whole.all() or malformed(data, stops, widths).any():
        # a number that runs over the end of its row is that row's fault: what follows counts from the next row's beginning
        owners = np.searchsorted(offsets, stops - 1, side="right") - 1
        own = malformed(data, stops, stops - np.maximum(starts, offsets[owners]))
        bad = np.zeros(len(offsets) - 1, dtype=np.bool_)
        bad[np.flatnonzero(filled)[~whole]] = True
        bad[owners[own]] = True
        refuse(bad, "varint", lambda row: "not in its shortest form, or cut", column=column, rows=rows)
    zigzag = np.zeros(len(stops), dtype=np.uint64)
    for place in range(int(widths.max(initial=0))):
        has = widths > place
        zigzag[has] |= (data[starts[has] + place] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * place)
    numbers = (zigzag >> np.uint64(1)).view(np.int64) ^ -(zigzag & np.uint64(1)).view(np.int64)
    before = np.concatenate([[0], np.cumsum(last)])
    return numbers, np.diff(before[offsets])


def malformed(data: npt.NDArray[np.uint8], stops: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which numbers are longer than they need be, or than 64 bits; each has `widths` bytes before its stop."""
    last = data[stops - 1]
    bad: npt.NDArray[np.bool_] = ((widths > 1) & (last == 0)) | (widths > LONGEST) | ((widths == LONGEST) & (last > 1))
    return bad
