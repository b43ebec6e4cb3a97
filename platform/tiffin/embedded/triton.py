"""A real tritonserver from the serving environment: started, asked, stopped, cleaned up after."""

from __future__ import annotations

import secrets
import shutil
import sysconfig
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiffin.core.errors import NotFound, NotReady, PlatformError
from tiffin.embedded.hidden_arguments import spawn_hiding
from tiffin.embedded.processes import Process, alive, free_ports, stop, tail, wait_until
from tiffin.embedded.secret_files import new_password, write_private
from tiffin.serving.triton import CONTROL_HEADER, Triton, control_key_path

__all__ = ["TritonServer", "start_triton"]

PROBE = "tiffin_probe"
PROBE_MODEL = b"""
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x * 2)]))
        return answers
"""
PROBE_CONFIG = {
    "name": PROBE,
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "x", "data_type": "TYPE_FP64", "dims": [2]}],
    "output": [{"name": "y", "data_type": "TYPE_FP64", "dims": [2]}],
    "instance_group": [{"kind": "KIND_CPU", "count": 1}],
}
# what changes the server, lets it write files or look into shared memory; asking and being told stay open
RESTRICTED = ("model-repository", "shared-memory", "trace", "logging")
# all that a command line shows of them: the rest holds the key
HIDDEN = ("--grpc-restricted-protocol=", "--http-restricted-api=")
NOISE = ("CUDA", "Cuda", "NVML", "DCGM", "pinned", "CUDA stream")
SHM = Path("/dev/shm")  # noqa: S108  where the python backend puts its regions, not a temporary file of ours


