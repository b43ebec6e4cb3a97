"""What a team declares about training: spines, training tables, models, gates."""

from tiffin.training.gates import Gate, Metric, NotWorseThanLive
from tiffin.training.model import Model, model
from tiffin.training.table import Spine, TrainingTable

__all__ = ["Gate", "Metric", "Model", "NotWorseThanLive", "Spine", "TrainingTable", "model"]
