"""Arrays of lists out of .npz files: what numpy and Keras write is read, nothing else is run."""

import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from torchbp.data import npz, pickled
from torchbp.data.npz import read_npz
from torchbp.data.pickled import integer_lists
from torchbp.errors import DataError

LISTS = [[1, 14, 255, 256, 65535, 65536, 88000], [], [7] * 2500, [1, -1]]


def objects(rows):
    """An array of objects, also where numpy would make a matrix of the rows."""
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def dumped(rows=LISTS, protocol=4):
    return pickle.dumps(objects(rows), protocol=protocol)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_every_protocol_that_numpy_has_used(protocol):
    assert integer_lists(dumped(protocol=protocol), "x") == LISTS


def test_reads_the_names_that_numpy_had_before_version_2():
    stream = dumped(protocol=3)
    assert b"numpy._core.multiarray" in stream
    old = stream.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert integer_lists(old, "x") == LISTS


PYTHON_2 = (  # numpy.save in Python 2: protocol 2, with its byte strings
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R"
    b"(K\x01K\x01\x85cnumpy\ndtype\nq\x04U\x02O8K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK?tb\x89]q\x06]q\x07(K\x01K\x05eatb."
)


def test_reads_the_text_of_python_2():
    assert integer_lists(PYTHON_2, "x") == [[1, 5]]


@pytest.mark.parametrize(
    ("part", "other"),
    [
        (b"K\x01\x85cnumpy", b"K\x02\x85cnumpy"),  # the shape: two elements, of which one is there
        (b"numpy.core.multiarray\n_reconstruct", b"numpy\ndtype"),  # another allowed name called
        (b"U\x02O8", b"U\x02i8"),
        (b"cnumpy\nndarray", b"cnumpy\ndtype"),
    ],
)
def test_an_array_whose_parts_do_not_fit_is_refused(part, other):
    assert part in PYTHON_2
    with pytest.raises(DataError, match="one-dimensional array of lists"):
        integer_lists(PYTHON_2.replace(part, other), "x")


def test_reads_more_lists_than_a_pickle_writes_at_once_and_frames():
    rows = [list(range(i % 50)) for i in range(5000)]
    assert integer_lists(dumped(rows), "x") == rows


def test_a_list_that_occurs_twice_is_read_twice():
    row = [1, 2]
    assert integer_lists(dumped([row, row, [3]]), "x") == [[1, 2], [1, 2], [3]]


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


HOSTILE = {
    "system": lambda path: Calls(os.system, f"touch {path}"),
    "eval": lambda path: Calls(eval, f"open({str(path)!r}, 'w')"),
    "exec": lambda path: Calls(exec, f"open({str(path)!r}, 'w')"),
    "open": lambda path: Calls(open, str(path), "w"),
    "popen": lambda path: Calls(subprocess.Popen, ["touch", str(path)]),
    "getattr": lambda path: Calls(getattr, "text", "upper"),
    "numpy.load": lambda path: Calls(np.load, str(path)),
    "numpy.save": lambda path: Calls(np.save, str(path), [1]),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_call_is_made(kind, protocol, tmp_path):
    mark = tmp_path / "ran"
    hostile = HOSTILE[kind](mark)
    for stream in (
        pickle.dumps(hostile, protocol=protocol),
        dumped([hostile], protocol),
        dumped([[1], [2, hostile]], protocol),
    ):
        with pytest.raises(DataError, match=r"got the name '[\s\S]*nothing of it was run"):
            integer_lists(stream, "x")
    assert not list(tmp_path.iterdir())


def test_a_hostile_npz_is_refused(tmp_path):
    mark = tmp_path / "ran"
    path = saved(tmp_path / "imdb.npz", x=objects([[1], HOSTILE["system"](mark)]), y=np.zeros(2))
    with pytest.raises(DataError, match=r"imdb\.npz: x: expected nothing but lists of integers"):
        read_npz(path, lists=["x"], integers=[])
    assert not mark.exists()


def test_no_module_is_imported():
    with pytest.raises(DataError, match=r"antigravity\.geohash"):
        integer_lists(b"\x80\x02cantigravity\ngeohash\n.", "x")
    assert "antigravity" not in sys.modules


NAME = b"\x80\x02cnumpy\ndtype\n"  # dtype on the stack
ODD_STREAMS = {
    "an allowed name called": (NAME + b"X\x02\x00\x00\x00f8\x85R.", "a one-dimensional array"),
    "an allowed name alone": (NAME + b".", "a one-dimensional array"),
    "a call with the wrong arguments": (NAME + b"]R.", "an opcode without its operands"),
    "a list called": (b"\x80\x02]K\x01\x85R...", "an opcode without its operands"),
    "a state for a name": (NAME + b"K\x01b....", "an opcode without its operands"),
    "a state for a list": (b"\x80\x02]K\x01b....", "an opcode without its operands"),
    "a new object": (NAME + b"(t\x81.", "the opcode NEWOBJ"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", "the opcode INST"),
    "a registered extension": (b"\x80\x02\x82\x01.", "the opcode EXT1"),
    "a persistent id": (b"\x80\x02Pevil\n.", "the opcode PERSID"),
    "a dict": (b"\x80\x02}.", "the opcode EMPTY_DICT"),
    "a float": (b"\x80\x02G" + struct.pack(">d", 1.0) + b".", "the opcode BINFLOAT"),
    "a number of any length": (b"\x80\x02\x8a\x01\x05.", "the opcode LONG1"),
    "an unknown opcode": (b"\x80\x02\xff.", r"the opcode b'\\xff'"),
    "bytes of a terabyte": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40), "the opcode BINBYTES8"),
    "text of gigabytes": (b"\x80\x02X\xff\xff\xff\x7f.", "its end too early"),
    "a memo of gigabytes": (b"\x80\x02Nr\xff\xff\xff\xff.", "a one-dimensional array"),
    "a reference to nothing": (b"\x80\x02h\x05.", "a reference to nothing"),
    "a tuple of nothing": (b"\x80\x02\x87.", "an opcode without its operands"),
    "items without a mark": (b"\x80\x02]e.", "an opcode without its operands"),
    "an empty stack": (b"\x80\x02.", "an opcode without its operands"),
    "no end": (b"\x80\x02]", "its end too early"),
    "nothing": (b"", "its end too early"),
    "a line without end": (b"\x80\x02cnumpy", "its end too early"),
}