@dataclass(frozen=True, slots=True)
class TritonServer:
    """A started server, as plain values: another process may rebuild it and stop it.

    Args:
        pid, born: which process it is; a reused pid is never signalled.
        shm_prefix: names this server's shared-memory regions, which it leaves behind.
    """

    pid: int
    born: str
    http_port: int
    grpc_port: int
    metrics_port: int
    repository: str
    shm_prefix: str
    log: str

    @property
    def process(self) -> Process:
        """This process and no other."""
        return Process(self.pid, self.born)

    @property
    def grpc(self) -> str:
        """`host:port` of the gRPC endpoint."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def ports(self) -> tuple[int, int, int]:
        """(http, grpc, metrics), to start at the same place again."""
        return self.http_port, self.grpc_port, self.metrics_port

    @property
    def control_key(self) -> Path:
        """The file with the key to loading and unloading models, for whoever may read it."""
        return control_key_path(Path(self.repository).parent)

    def to_json(self) -> dict[str, Any]:
        """For the state file; `TritonServer(**value)` reads it back."""
        return asdict(self)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return alive(self.process)

    def stop(self, *, grace_s: float = 10.0) -> None:
        """End it and its python stubs, also those of a server that died; remove its shared memory. Twice is harmless."""
        stop(self.process, grace_s=grace_s)
        for region in SHM.glob(f"{self.shm_prefix}*"):
            region.unlink(missing_ok=True)


def start_triton(folder: Path, serving_env: Path, *, timeout_s: float = 60.0, ports: tuple[int, int, int] | None = None) -> TritonServer:
    """Start a server on free ports of 127.0.0.1, in explicit mode, and ask it a question.

    Whoever reaches its ports may ask its models. Loading and unloading them takes the key of this start.

    Args:
        folder: its own folder; the agent fills `folder/repository`, the log is `folder/triton.log`, and the
            key to its control is in `folder/control.key`, readable by its owner only.
        serving_env: the environment's folder, or its python (what `serving_python` returns).
        ports: (http, grpc, metrics) to use again after a restart; by default free ones.

    Raises:
        NotFound: that environment holds no nvidia-pytriton. Unsupported: the key cannot be given to it unseen.
        NotReady: it did not answer a real inference in time; its last words are in the message.
    """
    environment = serving_env.parent.parent if serving_env.name.startswith("python") else serving_env
    packages = site_packages(environment)
    folder = folder.resolve()
    repository = folder / "repository"
    repository.mkdir(parents=True, exist_ok=True)
    backends = lay_out_backends(folder, packages, environment)
    http, grpc, metrics = ports or free_ports(3)
    prefix = f"tiffin_{secrets.token_hex(6)}_"
    log = folder / "triton.log"
    server = packages / "pytriton" / "tritonserver"
    command = [
        str(server / "bin" / "tritonserver"),
        f"--backend-directory={backends}",
        f"--cache-directory={server / 'caches'}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=3",
        f"--id={prefix}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        *HIDDEN,
    ]
    key = new_password()
    write_private(control_key_path(folder), key)
    hidden = {shown: f"{shown}{','.join(RESTRICTED)}:{CONTROL_HEADER}={key}" for shown in HIDDEN}
    # nothing of our own environment: a step must not find a credential there
    variables = {
        "CUDA_VISIBLE_DEVICES": "",
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}",
        "PATH": f"{environment / 'bin'}:/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    process = spawn_hiding(command, hidden, log=log, environ=variables, cwd=folder)
    started = TritonServer(process.pid, process.born, http, grpc, metrics, str(repository), prefix, str(log))
    try:
        wait_until_it_computes(started, timeout_s)
    except BaseException:
        started.stop(grace_s=1)
        raise
    return started


def wait_until_it_computes(server: TritonServer, timeout_s: float) -> None:
    """Load a tiny model from memory and compare what it answers: an open port proves nothing."""
    client = Triton(server.grpc, timeout_s=5, control_key=server.control_key)
    deadline = time.monotonic() + timeout_s
    question = np.array([1.5, -2.0])
    try:
        # its id: another server may stand at this port, and would answer in its place
        answered = wait_until(lambda: client.server_id() == server.shm_prefix or not server.alive(), timeout_s=timeout_s)
        if not answered or not server.alive():
            state = f"did not answer within {timeout_s:.0f} s" if server.alive() else "ended at once"
            raise NotReady(f"tritonserver {state}; it said: {last_words(server.log)}", fix=f"read {server.log}, then start again")
        try:
            client.load(PROBE, config=PROBE_CONFIG, files={"1/model.py": PROBE_MODEL}, timeout_s=max(5.0, deadline - time.monotonic()))
            answer = client.infer(PROBE, {"x": question})["y"]
            client.unload(PROBE)
        except PlatformError as err:
            raise NotReady(
                f"tritonserver runs but cannot run a python model: {err.message}; it said: {last_words(server.log)}",
                fix=f"read {server.log}",
            ) from err
        if answer.tolist() != (question * 2).tolist():
            raise NotReady(
                f"tritonserver computes wrongly: twice {question.tolist()} came back as {answer.tolist()}",
                fix="the serving environment must hold numpy<2: remove it from the cache, so that it is built again",
            )
    finally:
        client.close()


def lay_out_backends(folder: Path, packages: Path, environment: Path) -> Path:
    """`backends/python` with the stub of the environment's Python version beside the backend."""
    version = next((environment / "lib").glob("python3.*")).name.removeprefix("python")
    source = packages / "pytriton" / "tritonserver"
    target = folder / "backends" / "python"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source / "backends" / "python", target)
    stub = target / "triton_python_backend_stub"
    shutil.copy(source / "python_backend_stubs" / version / "triton_python_backend_stub", stub)
    stub.chmod(0o755)
    return target.parent


def site_packages(environment: Path) -> Path:
    """Where the environment keeps its packages, tritonserver among them."""
    for packages in (environment / "lib").glob("python3.*/site-packages"):
        if (packages / "pytriton" / "tritonserver" / "bin" / "tritonserver").is_file():
            return packages
    raise NotFound(
        f"{environment} is no serving environment: it holds no nvidia-pytriton",
        fix="let `tiffin up` build one, or remove it from the cache",
    )


def last_words(log: str) -> str:
    """The end of a log, without the noise of a machine that has no GPU."""
    kept = [line for line in tail(Path(log), lines=40).splitlines() if line.strip() and not any(word in line for word in NOISE)]
    return " | ".join(kept[-8:]) or "nothing"
