"""Which pod of a gang this process is, and where the gang meets."""

from __future__ import annotations

from dataclasses import dataclass

from tiffin.core.errors import Invalid
from tiffin.core.settings import Settings

__all__ = ["Gang"]


@dataclass(frozen=True, slots=True)
class Gang:
    """One pod's place among the pods that were admitted together.

    Args:
        rank: 0 to `size` - 1; rank 0 runs the step itself.
        host, port: where rank 0 is reached; nothing listens there until the step makes something listen.
    """

    rank: int
    size: int
    host: str
    port: int

    @classmethod
    def here(cls, settings: Settings) -> Gang:
        """This process's place.

        Raises:
            Invalid: the process is in no gang.
        """
        host, _, port = (settings.gang_master or "").rpartition(":")
        if settings.gang_rank is None or not host or not port.isdigit():
            raise Invalid(
                "this process is not a pod of a gang", fix="give the asset compute=Compute(parallelism=2) and run it on a cluster"
            )
        return cls(settings.gang_rank, settings.gang_size, host, int(port))

    @property
    def first(self) -> bool:
        """Whether this pod runs the step."""
        return self.rank == 0