@pytest.mark.parametrize("kind", ODD_STREAMS)
def test_an_odd_stream_is_refused(kind):
    stream, message = ODD_STREAMS[kind]
    with pytest.raises(DataError, match=message):
        integer_lists(stream, "x")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1], "text"], "lists of integers, got other elements"),
        ([[1], [True]], "lists of integers, got other elements"),
        ([[1], [None]], "lists of integers, got other elements"),
        ([[1], [[2]]], "lists of integers, got other elements"),
        ([1, 2], "lists of integers, got other elements"),
        ([[1], [0.5]], "the opcode BINFLOAT"),
        ([[1], {2: 3}], "the opcode EMPTY_DICT"),
        ([[1], [1 << 31]], "the opcode LONG1"),
    ],
)
def test_elements_other_than_lists_of_integers_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        integer_lists(dumped(rows), "x")


@pytest.mark.parametrize(
    "array", [np.array([[1, 2], [3, 4]], dtype=object), np.array(5, dtype=object), np.arange(3)]
)
def test_arrays_of_another_form_are_refused(array):
    with pytest.raises(DataError, match=r"x: expected .* lists"):
        integer_lists(pickle.dumps(array, protocol=3), "x")


def test_a_list_of_itself_is_refused():
    row = []
    row.append(row)
    with pytest.raises(DataError, match="other elements"):
        integer_lists(dumped([row, [1]]), "x")


def test_a_long_list_repeated_by_reference_is_refused_before_it_costs_memory():
    row = [1] * 20_000
    stream = dumped([row] * 20_000)
    assert len(stream) < 200_000
    with pytest.raises(DataError, match=r"at most \d+ numbers, got 400000000"):
        integer_lists(stream, "x")


def test_tuples_nested_in_tuples_are_never_walked():
    """Two to the hundred leaves: hashing, comparing or printing them would not end."""
    doubled = b"q\x01" + b"h\x01h\x01\x86q\x01" * 100
    for ending in (b".", b"\x85.", b"\x85Rb."):
        with pytest.raises(DataError):
            integer_lists(NAME + b"N\x85" + doubled + ending, "x")


def test_opcodes_are_bounded(monkeypatch):
    monkeypatch.setattr(pickled, "MAX_OPCODES", 100)
    assert integer_lists(dumped([[1], [2] * 1000]), "x") == [[1], [2] * 1000]
    with pytest.raises(DataError, match="more than 100 opcodes"):
        integer_lists(dumped([[1]] * 200), "x")


def outcome(read, *args, **kwargs):
    """What a reader makes of damaged bytes: a result or a DataError, nothing else."""
    try:
        return read(*args, **kwargs)
    except DataError:
        return None


