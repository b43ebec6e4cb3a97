"""What delta-rs says, as decisions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError, TableNotFoundError

from tiffin.core.errors import Corrupt, Denied, NotFound, NotReady

__all__ = ["first_line", "translated"]

ANSI = re.compile(r"\x1b\[[0-9;]*m")
DENIED = ("lacked the necessary privileges", "403 Forbidden", "PermissionDenied")
SILENT = ("error sending request", "Connection refused", "timed out", "502 Bad Gateway", "503 Service", "500 Internal")


def first_line(err: BaseException) -> str:
    """The readable beginning of a message that may go on with traces."""
    return " ".join(ANSI.sub("", str(err)).split())[:200]


@contextmanager
def translated(doing: str, ref: str, *, identity: str) -> Iterator[None]:
    """Turn delta-rs errors into ours.

    Args:
        identity: who asked, for Denied: an access key id or a folder; never a secret.
    """
    where = f"{doing} table {ref!r}"
    try:
        yield
    except TableNotFoundError as err:
        raise NotFound(f"{where}: there is no such table", fix="materialise it first, or correct its name", context={"table": ref}) from err
    except FileNotFoundError as err:
        raise Corrupt(
            f"{where}: a file of it is gone ({first_line(err)})",
            fix="somebody removed files under the table; restore them, or materialise the partition again",
            context={"table": ref},
        ) from err
    except (DeltaError, OSError) as err:
        text = first_line(err)
        if any(word in str(err) for word in DENIED) or (isinstance(err, PermissionError)):
            raise Denied(
                f"{where}: {identity} may not",
                fix="use a key that may, or ask the owner of the bucket",
                context={"table": ref, "identity": identity},
            ) from err
        if any(word in str(err) for word in SILENT):
            raise NotReady(
                f"{where}: the object store does not answer ({text})",
                fix="check that it runs: `tiffin status`, `tiffin up`; then repeat",
                context={"table": ref},
            ) from err
        raise Corrupt(
            f"{where}: {text}", fix="the table's log or files are damaged, or written by a newer writer", context={"table": ref}
        ) from err
