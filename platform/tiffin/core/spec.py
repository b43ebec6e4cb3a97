"""The frozen base of everything a team declares and of every stored record."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tiffin.core.digests import canonical_json, digest_bytes
from tiffin.core.errors import Invalid, PlatformError, nearest

__all__ = ["Record", "Spec", "declared_at"]

LIBRARY = str(Path(__file__).resolve().parents[1])
FRAMEWORKS = ("pydantic", "functools", "abc", "importlib")


def declared_at() -> str:
    """`file:line` of the nearest caller outside the library: where the user wrote the spec."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        # generated code ("<...>") has no line that a user could open
        outside = not name.startswith((LIBRARY, "<")) and frame.f_globals.get("__name__", "").partition(".")[0] not in FRAMEWORKS
        if outside:
            return f"{name}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "unknown file"


class Spec(BaseModel):
    """A value a team declares: frozen, no unknown fields, errors that name file, thing and field.

    Subclasses whose first field is a name may be given it positionally: `Entity("carrier", ...)`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, name: Any = None, /, **fields: Any) -> None:
        if name is not None:
            first = next(iter(type(self).model_fields))
            if first in fields:
                raise Invalid(f"{type(self).__name__} got {first!r} twice, at {declared_at()}", fix=f"give {first!r} once")
            fields[first] = name
        try:
            super().__init__(**fields)
        except ValidationError as err:
            raise explain(type(self), fields, err) from err

    def with_changes(self, **changes: Any) -> Self:
        """A changed copy, validated like a new one."""
        current = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**current, **changes})


def label(kind: type[BaseModel], fields: dict[str, Any]) -> str:
    """`Entity 'carrier'`, or the bare kind when it has no name."""
    name = fields.get("name", fields.get(next(iter(kind.model_fields), "")))
    return f"{kind.__name__} {name!r}" if isinstance(name, str) else kind.__name__


def explain(kind: type[BaseModel], fields: dict[str, Any], err: ValidationError) -> Invalid:
    """One readable error from pydantic's first complaint; the rest are counted."""
    problems = err.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole spec"
    subject = label(kind, fields)
    if first["type"] == "extra_forbidden":
        fix = nearest(str(first["loc"][-1]), kind.model_fields)
        found = f"field {where!r} is not one of its fields"
    elif first["type"] == "missing":
        fix, found = f"add {where}=...", f"field {where!r} is missing"
    else:
        fix = f"set {where} to an allowed value: {first['msg']}"
        found = f"field {where!r} is {first['input']!r}: {first['msg']}"
        allowed = first.get("ctx", {}).get("expected")
        if first["type"] == "literal_error" and isinstance(allowed, str):
            fix = nearest(str(first["input"]), [word.strip("' ") for word in allowed.replace(" or ", ", ").split(", ")])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, PlatformError):
        found, fix = cause.message, cause.fix
    elif isinstance(cause, ValueError):
        found, fix = str(cause), f"change {where}" if first["loc"] else "change the spec"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Invalid(f"{subject}: {found}{more} (declared at {declared_at()})", fix=fix)


class Record(BaseModel):
    """An immutable stored JSON record, named by its digest. Unknown fields are refused.

    Every record carries `format`, its kind and version, so that old bytes decode for ever.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal records are equal bytes."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def address(self) -> str:
        """sha256 of `to_bytes()`: the record's name, and what other records call it by."""
        return digest_bytes(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Self:
        """Decode and validate; `name` is what the error calls it (a key or path)."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as err:
            first = err.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise Invalid(
                f"reading {cls.__name__} {name!r}: field {where!r}: {first['msg']}",
                fix="it was not written by this library, or by a newer one: publish it again or upgrade",
            ) from err
