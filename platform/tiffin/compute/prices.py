"""Prices as the platform team writes them, and what an amount of a flavor costs for a time, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.core.spec import Spec

__all__ = ["LOCAL", "ONLINE", "REMOTE", "UNSEEN", "Prices"]

ONLINE = "online"
"""Flavor of memory in the online store."""
UNSEEN = "unseen"
"""Flavor of usage whose admission nobody saw; priced like the first flavor that has the resource."""

LOCAL = "local"
"""Flavor of steps that ran without a cluster; priced like `UNSEEN`."""

REMOTE = "remote:"
"""Prefix of a remote provider's flavor, `remote:emr-serverless`; one without a price of its own is priced like `UNSEEN`."""

GIB = 2**30
US_PER_H = 3_600_000_000
HOURS_PER_MONTH = 730
BYTES = {"memory", "ephemeral-storage"}


def exact(price: Any) -> Decimal:
    """A price as the decimal that was written; floats are read as they print."""
    try:
        found = Decimal(str(price)) if not isinstance(price, bool) else Decimal("NaN")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or found < 0:
        raise Invalid(f"price {price!r} is not an amount of money", fix='write dollars as text: "0.045"')
    return found


Usd = Annotated[Decimal, BeforeValidator(exact)]


class Prices(Spec):
    """What the company pays, in USD: an hour of one core, of one GiB or of one device, by flavor and resource.

    Example:
        >>> prices = Prices(flavors={"cpu": {"cpu": "0.04", "memory": "0.005"}})
        >>> float(prices.usd("cpu", "memory", 4 * 2**30 * 1000, 1_800_000_000))
        0.01
    """

    flavors: dict[str, dict[str, Usd]] = Field(description="by ResourceFlavor, then resource: USD an hour")
    online_gib_month: Usd = Field(default=Decimal(0), description="USD a month for one GiB in the online store")

    def __init__(self, **fields: Any) -> None:
        # spelled out so that type checkers accept the text that pydantic reads
        super().__init__(None, **fields)

    @field_validator("flavors")
    @classmethod
    def something_has_a_price(cls, flavors: dict[str, dict[str, Decimal]]) -> dict[str, dict[str, Decimal]]:
        for reserved in sorted({LOCAL, ONLINE, UNSEEN} & set(flavors)):
            raise Invalid(
                f"flavor {reserved!r} is a word of the bill", fix="rename the flavor; the online store's price is online_gib_month"
            )
        if not any(flavors.values()):
            raise Invalid("no flavor has a price", fix='write flavors: {cpu: {cpu: "0.04", memory: "0.005"}}')
        return flavors

    @classmethod
    def parse(cls, section: object) -> Prices:
        """The section `prices:` of the platform's file.

        Raises:
            Invalid: not a mapping, an unknown key (with the nearest), or no amount of money.
        """
        if not isinstance(section, Mapping):
            raise Invalid(f"prices: expected a mapping, found {section!r}", fix='write prices: {flavors: {cpu: {cpu: "0.04"}}}')
        for key in sorted({str(key) for key in section} - set(cls.model_fields)):
            raise Invalid(f"prices: unknown key {key!r}", fix=nearest(key, cls.model_fields))
        return cls(**{str(key): value for key, value in section.items()})

    def usd(self, flavor: str, resource: str, milli: int, duration_us: int) -> Fraction:
        """What an amount costs for a time, without rounding.

        Args:
            milli: thousandths of the resource's unit: cores, bytes, devices.

        Raises:
            NotFound: the flavor, or this resource of it, has no price.
        """
        hours = Fraction(duration_us, US_PER_H)
        if flavor == ONLINE:
            return Fraction(milli, 1000 * GIB) * Fraction(self.online_gib_month) / HOURS_PER_MONTH * hours
        amount = Fraction(milli, 1000 * GIB) if resource in BYTES else Fraction(milli, 1000)
        return amount * self.rate(flavor, resource) * hours

    def rate(self, flavor: str, resource: str) -> Fraction:
        """USD an hour for one unit. Raises NotFound."""
        first = self.first_with(resource)
        priced = {UNSEEN: first, LOCAL: first, **({flavor: first} if flavor.startswith(REMOTE) else {}), **self.flavors}
        if flavor not in priced:
            raise NotFound(
                f"flavor {flavor!r} has no price", fix=f"add it to prices.flavors of the platform's file; {nearest(flavor, priced)}"
            )
        found = priced[flavor].get(resource)
        if found is None and resource == "pods":
            return Fraction(0)  # a count that a quota may limit, nothing that is bought
        if found is None:
            hint = nearest(resource, priced[flavor])
            raise NotFound(f"resource {resource!r} of flavor {flavor!r} has no price", fix=f'write it, "0" when it is free; {hint}')
        return Fraction(found)

    def first_with(self, resource: str) -> dict[str, Decimal]:
        """The flavor that Kueue would have tried first among those with the resource."""
        return next((priced for priced in self.flavors.values() if resource in priced), {})
