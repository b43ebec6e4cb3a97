"""Erase one entity of a view from a running stack, under the promoter's identity."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from tiffin.embedded.operate import Operator
from tiffin.manifests.records import ViewRecord
from tiffin.manifests.signing import Verifier
from tiffin.online.erase import ErasureRecord, erase
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.registry.promote import promote
from tiffin.registry.verified import fetch_current, fetch_record
from tiffin.wire.keys import encode_keys

__all__ = ["erase_from_stack"]


def erase_from_stack(stack: Operator, view: ViewRecord, key: pa.Table, *, by: str, progress: Callable[[int, int], None]) -> ErasureRecord:
    """Erase an entity from the online store and from the segments of dev and prod; see `tiffin.online.erase`.

    Args:
        view: as the catalog has it; the published one is used.
        key: one row with the key's parts.
        by: who asked, for the audit record.

    Raises:
        NotFound: the view was never promoted. Corrupt: its manifest is not the promoter's.
    """
    verifier = Verifier(stack.settings.need("signing_public_key"))
    ref = f"view '{view.team}/{view.name}'"
    _, current = fetch_current(stack.prod, verifier, "generation", view.team, view.name)
    published = fetch_record(stack.prod, verifier, "view", current.view_record, name=ref)
    fields = [(field.name, field.type) for field in published.entity.keys]
    (encoded,), _ = encode_keys(fields, {name: key.column(name).to_pylist() for name, _ in fields})

    def make_durable(digest: str) -> None:
        promote("generation", digest, dev=stack.dev, prod=stack.prod, signer=stack.signer)

    return erase(
        published,
        encoded,
        current=current,
        dev=stack.dev,
        prod=stack.prod,
        promote=make_durable,
        store=RedisStore(connect(stack.settings.need("online_url"))),
        by=by,
        progress=progress,
    )
