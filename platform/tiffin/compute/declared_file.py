"""Reading a declared YAML file strictly: no unknown key, no key twice, and an error that names file, key and fix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tiffin.core.errors import Invalid, NotFound, PlatformError, nearest

__all__ = ["Declared", "read_declared", "read_file"]

Kind = TypeVar("Kind", bound="Declared")


class Declared(BaseModel):
    """A part of a declared file: frozen; a misspelt key is refused with the nearest word."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def keys_are_known(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            for key in given:
                if key not in cls.model_fields:
                    raise Invalid(f"key {key!r} is not known here", fix=nearest(str(key), cls.model_fields))
        return given

    def with_changes(self, **changes: Any) -> Self:
        """A changed copy, validated like a new one."""
        current = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**current, **changes})


class OnceLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML's plain values alone; a key that stands twice is an error, and not the last one's win."""


def once(loader: OnceLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    """A mapping whose keys are unique."""
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not a word; put it in quotes", key_node.start_mark)
        if key in found:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


OnceLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, once)


def read_declared(kind: type[Kind], text: str, *, name: str) -> Kind:
    """One declared value from YAML text.

    Args:
        name: what errors call the text: its path.

    Raises:
        Invalid: not YAML, a key that is unknown or missing, or a value that breaks a rule.
    """
    try:
        data = yaml.load(text, OnceLoader)  # noqa: S506 - a SafeLoader with one rule more
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise Invalid(f"{name}{where}: {getattr(err, 'problem', None) or err}", fix="mend the YAML at this line") from err
    if not isinstance(data, dict):
        raise Invalid(f"{name}: found {type(data).__name__}, expected keys and values", fix=f"write {next(iter(kind.model_fields))}: ...")
    try:
        return kind.model_validate(data)
    except ValidationError as err:
        raise explained(err, name) from err


def read_file(kind: type[Kind], path: Path) -> Kind:
    """One declared value from a file.

    Raises:
        NotFound: there is none.
        Invalid: as `read_declared`.
    """
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError) as err:
        raise NotFound(f"there is no file {str(path)!r}", fix="run this in the project's folder, or write the file") from err
    return read_declared(kind, text, name=str(path))


def explained(err: ValidationError, name: str) -> Invalid:
    """The first complaint, with the file and the key; the rest are counted."""
    problems = err.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, PlatformError):
        found, fix = cause.message, cause.fix
    elif first["type"] == "missing":
        found, fix = "this key is missing", f"add {where}: ..."
    else:
        found, fix = f"{first['input']!r}: {first['msg']}", f"set {where or 'it'} to an allowed value"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Invalid(f"{name}: {where}{': ' if where else ''}{found}{more}", fix=fix, context={"file": name, "key": where})
