"""Validated names: safe as a key prefix, a path segment, a Dagster asset key and a Triton model."""

from __future__ import annotations

import re

from tiffin.core.errors import Invalid

__all__ = ["NAME_RULE", "check_name", "split_ref"]

NAME_RULE = "a lower-case letter, then up to 47 of a-z, 0-9 and single underscores"
NAME = re.compile(r"(?!.*__)[a-z][a-z0-9_]{0,47}(?<!_)")


def check_name(name: str, *, what: str) -> str:
    """Return `name` if it is safe everywhere we put it.

    Raises:
        Invalid: with a spelling that would be accepted.

    Example:
        >>> check_name("carrier_delays", what="feature view")
        'carrier_delays'
    """
    if NAME.fullmatch(name):
        return name
    guess = re.sub(r"_+", "_", re.sub(r"[^a-z0-9]+", "_", name.lower())).lstrip("_0123456789")[:48].rstrip("_")
    hint = f"rename it to {guess!r}" if NAME.fullmatch(guess) else "choose another name"
    raise Invalid(f"{what} name {name!r} is not allowed: expected {NAME_RULE}", fix=hint)


def split_ref(ref: str, *, what: str) -> tuple[str, str]:
    """Split `"team/name"` into its two validated parts."""
    team, slash, name = ref.partition("/")
    if not slash or "/" in name:
        raise Invalid(f"{what} reference {ref!r} is not of the form 'team/name'", fix=f"write 'team/{ref.replace('/', '_')}'")
    return check_name(team, what="team"), check_name(name, what=what)
