"""A team: owner of a namespace, a queue, a budget and a code location."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from tiffin.core.errors import Invalid
from tiffin.core.names import check_name
from tiffin.core.spec import Spec

__all__ = ["Team"]


class Team(Spec):
    """Who owns what a package declares.

    Example:
        >>> Team("network", owner="team:network").name
        'network'
    """

    name: str
    owner: str = Field(description="an e-mail address, or 'team:name'")
    description: str = ""
    price_usd_per_h: float | None = Field(default=None, ge=0, description="what an hour of its workers costs; None shows seconds alone")

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        # spelled out because type checkers derive a keyword-only one from the fields
        super().__init__(name, **fields)

    @field_validator("name")
    @classmethod
    def name_is_safe(cls, name: str) -> str:
        return check_name(name, what="team")

    @field_validator("owner")
    @classmethod
    def owner_can_be_reached(cls, owner: str) -> str:
        if not owner.startswith("team:") and "@" not in owner:
            raise Invalid(f"owner {owner!r} is neither an e-mail address nor 'team:name'", fix=f"write 'team:{owner}'")
        return owner
