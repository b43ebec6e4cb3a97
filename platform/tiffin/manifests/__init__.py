"""The immutable records and their signatures."""

from tiffin.manifests.records import (
    CodeRef,
    DeploymentRecord,
    EntityRecord,
    FeatureRef,
    FileRef,
    GenerationRecord,
    KeyField,
    Limits,
    ModelRecord,
    Pointer,
    RequestField,
    SegmentRef,
    TableRef,
    ViewRecord,
)

__all__ = [
    "CodeRef",
    "DeploymentRecord",
    "EntityRecord",
    "FeatureRef",
    "FileRef",
    "GenerationRecord",
    "KeyField",
    "Limits",
    "ModelRecord",
    "Pointer",
    "RequestField",
    "SegmentRef",
    "TableRef",
    "ViewRecord",
]
