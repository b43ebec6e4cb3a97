"""Texts from a declared vocabulary, stored as small codes: whole columns at a time.

A word's code is its place in the vocabulary, counted from 1; 0 is a null. Codes are u8 for up to 255 words, else u16.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, nearest
from tiffin.wire.columns import Mask, Ragged, ends, spans

__all__ = ["LONGEST_WORD", "MOST_WORDS", "Vocabulary", "code_dtype", "vocabulary_of", "vocabulary_text"]

MOST_WORDS = 0xFFFF
LONGEST_WORD = 255
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
        marks: `(words,)` rising uint64, one per word; see `marks_of`.
        codes: `(words,)` the code of each mark.
        factors: what `marks_of` multiplies with.
    """

    words: tuple[str, ...]
    padded: Bytes
    lengths: Longs
    inside: Mask
    uniform: bool
    marks: npt.NDArray[np.uint64]
    codes: npt.NDArray[np.unsignedinteger]
    factors: npt.NDArray[np.uint64]

    def encode(self, column: str, found: Ragged) -> npt.NDArray[np.unsignedinteger]:
        """`(rows,)` codes of canonical text (NFC, compact, nulls empty); 0 where null.

        Raises:
            Invalid: a text that is no word; names column, row, text and the nearest word.
        """
        rows, longest = len(found), self.padded.shape[1]
        lengths = np.diff(found.offsets)
        cells = np.zeros((rows, longest), dtype=np.uint8)
        fits = lengths <= longest
        if rows and (lengths == longest).all():
            cells = found.data.reshape(rows, longest)
        elif fits.all():
            cells.reshape(-1)[spans(np.arange(rows, dtype=np.int64) * longest, lengths)] = found.data
        else:
            self.refuse(column, found, int(np.argmin(fits)))
        marks = marks_of(cells, self.factors)
        place = np.minimum(np.searchsorted(self.marks, marks), len(self.marks) - 1)
        codes = self.codes[place]
        # equal marks do not yet say equal words
        same = (self.padded[codes] == cells).all(axis=1) & (self.lengths[codes] == lengths)
        if found.valid is not None:
            codes = np.where(found.valid, codes, np.zeros((), codes.dtype))
            same |= ~found.valid
        if not same.all():
            self.refuse(column, found, int(np.argmin(same)))
        return codes

    def refuse(self, column: str, found: Ragged, row: int) -> None:
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
    wide = np.zeros((rows, 8 * len(factors)), dtype=np.uint8)
    wide[:, :width] = cells
    eighths = wide.view("<u8")
    if len(factors) == 1:
        found: npt.NDArray[np.uint64] = eighths[:, 0]
        return found
    mixed = eighths * factors
    mixed ^= mixed >> np.uint64(29)
    total: npt.NDArray[np.uint64] = np.add.reduce(mixed, axis=1)
    return total


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
        factors = (np.arange(1, max(2, 1 - (-longest // 8)), dtype=np.uint64) + np.uint64(salt)) * GOLDEN | np.uint64(1)
        marks = marks_of(padded[1:], factors)
        order = np.argsort(marks, kind="stable")
        if len(np.unique(marks)) == len(marks):  # else two words share a mark: other factors
            break
    codes = (order + 1).astype(code_dtype(len(words)))
    inside = np.arange(longest) < lengths[:, None]
    uniform = bool((lengths[1:] == longest).all())
    return Vocabulary(tuple(words), padded, lengths, inside, uniform, marks[order], codes, factors)
