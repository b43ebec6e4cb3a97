"""Starts Triton from inside a jail and says what it started: one JSON line on standard output.

    python -m tiffin.embedded.jail --hide .tiffin/secrets ... -- python -m tiffin.embedded.jailed_triton FOLDER PYTHON HTTP GRPC METRICS

Triton runs teams' pre- and postprocess code and takes models from whoever reaches its port, so it must
not see more than a step does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tiffin.core.errors import PlatformError
from tiffin.embedded.triton import start_triton

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Start it; the server outlives us."""
    folder, python, *ports = arguments
    http, grpc, metrics = map(int, ports)
    try:
        server = start_triton(Path(folder), Path(python), ports=(http, grpc, metrics))
    except PlatformError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    sys.stdout.write(json.dumps(server.to_json()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
