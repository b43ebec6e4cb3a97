"""Move a view of a running stack out of the published layout, under the promoter's identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tiffin.embedded.operate import Operator
from tiffin.manifests.records import ViewRecord
from tiffin.online.compat import PublishedLayout
from tiffin.online.migration import Migrated, Migration
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.registry.promote import promote
from tiffin.wire.schema import RowSchema

__all__ = ["migrate_to_stack"]


def migrate_to_stack(
    stack: Operator, view: ViewRecord, *, source: str, template: str, work: Path, now_us: int, progress: Callable[[int, int], None]
) -> Migrated:
    """Copy, publish, compare every row; see `tiffin.online.migration`.

    Args:
        source: URL of the server where the published layout stands.
        template: of an entity's key there.
        now_us: the rows' event time, cut to the schema's unit.
    """
    schema = RowSchema.from_json(view.row_schema)

    def make_durable(digest: str) -> None:
        promote("generation", digest, dev=stack.dev, prod=stack.prod, signer=stack.signer)

    return Migration(
        view,
        PublishedLayout(schema, tuple((field.name, field.type) for field in view.entity.keys), template),
        source=connect(source, timeout_s=10),
        event_time_us=now_us - (now_us - schema.epoch_us) % schema.unit_us,
        work=work,
        dev=stack.dev,
        promote=make_durable,
        store=RedisStore(connect(stack.settings.need("online_url"))),
    ).run(progress=progress)
