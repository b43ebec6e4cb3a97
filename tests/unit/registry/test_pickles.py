"""A file that could be a pickle is refused, however it is wrapped; a file of data is not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Denied
from tiffin.registry.pickles import find_pickle, refuse_pickle

# written by hand: what `os.system("true")` looks like under three protocols
PROTOCOL_0 = b"cposix\nsystem\n(S'true'\ntR."
PROTOCOL_2 = b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R."
PROTOCOL_4 = b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
OLD_CLASS = b"(iposix\nsystem\n."
OLD_OBJECT = b"(cposix\nsystem\nS'true'\no."


def zipped(name: str, data: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return held.getvalue()


def tarred(name: str, data: bytes, mode: str = "w:gz") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:  # type: ignore[call-overload]  # the mode is a plain str here
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return held.getvalue()


def array(dtype: str) -> bytes:
    """A `.npy` file: magic, version 1, header, no data."""
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': (1,), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 8


PICKLES = {
    "protocol 0": PROTOCOL_0,
    "protocol 0 with something after it": PROTOCOL_0 + b"tail",
    "protocol 0 that breaks off after the call": PROTOCOL_0[:-1],
    "protocol 0 with something before the call": b"I1\n0" + PROTOCOL_0,
    "protocol 2": PROTOCOL_2,
    "protocol 4": PROTOCOL_4,
    "protocol 4 without data": b"\x80\x04N.",
    "instance opcode": OLD_CLASS,
    "object opcode": OLD_OBJECT,
    "gzip": gzip.compress(PROTOCOL_4),
    "zlib": zlib.compress(PROTOCOL_4),
    "zlib fast": zlib.compress(PROTOCOL_4, 1),
    "bzip2": bz2.compress(PROTOCOL_4),
    "xz": lzma.compress(PROTOCOL_4),
    "lzma": lzma.compress(PROTOCOL_4, format=lzma.FORMAT_ALONE),
    "zip": zipped("data.bin", PROTOCOL_4),
    "zip with a telling name": zipped("archive/data.pkl", b""),
    "tar.gz": tarred("a/b.bin", PROTOCOL_0),
    "tar": tarred("a/b.bin", PROTOCOL_4, "w"),
    "array of objects": array("'|O'"),
    "record array with objects": array("[('a', '<i8'), ('b', 'O')]"),
    "zip of arrays of objects": zipped("a.npy", array("'|O'")),
}


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # pickletools reads a zip as opcodes first
@pytest.mark.parametrize("data", PICKLES.values(), ids=PICKLES.keys())
def test_a_pickle_under_an_innocent_name_is_found(data: bytes) -> None:
    assert find_pickle("model.txt", data) is not None


@pytest.mark.parametrize("path", ["m.pkl", "m.PICKLE", "a/m.joblib", "m.pt", "m.dill"])
def test_a_telling_name_is_enough(path: str) -> None:
    assert find_pickle(path, b"harmless") is not None


DATA = {
    "nothing": b"",
    "lightgbm text": b"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=2\n",
    "python": b'"""Preprocess."""\n\nimport numpy as np\n',
    "python class first": b"class Model:\n    pass\n",
    "requirements": b"cffi\nnumpy\nredis\n",
    "json": b'{"format": "tiffin.golden.v1", "rows": []}',
    "pbtxt": b'name: "eta--1f2e3d4c"\nplatform: "ensemble"\n',
    "onnx": b"\x08\x09\x12\x07pytorch",
    "safetensors": (0x280).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}',
    "array of numbers": array("'<f8'"),
    "text of one full stop": b".",
    "zipped text": zipped("a.txt", b"hello"),
    "code archive": tarred("assets/eta/model.py", b"import numpy\n"),
    "zip that is broken": zipped("a.txt", b"hello" * 100)[:60],
    "gzip that is broken": gzip.compress(b"hello" * 100)[:20],
    "text that begins like zlib": b"x^2 + y^2",
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
def test_a_file_of_data_is_accepted(data: bytes) -> None:
    assert find_pickle("model.txt", data) is None


def test_an_array_of_numbers_as_numpy_writes_it_is_accepted() -> None:
    numbers = io.BytesIO()
    np.save(numbers, np.zeros(3), allow_pickle=False)

    assert find_pickle("a.npy", numbers.getvalue()) is None


@given(data=st.binary(max_size=200))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    found = find_pickle("file.bin", data)

    assert found is None or isinstance(found, str)


@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_a_json_text_is_never_taken_for_a_pickle(text: str) -> None:
    assert find_pickle("file.json", b'{"text": "' + text.encode() + b'"}') is None


def test_a_bomb_is_refused_and_not_unpacked() -> None:
    layer = zlib.compress(b"\0" * 1_000_000, 9)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        entry = zipfile.ZipInfo("big")
        archive.writestr(entry, layer)
    claimed = many.getvalue().replace(len(layer).to_bytes(4, "little"), (0xFFFF_0000).to_bytes(4, "little"))

    assert "cannot be looked through" in (find_pickle("file.bin", claimed) or "")


def test_the_refusal_names_the_file_and_what_to_use_instead() -> None:
    with pytest.raises(Denied, match=r"file 'model\.bin' of model 'eta/eta'") as caught:
        refuse_pickle("model.bin", PROTOCOL_4, name="file 'model.bin' of model 'eta/eta'")
    assert "LightGBM text" in caught.value.fix
