"""Texts from a declared vocabulary, stored as small codes: whole columns at a time.

A word's code is its place in the vocabulary, counted from 1; 0 is a null. Codes are u8 for up to 255 words, else u16.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, nearest
from tiffin.wire.columns import Mask, Ragged, ends, spans

__all__ = ["LONGEST_WORD", "MOST_WORDS", "Vocabulary", "code_dtype", "vocabulary_of", "vocabulary_text"]

MOST_WORDS = 0xFFFF
LONGEST_WORD = 255
EIGHT = 8
TRIES = 64
GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]


def code_dtype(words: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest code for so many words and null."""
    return np.dtype("u1") if words <= 255 else np.dtype("<u2")


@lru_cache(maxsize=256)
def vocabulary_text(words: tuple[str, ...]) -> str:
    """The text form inside an encoding: a compact JSON array, words in NFC and in declared order.

    Raises:
        Invalid: no words or too many, a word twice, too long, or with a zero byte.
    """
    normal = [unicodedata.normalize("NFC", word) for word in words]
    if not 1 <= len(normal) <= MOST_WORDS:
        raise Invalid(f"a vocabulary has {len(normal)} words: expected 1 to {MOST_WORDS}", fix="declare its words, or use String()")
    seen: set[str] = set()
    for word in normal:
        if word in seen:
            raise Invalid(f"word {word!r} stands twice in a vocabulary", fix="name every word once")
        seen.add(word)
        try:
            size = len(word.encode())
        except UnicodeEncodeError as err:
            raise Invalid(f"word {word!r} of a vocabulary cannot be UTF-8", fix="replace its lone surrogates") from err
        if size > LONGEST_WORD or "\0" in word:
            raise Invalid(
                f"word {word[:24]!r} of a vocabulary has {size} bytes of UTF-8: expected at most {LONGEST_WORD} and no zero byte",
                fix="shorten it, or use String()",
            )
    return json.dumps(normal, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Words and what finds their codes.

    Args:
        words: in declared order; the first has code 1.
        padded: `(words + 1, longest)` uint8, each padded with zeros; row 0 is the null's, empty.
        lengths: `(words + 1,)` bytes of each.
        inside: `(words + 1, longest)` bool: which bytes of `padded` are text.
        uniform: whether all words have one length.
        marks: `(words + 1,)` uint64, another one for every word; see `marks_of`. That of the null means nothing.
        order: `(words,)` places of the words by rising mark.
        factors: what `marks_of` multiplies with.
        table: codes by `slots_of` a mark, 0 where there is none; None for so many words that some would share a slot.
        spin: what `slots_of` multiplies with.
    """

    words: tuple[str, ...]
    padded: Bytes
    lengths: Longs
    inside: Mask
    uniform: bool
    marks: npt.NDArray[np.uint64]
    order: Longs
    factors: npt.NDArray[np.uint64]
    table: npt.NDArray[np.unsignedinteger] | None
    spin: np.uint64

    def encode(self, column: str, found: Ragged) -> npt.NDArray[np.unsignedinteger]:
        """`(rows,)` codes of canonical text (NFC, compact, nulls empty); 0 where null.

        Raises:
            Invalid: a text that is no word; names column, row, text and the nearest word.
        """
        rows, longest = len(found), self.padded.shape[1]
        lengths = np.diff(found.offsets)
        picked = lengths if found.valid is None else lengths[found.valid]
        if (picked == longest).all():
            cells = found.data.reshape(len(picked), longest)
        elif (picked <= longest).all():
            cells = np.zeros((len(picked), longest), dtype=np.uint8)
            cells.reshape(-1)[spans(np.arange(len(picked), dtype=np.int64) * longest, picked)] = found.data
        else:
            self.refuse(column, found, int(np.argmax(lengths > longest)))
        marks = marks_of(cells, self.factors)
        codes = self.find(marks)
        # a slot or a mark that fits does not yet say equal words; a text of up to 8 bytes is its mark
        same = (codes != 0) & (self.lengths.take(codes) == picked) & (self.marks.take(codes) == marks)
        if longest > EIGHT:
            same &= (self.padded[codes] == cells).all(axis=1)
        if not same.all():
            row = int(np.argmin(same))
            self.refuse(column, found, row if found.valid is None else int(np.flatnonzero(found.valid)[row]))
        if found.valid is None:
            return codes
        spread = np.zeros(rows, dtype=codes.dtype)
        spread[found.valid] = codes
        return spread

    def find(self, marks: npt.NDArray[np.uint64]) -> npt.NDArray[np.unsignedinteger]:
        """The only code that each mark may have, or 0."""
        if self.table is not None:
            return self.table.take(slots_of(marks, self.spin))
        place = np.searchsorted(self.marks[1:], marks, sorter=self.order)
        found: npt.NDArray[np.unsignedinteger] = (self.order[np.minimum(place, len(self.words) - 1)] + 1).astype(
            code_dtype(len(self.words))
        )
        return found

    def refuse(self, column: str, found: Ragged, row: int) -> NoReturn:
        """Raise for a text that is no word."""
        text = found.data[found.offsets[row] : found.offsets[row + 1]].tobytes().decode(errors="replace")
        some = ", ".join(map(repr, self.words[:8])) + (", ..." if len(self.words) > 8 else "")
        hint = nearest(text, self.words) if len(self.words) <= 4096 else f"use one of its {len(self.words)} words"
        raise Invalid(
            f"column {column!r}, row {row}: value {text[:64]!r} is not allowed: expected one of {some}",
            fix=f"{hint}; map it in the transform, or add it at the end of the vocabulary",
            context={"column": column, "row": row},
        )

    def decode(self, codes: npt.NDArray[np.unsignedinteger], valid: Mask | None) -> Ragged:
        """Text of codes.

        Args:
            codes: of the rows that are not null, each the code of a word.
            valid: `(rows,)` which rows those are; None: all.
        """
        longest = self.padded.shape[1]
        pieces = self.padded[codes] if longest == 0 else self.padded.view(f"V{longest}").reshape(-1).take(codes).view(np.uint8)
        if not self.uniform:
            pieces = pieces[self.inside.view(f"V{longest}").reshape(-1).take(codes).view(np.bool_)]
            lengths = self.lengths.take(codes)
            if valid is None:
                return Ragged(ends(lengths), pieces, None)
            spread = np.zeros(len(valid), dtype=np.int64)
            spread[valid] = lengths
            return Ragged(ends(spread), pieces, valid)
        offsets = np.arange(len(codes) + 1, dtype=np.int64) if valid is None else ends(valid)
        offsets *= longest
        return Ragged(offsets, pieces.reshape(-1), valid)


def marks_of(cells: Bytes, factors: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One uint64 per zero-padded text: the text itself up to 8 bytes, else a sum of its multiplied eighths."""
    rows, width = cells.shape
    wide = np.zeros((rows, EIGHT * len(factors)), dtype=np.uint8)
    wide[:, :width] = cells
    eighths = wide.view("<u8")
    if len(factors) == 1:
        found: npt.NDArray[np.uint64] = eighths[:, 0]
        return found
    mixed = eighths * factors
    mixed ^= mixed >> np.uint64(29)
    total: npt.NDArray[np.uint64] = np.add.reduce(mixed, axis=1)
    return total


def slots_of(marks: npt.NDArray[np.uint64], spin: np.uint64) -> npt.NDArray[np.int64]:
    """A place in a table of 2**16 for every mark."""
    slots: npt.NDArray[np.int64] = ((marks * spin) >> np.uint64(48)).astype(np.int64)
    return slots


def table_of(
    marks: npt.NDArray[np.uint64], dtype: np.dtype[np.unsignedinteger]
) -> tuple[npt.NDArray[np.unsignedinteger] | None, np.uint64]:
    """Codes by slot and the spin that gives every word a slot of its own: found at once for 255 words, hardly ever for 1,000."""
    for salt in range(TRIES):
        spin = np.uint64((int(GOLDEN) * (2 * salt + 1)) % 2**64)
        slots = slots_of(marks[1:], spin)
        if len(np.unique(slots)) == len(slots):
            table = np.zeros(2**16, dtype=dtype)
            table[slots] = np.arange(1, len(marks))
            return table, spin
    return None, GOLDEN


@lru_cache(maxsize=256)
def vocabulary_of(text: str) -> Vocabulary:
    """The vocabulary of a text form.

    Raises:
        Invalid: not what `vocabulary_text` writes.
    """
    try:
        words = json.loads(text)
        right = isinstance(words, list) and all(isinstance(word, str) for word in words) and vocabulary_text(tuple(words)) == text
    except ValueError:
        right = False
    if not right:
        raise Invalid(f"vocabulary {text[:60]!r} is not a compact JSON array of words", fix="use Category((...)), or a newer tiffin")
    pieces = [b"", *[word.encode() for word in words]]
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    longest = int(lengths.max())
    padded = np.frombuffer(b"".join(piece.ljust(longest, b"\0") for piece in pieces), dtype=np.uint8).reshape(len(pieces), longest)
    for salt in itertools.count():
        factors = (np.arange(1, max(2, 1 - (-longest // EIGHT)), dtype=np.uint64) + np.uint64(salt)) * GOLDEN | np.uint64(1)
        marks = marks_of(padded, factors)
        if len(np.unique(marks[1:])) == len(words):  # else two words share a mark: other factors
            break
    inside = np.arange(longest) < lengths[:, None]
    uniform = bool((lengths[1:] == longest).all())
    return Vocabulary(
        tuple(words), padded, lengths, inside, uniform, marks, np.argsort(marks[1:]), factors, *table_of(marks, code_dtype(len(words)))
    )
