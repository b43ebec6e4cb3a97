"""The door to Triton's gRPC API: numpy arrays in and out, vendor errors translated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as vendor
from tritonclient.utils import InferenceServerException

from tiffin.core.errors import Denied, Invalid, NotFound, NotReady, PlatformError

__all__ = ["CONTROL_HEADER", "DTYPES", "Triton", "TritonFailed", "control_key_path"]

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
# a server that comes back is met again within a second; gRPC's own default is two minutes
CHANNEL = [
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]
# what the server is told to expect; over gRPC it wants the prefix before it, over HTTP it does not
CONTROL_HEADER = "tiffin-control"
GRPC_PREFIX = "triton-grpc-protocol-"
RESTRICTED = "This protocol is restricted"
KINDS: dict[str, type[PlatformError]] = {
    "StatusCode.UNAVAILABLE": NotReady,
    "StatusCode.DEADLINE_EXCEEDED": NotReady,
    "StatusCode.NOT_FOUND": NotFound,
    "StatusCode.INVALID_ARGUMENT": Invalid,
}


NOISE = re.compile(r"\[request id: <id_unknown>\] |in ensemble '[^']*', ")


def control_key_path(folder: Path) -> Path:
    """Where a server's key to its control lies: in its own folder, which steps of teams do not see."""
    return folder / "control.key"


class TritonFailed(PlatformError):
    """Triton or a step inside it failed; the message is what it said."""


class Triton:
    """One Triton server, by `host:port` of its gRPC endpoint. Safe to share between threads.

    Args:
        control_key: the file with the key that `index`, `load` and `unload` take. It is read for every
            call, since a server that starts again has a new one.

    Raises (all methods):
        NotReady: nothing answers there, or not in time. NotFound: no such model. Invalid: the request
        breaks a rule of the model. Denied: the call takes a key. TritonFailed: everything else, with Triton's text.
    """

    def __init__(self, address: str, *, timeout_s: float = 10.0, control_key: Path | None = None) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.control_key = control_key
        self.client = vendor.InferenceServerClient(address, channel_args=CHANNEL)

    def live(self) -> bool:
        """Whether the process answers; says nothing about any model."""
        try:
            with self.translated("asking whether it is live"):
                return bool(self.client.is_server_live(client_timeout=self.timeout_s))
        except PlatformError:
            return False

    def server_id(self) -> str | None:
        """What the server was started as (`--id`); None when nothing answers."""
        try:
            with self.translated("asking who it is"):
                return str(self.client.get_server_metadata(client_timeout=self.timeout_s).name)
        except PlatformError:
            return None

    def index(self) -> dict[str, bool]:
        """Every model of the repository and whether Triton calls it ready (a dead stub counts as ready)."""
        with self.translated("listing its models"):
            found = self.client.get_model_repository_index(as_json=True, headers=self.authority(), client_timeout=self.timeout_s)
        models: dict[str, bool] = {}
        for entry in found.get("models", []):
            models[entry["name"]] = models.get(entry["name"], False) or entry.get("state") == "READY"
        return models

    def answering(self) -> list[str]:
        """The models that can be asked; takes no key."""
        with self.translated("listing what can be asked"):
            found = self.client.get_inference_statistics(as_json=True, client_timeout=self.timeout_s)
        return sorted({entry["name"] for entry in found.get("model_stats", [])})

    def load(
        self, name: str, *, config: Mapping[str, Any] | None = None, files: Mapping[str, bytes] | None = None, timeout_s: float = 120
    ) -> None:
        """Load or reload a model from the repository, or from `config` and `files` in memory.

        A model whose files are unchanged is left as it is, even when its stub is dead.
        """
        given: dict[str, Any] = {}
        if config is not None:
            given["config"] = json.dumps(config)
        if files is not None:
            given["files"] = {f"file:{path}": data for path, data in files.items()}
        with self.translated(f"loading {name!r}"):
            self.client.load_model(name, headers=self.authority(), client_timeout=timeout_s, **given)

    def unload(self, name: str) -> None:
        """Unload a model, never the steps it names: others may share them."""
        with self.translated(f"unloading {name!r}"):
            self.client.unload_model(name, headers=self.authority(), unload_dependents=False, client_timeout=self.timeout_s)

    def config(self, name: str) -> dict[str, Any]:
        """The model's configuration: `max_batch_size`, and `input` and `output` by name, data type and dims."""
        with self.translated(f"reading the configuration of {name!r}"):
            answer = self.client.get_model_config(name, as_json=True, client_timeout=self.timeout_s)
        return dict(answer["config"])

    def infer(self, name: str, inputs: Mapping[str, np.ndarray], *, timeout_s: float | None = None) -> dict[str, np.ndarray]:
        """One inference.

        Args:
            inputs: arrays as the model declares them, batch axis first; object arrays of bytes are BYTES.
        """
        tensors = []
        for key, array in inputs.items():
            kind = next((word for word, dtype in DTYPES.items() if array.dtype == dtype), None)
            if kind is None:
                raise Invalid(
                    f"tensor {key!r} has dtype {array.dtype}, which is not sent to Triton", fix=f"use one of: {', '.join(DTYPES)}"
                )
            tensor = vendor.InferInput(key, list(array.shape), kind)
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        with self.translated(f"asking {name!r}"):
            answer = self.client.infer(name, tensors, client_timeout=timeout_s or self.timeout_s)
        return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}

    def close(self) -> None:
        """Give the connection back."""
        self.client.close()

    def authority(self) -> dict[str, str]:
        """The header that shows the key; nothing where there is none to show, which the server then says."""
        try:
            key = None if self.control_key is None else self.control_key.read_text().strip()
        except FileNotFoundError:
            key = None
        return {GRPC_PREFIX + CONTROL_HEADER: key} if key else {}

    @contextmanager
    def translated(self, doing: str) -> Iterator[None]:
        """Turn the vendor's exception into one of ours."""
        try:
            yield
        except InferenceServerException as err:
            found = NOISE.sub("", str(err.message())).strip()
            # it says UNAVAILABLE, as if trying again could help
            kind = Denied if found.startswith(RESTRICTED) else KINDS.get(str(err.status()), TritonFailed)
            # an error of ours from inside a step brings its own remedy
            text, _, own_fix = found.partition("\n  fix: ")
            fix = own_fix or {
                NotReady: "start the stack with `tiffin up`, or look at the agent's /status",
                NotFound: "look at the agent's /status for what is served here",
                Denied: "only the serving agent of this server may do this: promote a deployment, and it will load it",
                Invalid: "send every field that the endpoint declares, one value per row",
            }.get(kind, "look at Triton's log and the agent's /status")
            raise kind(f"Triton at {self.address}, {doing}: {text}", fix=fix, context={"status": str(err.status())}) from err