def damaged(content, chance):
    """The content with up to three bytes changed, or cut off."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


def test_any_damage_to_a_pickle_is_a_data_error_or_other_numbers():
    chance = random.Random(0)
    stream = dumped([[1, 300], [2]])
    for _ in range(5000):
        rows = outcome(integer_lists, damaged(stream, chance), "x")
        assert rows is None or all(type(number) is int for row in rows for number in row)


def test_every_part_of_a_pickle_is_cut_off_with_an_error():
    stream = dumped([[1, 300], [2]])
    for end in range(len(stream)):
        with pytest.raises(DataError):
            integer_lists(stream[:end], "x")


@pytest.mark.filterwarnings("ignore")  # numpy's on headers that look like those of Python 2
def test_any_damage_to_a_file_is_a_data_error_or_other_numbers(tmp_path):
    chance = random.Random(0)
    path = saved(tmp_path / "a.npz", x=objects([[1, 300], [2]]), y=np.array([0, 1]))
    content = path.read_bytes()
    for _ in range(1500):
        path.write_bytes(damaged(content, chance))
        outcome(read_npz, path, lists=["x"], integers=["y"])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, ">i4"])
def test_reads_what_numpy_writes(save, dtype, tmp_path):
    path = tmp_path / "a.npz"
    save(path, x=objects(LISTS), y=np.array([0, 1, 1], dtype=dtype), other=np.zeros(3))
    assert read_npz(path, lists=["x"], integers=["y"]) == {"x": LISTS, "y": [0, 1, 1]}


@pytest.mark.parametrize(
    ("lists", "integers", "message"),
    [
        (["y"], [], "an array of lists, got int64 of shape"),
        ([], ["x"], "one-dimensional integers, got object of shape"),
        ([], ["f"], "one-dimensional integers, got float64"),
        ([], ["matrix"], r"one-dimensional integers, got int64 of shape \(2, 2\)"),
        ([], ["z"], r"an array 'z', got the arrays \['x', 'y', 'f', 'matrix'\]"),
    ],
)
def test_an_array_that_is_not_as_asked_is_refused(lists, integers, message, tmp_path):
    arrays = {"y": np.zeros(2, int), "f": np.zeros(2), "matrix": np.zeros((2, 2), int)}
    path = saved(tmp_path / "a.npz", x=objects([[1], [2, 3]]), **arrays)
    with pytest.raises(DataError, match=message):
        read_npz(path, lists=lists, integers=integers)


def written(path, content, name="y.npy", **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(name, content)
    return path


def npy(header, content=b""):
    text = header.encode().ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


HEADERS = {
    "more numbers than bytes": "{'descr': '<i8', 'fortran_order': False, 'shape': (9999999999,)}",
    "fewer than none": "{'descr': '<i8', 'fortran_order': False, 'shape': (-1,)}",
    "no header": "hello",
    "code": "__import__('os').system('true')",
    "nested too deeply": "-" * 5000 + "1",
    "an unknown type": "{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,)}",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_npy_header_that_is_not_one_is_refused(kind, tmp_path):
    path = written(tmp_path / "a.npz", npy(HEADERS[kind]))
    with pytest.raises(DataError, match="expected"):
        read_npz(path, lists=[], integers=["y"])


def test_no_integers_are_an_empty_list(tmp_path):
    path = saved(tmp_path / "a.npz", y=np.zeros(0, int))
    assert read_npz(path, lists=[], integers=["y"]) == {"y": []}


def test_an_array_larger_than_the_bound_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    written(path, bytes(npz.MAX_BYTES + 1), compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError, match=r"at most 67108864 bytes of 'y', got 67108865"):
        read_npz(path, lists=[], integers=["y"])


def test_a_compression_that_numpy_does_not_use_is_refused(tmp_path):
    path = written(tmp_path / "a.npz", npy(""), compression=zipfile.ZIP_LZMA)
    with pytest.raises(DataError, match="got another compression"):
        read_npz(path, lists=[], integers=["y"])


def test_an_encrypted_array_is_refused(tmp_path):
    path = saved(tmp_path / "a.npz", y=np.zeros(2, int))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the archive's directory
    path.write_bytes(content)
    with pytest.raises(DataError, match="got another compression"):
        read_npz(path, lists=[], integers=["y"])


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match=r"a\.npz: expected an \.npz file, got File is not a zip"):
        read_npz(path, lists=[], integers=["y"])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected a readable file, got No such file"):
        read_npz(tmp_path / "none.npz", lists=[], integers=["y"])
