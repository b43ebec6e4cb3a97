"""Every error raised on purpose: one root, one subclass per decision a caller can make."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

__all__ = [
    "Conflict",
    "Corrupt",
    "Denied",
    "Invalid",
    "NotFound",
    "NotReady",
    "PlatformError",
    "Unsupported",
    "nearest",
]


class PlatformError(Exception):
    """Root of every error we raise on purpose.

    Args:
        message: what we were doing, what we found, what was expected.
        fix: what the reader should do next.
        context: values for logs and `--json`; never a secret.
    """

    retryable = False

    def __init__(self, message: str, *, fix: str, context: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.context = dict(context or {})

    def __str__(self) -> str:
        return f"{self.message}\n  fix: {self.fix}"


class NotFound(PlatformError, LookupError):
    """The named thing does not exist in this environment."""


class Conflict(PlatformError):
    """Somebody else changed the same thing first; read it again and retry."""

    retryable = True


class Invalid(PlatformError, ValueError):
    """The input breaks a rule; the same input will be refused again."""


class Corrupt(Invalid):
    """Stored bytes are not the bytes that were published."""


class NotReady(PlatformError):
    """The thing exists but cannot answer yet."""

    retryable = True


class Denied(PlatformError, PermissionError):
    """This identity may not do that."""


class Unsupported(PlatformError):
    """A correct request that this build or plug-in cannot serve."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the closest known word, or all of them when none is close.

    Example:
        >>> nearest("driver_ratng", ["driver_rating", "store_load"])
        "did you mean 'driver_rating'?"
        >>> nearest("zzz", ["b", "a"])
        'use one of: a, b'
    """
    words = sorted(set(known))
    close = difflib.get_close_matches(word, words, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"use one of: {', '.join(words)}" if words else "there is none to choose from yet"
