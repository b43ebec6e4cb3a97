"""Refuse files that could be pickles, so that nobody is tempted to load one.

This is a net, not the wall: the wall is that nothing in the library ever unpickles. It looks through
the common wrappings (gzip, zlib, bzip2, xz, zip, tar) and at the header of NumPy arrays.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools  # reads opcodes as data; it never runs them
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

from tiffin.core.errors import Denied

__all__ = ["find_pickle", "refuse_pickle"]

EXTENSIONS = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".ckpt")
MAX_DEPTH = 4
MAX_UNPACKED = 1 << 30
MAX_OPCODES = 500_000
PROTOCOLS = range(2, 6)
OPCODES = frozenset(op.code.encode("latin-1") for op in pickletools.opcodes)
CALLS = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
DOTTED = re.compile(r"[\w.]+ [\w.]+")


class TooLarge(ValueError):
    """More bytes inside a wrapping than anybody needs."""


def refuse_pickle(path: str, data: bytes, *, name: str) -> None:
    """Raise Denied when `data` could be a pickle; `name` says which file of what."""
    reason = find_pickle(path, data)
    if reason is not None:
        raise Denied(
            f"{name} looks like a pickle: {reason}; loading one runs whatever it says",
            fix="save it in a format that holds data only: LightGBM text, ONNX, safetensors, JSON, .npy of numbers",
            context={"name": name, "path": path},
        )


def find_pickle(path: str, data: bytes) -> str | None:
    """Why `data` could be a pickle, or None.

    Example:
        >>> find_pickle("model.pkl", b"")
        "its name ends in '.pkl'"
        >>> find_pickle("model.txt", b"\\x80\\x04N.")
        'it begins like a pickle of protocol 4'
        >>> find_pickle("model.txt", b"tree\\nversion=v4\\n") is None
        True
    """
    try:
        return search(path, data, depth=0, budget=[MAX_UNPACKED])
    except TooLarge:
        return f"it unpacks to more than {MAX_UNPACKED} bytes and cannot be looked through"


def search(path: str, data: bytes, *, depth: int, budget: list[int]) -> str | None:
    """`find_pickle` at one level of wrapping."""
    extension = next((ending for ending in EXTENSIONS if path.lower().endswith(ending)), None)
    if extension is not None:
        return f"its name ends in {extension!r}"
    if data[:1] == b"\x80" and len(data) >= 3 and data[1] in PROTOCOLS and data[2:3] in OPCODES:
        return f"it begins like a pickle of protocol {data[1]}"
    if data[:6] == b"\x93NUMPY":
        return "it is a NumPy array of Python objects" if array_of_objects(data) else None
    if calls_something(data):
        return "its bytes are a pickle program that calls a function"
    if depth == MAX_DEPTH:
        return None
    for name, content in unwrapped(data, budget):
        reason = search(name, content, depth=depth + 1, budget=budget)
        if reason is not None:
            return f"inside it, {name!r}: {reason}" if name else f"unpacked, {reason}"
    return None


def array_of_objects(data: bytes) -> bool:
    """Whether the header of a `.npy` file names the object type `O`, alone or as a field."""
    wide = data[6:7] > b"\x01"
    size = int.from_bytes(data[8 : 12 if wide else 10], "little")
    start = 12 if wide else 10
    return re.search(rb"['\"][|<>=]?\d*O\d*['\"]", data[start : start + size]) is not None


def calls_something(data: bytes) -> bool:
    """Whether the bytes, read as pickle opcodes, reach a call with something to call on the stack.

    A program that breaks off later would have run by then, so its end does not matter.
    """
    depth, marks, named = 0, list[int](), False
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if number == MAX_OPCODES:
                return True  # text does not go on like this
            if opcode.name in ("GLOBAL", "INST"):
                if not DOTTED.fullmatch(str(argument)):
                    return False
                named = True
            elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
                named = True
            taken = len(opcode.stack_before)
            if pickletools.markobject in opcode.stack_before:
                if not marks:
                    return False
                depth = marks.pop()  # everything above the mark goes with it
                taken = opcode.stack_before.index(pickletools.markobject)
            depth -= taken
            if depth < 0:
                return False
            if named and opcode.name in CALLS:
                return True
            for item in opcode.stack_after:
                if item is pickletools.markobject:
                    marks.append(depth)
                else:
                    depth += 1
    except (ValueError, UnicodeDecodeError, OverflowError):
        return False
    return False


def unwrapped(data: bytes, budget: list[int]) -> Iterator[tuple[str, bytes]]:
    """Files inside an archive with their names, or the content of a compressed file under no name."""
    try:
        if data[:2] == b"PK" and zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for entry in archive.infolist():
                    spend(budget, entry.file_size)
                    yield entry.filename, archive.read(entry)
            return
        if data[257:262] == b"ustar":
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
                for member in tar:
                    spend(budget, member.size)
                    file = tar.extractfile(member) if member.isfile() else None
                    yield member.name, b"" if file is None else file.read()
            return
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, NotImplementedError, RuntimeError, EOFError):
        return  # nobody else can unpack it either
    content = decompressed(data, budget)
    if content is not None:
        yield "", content


def decompressed(data: bytes, budget: list[int]) -> bytes | None:
    """The content of a compressed file, as far as it can be read; None when it is not one."""
    makers: list[tuple[bytes, Callable[[], object]]] = [
        (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
        (b"BZh", bz2.BZ2Decompressor),
        (b"\xfd7zXZ", lzma.LZMADecompressor),
        (b"\x5d\0\0", lzma.LZMADecompressor),
        (b"x", zlib.decompressobj),
    ]
    for magic, make in makers:
        if not data.startswith(magic):
            continue
        try:
            content: bytes = make().decompress(data, budget[0] + 1)  # type: ignore[attr-defined]  # the three share this method, without a common type
        except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError):
            return None
        spend(budget, len(content))
        return content
    return None


def spend(budget: list[int], size: int) -> None:
    """Take `size` from what may still be unpacked."""
    budget[0] -= size
    if budget[0] < 0:
        raise TooLarge
