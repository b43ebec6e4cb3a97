"""Rendered deployments with one file changed, consistently signed: faults that only running them can show."""

from __future__ import annotations

from tests.serving_case import Case
from tests.serving_stage import Stage
from tiffin.core.digests import digest_bytes
from tiffin.manifests.records import FileRef
from tiffin.registry.models import save_model
from tiffin.serving.publish import publish_deployment
from tiffin.serving.render import Rendered
from tiffin.storage.objects import put_blob


def file_ref(path: str, data: bytes) -> FileRef:
    return FileRef(path=path, digest=digest_bytes(data), size_bytes=len(data))


def with_golden(rendered: Rendered, golden: bytes) -> Rendered:
    """Other golden rows."""
    record = rendered.record.model_copy(update={"golden": file_ref(rendered.record.golden.path, golden)})
    return Rendered(record, {**rendered.blobs, digest_bytes(golden): golden})


def with_file(rendered: Rendered, ending: str, data: bytes) -> Rendered:
    """Another file in place of the one whose path ends so."""
    files = tuple(file_ref(file.path, data) if file.path.endswith(ending) else file for file in rendered.record.files)
    return Rendered(rendered.record.model_copy(update={"files": files}), {**rendered.blobs, digest_bytes(data): data})


def ship_rendered(stage: Stage, case: Case, rendered: Rendered) -> str:
    """As `Stage.ship`, for a bundle that was changed after rendering."""
    put_blob(stage.dev, case.archive)
    save_model(stage.dev, case.model, case.model_files)
    for view in case.views:
        stage.dev.put(f"manifests/view/{view.address}.json", view.to_bytes())
    digest = publish_deployment(stage.dev, rendered)
    stage.promote("deployment", digest)
    return digest
