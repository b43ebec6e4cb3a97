"""Where we run: the only reader of the environment, built once at an entry point."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from tiffin.core.clock import Clock, frozen_clock, wall_clock
from tiffin.core.errors import Invalid, nearest
from tiffin.core.units import parse_instant

__all__ = ["Settings", "inherited_environment", "with_variables"]

PREFIX = "TIFFIN_"
# what a pod is told of itself by field references, under the names that Kubernetes' own examples give them
FROM_THE_POD = ("pod_name", "pod_uid")
# where programs, homes, certificates and proxies are; a child of the stack gets these and nothing else,
# so that a credential in the shell of whoever typed `tiffin up` is not in every step's environment
INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_CACHE_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


class Settings(BaseModel):
    """One frozen object from `TIFFIN_*` variables; secrets never print."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".tiffin"), description="the embedded stack's state folder")
    cache: Path = Field(default=Path("~/.cache/tiffin").expanduser(), description="slow builds, keyed by version")
    as_of: str | None = Field(default=None, description="replay history as if now were this instant")
    s3_endpoint: str | None = Field(default=None, description="http(s) URL of the object store")
    s3_region: str = "us-east-1"
    dev_bucket: str = "dev"
    prod_bucket: str = "prod"
    dev_access_key: str | None = Field(default=None, description="dev read-write")
    dev_secret_key: SecretStr | None = None
    prod_read_access_key: str | None = Field(default=None, description="prod read-only")
    prod_read_secret_key: SecretStr | None = None
    online_url: SecretStr | None = Field(default=None, description="redis:// URL of the publisher's user")
    online_reader_url: SecretStr | None = Field(default=None, description="redis:// URL of a user that may only read; for Triton's steps")
    triton_grpc: str | None = Field(default=None, description="host:port of Triton's gRPC endpoint")
    agent_url: str | None = Field(default=None, description="http URL of the serving agent")
    signing_public_key: str | None = Field(default=None, description="hex ed25519 key that prod manifests verify against")
    isolation: str = Field(default="namespace", description="how steps are kept from the prod-write key: namespace or none")
    cluster: str | None = Field(
        default=None, description="where steps run: a kubeconfig's path or 'in-cluster'; None: in the run's process"
    )
    step_image: str | None = Field(default=None, description="image of the steps' pods; None: the code location's")
    attempt: int | None = Field(default=None, ge=1, description="which start of its step this process is; set by the step's entry")
    checkpoint: str | None = Field(default=None, description="object-store prefix where an attempt leaves what the next one goes on from")
    gang_rank: int | None = Field(default=None, ge=0, description="which pod of its gang this is; 0 runs the step")
    gang_size: int = Field(default=1, ge=1, description="pods of the gang")
    gang_master: str | None = Field(default=None, description="host:port where the pods of a gang meet: of its rank 0")
    gang_member: str | None = Field(default=None, description="module:function that the gang's other pods run")
    pod_name: str | None = Field(default=None, description="POD_NAME: of the pod that we run in")
    pod_uid: str | None = Field(default=None, description="POD_UID: of the pod that we run in")

    @field_validator("home", "cache")
    @classmethod
    def home_is_expanded(cls, path: Path) -> Path:
        return path.expanduser()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read `TIFFIN_*`; a misspelt variable is an error, not a default."""
        source = os.environ if environ is None else environ
        fields = {key.removeprefix(PREFIX).lower(): value for key, value in source.items() if key.startswith(PREFIX)}
        if "cache" not in fields and source.get("XDG_CACHE_HOME"):
            fields["cache"] = f"{source['XDG_CACHE_HOME']}/tiffin"
        fields = {**{name: source[name.upper()] for name in FROM_THE_POD if name.upper() in source}, **fields}
        unknown = sorted(set(fields) - set(cls.model_fields))
        if unknown:
            raise Invalid(f"environment variable {PREFIX}{unknown[0].upper()} is not a setting", fix=nearest(unknown[0], cls.model_fields))
        try:
            return cls.model_validate(fields)
        except ValidationError as err:
            first = err.errors()[0]
            name = f"{PREFIX}{str(first['loc'][0]).upper()}"
            raise Invalid(f"environment variable {name}: {first['msg']}", fix=f"correct or unset {name}") from err

    def need(self, name: str) -> str:
        """A setting that this entry point cannot do without, as text."""
        value = getattr(self, name)
        if value is None:
            raise Invalid(f"setting {PREFIX}{name.upper()} is not set", fix="start the stack with `tiffin up`, or set it")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    @property
    def replay_instant(self) -> datetime | None:
        """The frozen instant, when this stack replays history."""
        return None if self.as_of is None else parse_instant(self.as_of)

    @property
    def clock(self) -> Clock:
        """The wall, or the frozen instant."""
        instant = self.replay_instant
        return wall_clock if instant is None else frozen_clock(instant)

    def to_environment(self) -> dict[str, str]:
        """The variables that rebuild this object in a child process."""
        found: dict[str, str] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                found[f"{PREFIX}{name.upper()}"] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        return found


def inherited_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The harmless part of our environment, for a child process that gets its settings explicitly."""
    source = os.environ if environ is None else environ
    return {key: source[key] for key in INHERITED if key in source}


@contextmanager
def with_variables(given: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for a vendor's start scripts, put back afterwards; nothing of ours reads them."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
