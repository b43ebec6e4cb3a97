"""`Compute`: what a step asks of the cluster: cores, memory, accelerators, queue, priority, patience."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_serializer, field_validator

from tiffin.compute.quantities import Requests, milli, quantity_text
from tiffin.core.errors import Invalid
from tiffin.core.spec import Spec
from tiffin.core.units import parse_duration

__all__ = ["Compute", "Duration", "check_label_name"]

Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
LABEL_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
RESOURCE = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")


def check_label_name(name: str, *, what: str) -> str:
    """A name that Kubernetes takes as an object's name and as a label's value.

    Raises:
        Invalid: with the rule.

    Example:
        >>> check_label_name("a100-80gb", what="flavor")
        'a100-80gb'
    """
    if LABEL_NAME.fullmatch(name) and ".." not in name:
        return name
    raise Invalid(
        f"{what} name {name!r} is not one that Kubernetes takes",
        fix="use up to 63 of a-z, 0-9, '-' and '.'; letters or digits at both ends",
    )


class Compute(Spec):
    """What one step needs. Limits of memory and accelerators equal the requests; cores may be exceeded where a node is idle.

    Example:
        >>> Compute(cpu=2, memory="4Gi").requests()
        {'cpu': 2000, 'memory': 4294967296000}
    """

    cpu: str = Field(default="1", description="cores of one pod: 2, '500m'")
    memory: str = Field(default="1Gi", description="memory of one pod: '4Gi'")
    gpus: int = Field(default=0, ge=0, le=64, description="accelerators of one pod")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="which kind of accelerator, as the nodes name it")
    flavor: str | None = Field(default=None, description="only nodes of this ResourceFlavor; None: the first with room")
    priority: str | None = Field(default=None, description="WorkloadPriorityClass; None: named like the queue that the run goes to")
    queue: str | None = Field(
        default=None, description="LocalQueue of the team's namespace; None: prod, default or backfill, by what the run is"
    )
    image: str | None = Field(default=None, description="None: the code location's image")
    parallelism: int = Field(default=1, ge=1, le=1000, description="pods that are admitted together, all or none")
    max_queue: Duration | None = Field(default=None, description="a step that waits longer for its quota fails; None: it waits for ever")
    max_run: Duration | None = Field(
        default=None, description="longest time with quota, summed over preemptions; then Kueue takes it away for good"
    )
    grace: Duration = Field(default=timedelta(seconds=30), description="time between the polite signal and the kill, e.g. for a checkpoint")

    def __init__(self, **fields: Any) -> None:
        # spelled out so that type checkers accept what pydantic reads: cpu=2, max_run="6h"
        super().__init__(None, **fields)

    @field_validator("cpu", "memory", mode="before")
    @classmethod
    def amount_is_exact(cls, quantity: Any) -> str:
        amount = milli(quantity) if isinstance(quantity, str | int | float) else 0
        if amount <= 0:
            raise Invalid(f"quantity {quantity!r} asks for nothing", fix="a pod without requests is admitted at no cost: ask for some")
        return quantity_text(amount)

    @field_validator("memory")
    @classmethod
    def memory_is_bytes(cls, memory: str) -> str:
        if milli(memory) < 2**20 * 1000:
            raise Invalid(f"memory {memory!r} is less than a mebibyte", fix="memory counts bytes: write '512Mi' or '4Gi'")
        return memory

    @field_validator("gpu_resource")
    @classmethod
    def resource_is_named_in_full(cls, resource: str) -> str:
        if RESOURCE.fullmatch(resource) is None:
            raise Invalid(f"accelerator resource {resource!r} has no vendor", fix="name it like the nodes do: 'nvidia.com/gpu'")
        return resource

    @field_validator("flavor", "priority", "queue")
    @classmethod
    def kubernetes_takes_the_name(cls, name: str | None, info: Any) -> str | None:
        return None if name is None else check_label_name(name, what=info.field_name)

    @field_validator("image")
    @classmethod
    def image_is_a_reference(cls, image: str | None) -> str | None:
        if image is not None and IMAGE.fullmatch(image) is None:
            raise Invalid(f"image {image!r} is not an image reference", fix="write it like 'registry/team/name@sha256:...'")
        return image

    @field_validator("max_queue", "max_run")
    @classmethod
    def patience_is_some(cls, limit: timedelta | None, info: Any) -> timedelta | None:
        if limit is not None and limit < timedelta(seconds=1):
            raise Invalid(f"{info.field_name} {limit} leaves no time at all", fix="leave it out for no limit")
        return limit

    @field_serializer("max_queue", "max_run", "grace", when_used="json")
    def duration_is_text(self, duration: timedelta | None) -> str | None:
        """As `parse_duration` reads it: the spec travels to the run worker as JSON."""
        return None if duration is None else f"{math.ceil(duration.total_seconds())}s"

    def requests(self) -> Requests:
        """What one pod asks for, in thousandths."""
        found = {"cpu": milli(self.cpu), "memory": milli(self.memory)}
        return found | ({self.gpu_resource: self.gpus * 1000} if self.gpus else {})

    def resource_list(self) -> dict[str, str]:
        """The requests as a pod writes them."""
        return {name: quantity_text(amount) for name, amount in self.requests().items()}
