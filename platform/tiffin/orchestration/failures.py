"""Errors raised on purpose become step failures that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from tiffin.core.errors import PlatformError

__all__ = ["as_failure", "failures"]


def as_failure(err: PlatformError) -> dg.Failure:
    """The message as description, the fix and the context as metadata; retried only if a retry can help."""
    context = {name: dg.MetadataValue.text(str(value)) for name, value in err.context.items()}
    return dg.Failure(
        description=err.message,
        metadata={
            **context,
            "fix": dg.MetadataValue.text(err.fix),
            "error": dg.MetadataValue.text(type(err).__name__),
            "retryable": dg.MetadataValue.bool(err.retryable),
        },
        allow_retries=err.retryable,
    )


@contextmanager
def failures() -> Iterator[None]:
    """Translate at the one edge between the library and Dagster."""
    try:
        yield
    except PlatformError as err:
        raise as_failure(err) from err
