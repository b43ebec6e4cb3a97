"""Content addresses: sha256 of bytes, and of values by way of canonical JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["canonical_json", "digest_bytes", "digest_json"]


def digest_bytes(data: bytes | memoryview) -> str:
    """Lower-case hex sha256 of `data`: the name of every immutable object."""
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one byte string for a JSON value: sorted keys, no spaces, UTF-8, no NaN.

    Example:
        >>> canonical_json({"b": 1, "a": ["é"]})
        b'{"a":["\\xc3\\xa9"],"b":1}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_json(value: Any) -> str:
    """Digest of a JSON value, equal for equal values whatever their key order."""
    return digest_bytes(canonical_json(value))
