"""A rendered deployment into the dev bucket: blobs first, the record that names them last."""

from __future__ import annotations

from collections.abc import Callable

from tiffin.registry.models import publish_record
from tiffin.serving.render import Rendered
from tiffin.storage.fencing import Fence
from tiffin.storage.objects import ObjectStore, put_blob

__all__ = ["publish_deployment"]


def publish_deployment(
    dev: ObjectStore,
    rendered: Rendered,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    since: int | None = None,
    fence: Fence | None = None,
) -> str:
    """Write it, point dev at it, and return the record's digest: what promotion asks for.

    Args:
        progress: called with blobs done and all.
        since, fence: see `tiffin.registry.pointers.move`.
    """
    for done, data in enumerate(rendered.blobs.values(), start=1):
        put_blob(dev, data)
        progress(done, len(rendered.blobs))
    return publish_record(dev, rendered.record, since=since, fence=fence)
