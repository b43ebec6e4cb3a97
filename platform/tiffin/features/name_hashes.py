"""Names of features as four bytes, as a published layout of feature stores calls them; two that collide are refused."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.core.errors import Invalid, Unsupported

__all__ = ["name_hashes"]


def name_hashes(names: Sequence[str]) -> dict[bytes, str]:
    """Each name under its 32-bit xxHash, seed 0, big-endian, in the order of `names`.

    Raises:
        Invalid: two names hash alike: of 500 names that happens in 3 of 100,000 views, of 10,000 in one of a hundred.
        Unsupported: the package xxhash is not installed.

    Example:
        >>> name_hashes(["rating"])
        {b'\\t\\x8b\\x7f!': 'rating'}
    """
    try:
        import xxhash  # an extra: only those who share data with the published layout need it
    except ImportError as err:
        raise Unsupported("the package xxhash is not installed", fix="pip install 'tiffin[xxhash]'") from err
    found: dict[bytes, str] = {}
    for name in names:
        short = xxhash.xxh32(name.encode()).digest()
        if short in found:
            raise Invalid(
                f"features {found[short]!r} and {name!r} have the same name hash {short.hex()} in the layout 'xxhash32'",
                fix=f"rename {name!r}",
                context={"feature": name, "other": found[short]},
            )
        found[short] = name
    return found
