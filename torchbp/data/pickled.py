"""Lists of integers out of a pickle, which is read like any other file format: nothing runs.

numpy stores an array of objects as a pickle, a program for a small stack machine that is able to
call any function by its name. Here the calls are written down (`Call`) instead of made, only the
few opcodes and names that such an array consists of are known, and the result is compared with
the one shape that it may have. An unpickler that looks at names alone would still let a file ask
for gigabytes, or for years of hashing.

Source: the opcodes are documented in Python's `pickletools`.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

# The reviews of IMDB take 6 million numbers and 0.2 million other opcodes. Lists may be repeated
# by reference, and a byte of the file may become a hundred in memory: its size is no bound.
MAX_NUMBERS = 1 << 25
MAX_OPCODES = 1 << 22

RECONSTRUCT = frozenset(
    {"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"}
)
# Python 3 wrote bytes into pickles of protocol 2 as a call of _codecs.encode
NAMES = RECONSTRUCT | {"numpy.ndarray", "numpy.dtype", "_codecs.encode"}


@dataclass(frozen=True, eq=False)
class Name:
    """A function or class that the pickle names; only the name is kept."""

    path: str


@dataclass(eq=False)
class Call:
    """A call that the pickle asks for, written down."""

    path: str
    args: tuple[Any, ...]
    state: Any = None


def integer_lists(stream: bytes, source: str) -> list[list[int]]:
    """The lists of integers of a pickled numpy array of objects.

    Args:
        stream: the pickle, protocol 2 or later.
        source: what errors call it.

    Raises:
        DataError: the pickle holds anything else.

    Example:
        >>> import numpy as np, pickle
        >>> reviews = np.array([[1, 14], [1, 22, 70000]], dtype=object)
        >>> integer_lists(pickle.dumps(reviews), "x_train")
        [[1, 14], [1, 22, 70000]]
    """
    lists = _elements(_Reader(stream, source).read(), source)
    numbers = sum(len(row) if type(row) is list else 0 for row in lists)
    if numbers > MAX_NUMBERS:
        raise _refused(source, f"at most {MAX_NUMBERS} numbers", f"{numbers}")
    for row in lists:
        if type(row) is not list or not all(type(number) is int for number in row):
            raise _refused(source, "lists of integers", f"other elements ({type(row).__name__})")
    return lists


def _elements(array: Any, source: str) -> list[Any]:
    """What a one-dimensional array of objects was built of."""
    match array:
        case Call(
            args=(Name("numpy.ndarray"), *_), state=(1, (int() as size,), dtype, _, list() as rows)
        ):
            is_array = array.path in RECONSTRUCT and size == len(rows) and _is_object(dtype)
        case _:
            is_array, rows = False, []
    if not is_array:
        raise _refused(source, "a one-dimensional array of lists", "something else")
    return rows


def _is_object(dtype: Any) -> bool:
    return isinstance(dtype, Call) and dtype.path == "numpy.dtype" and dtype.args[:1] in _OBJECT


_OBJECT = (("O8",), ("O4",))
_OPCODE_NAMES = {info.code.encode("latin1"): info.name for info in pickletools.opcodes}
_ONE_BYTE, _TWO_BYTES, _FOUR_BYTES = b"KMJ"  # the opcodes of integers


class _Reader:
    """The stack machine, without its calls. Every opcode costs the file at least a byte."""

    def __init__(self, stream: bytes, source: str) -> None:
        self.stream, self.source = stream, source
        self.position = 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each mark
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The object that the pickle describes."""
        for _ in range(MAX_OPCODES):
            self.push_integers()
            opcode = self.take(1)
            if opcode == b".":
                return self.pop()
            if opcode not in _OPCODES:
                raise self.refused(f"the opcode {_OPCODE_NAMES.get(opcode, opcode)}")
            _OPCODES[opcode](self)
        raise self.refused(f"more than {MAX_OPCODES} opcodes")

    def push_integers(self) -> None:
        """Push a run of integers: nearly everything there is. None stands at a pickle's end."""
        stream, position, push = self.stream, self.position, self.stack.append
        end = len(stream) - 4
        while position < end:
            opcode = stream[position]
            if opcode == _ONE_BYTE:
                push(stream[position + 1])
                position += 2
            elif opcode == _TWO_BYTES:
                push(stream[position + 1] | stream[position + 2] << 8)
                position += 3
            elif opcode == _FOUR_BYTES:
                push(int.from_bytes(stream[position + 1 : position + 5], "little", signed=True))
                position += 5
            else:
                break
        self.position = position

    def take(self, size: int) -> bytes:
        """The next bytes."""
        taken = self.stream[self.position : self.position + size]
        if len(taken) < size:
            raise self.refused("its end too early")
        self.position += size
        return taken

    def number(self, size: int) -> int:
        """The next bytes as an unsigned number."""
        return int.from_bytes(self.take(size), "little")

    def text(self, width: int) -> str:
        """The next text, whose length stands before it."""
        return self.take(self.number(width)).decode("utf-8", "replace")

    def line(self) -> str:
        """The text up to the end of the line."""
        end = self.stream.find(b"\n", self.position)
        text = self.take(end - self.position if end >= 0 else len(self.stream) + 1)
        self.position += 1
        return text.decode("utf-8", "replace")

    def pop(self, kind: type = object) -> Any:
        """The top of the stack, taken off."""
        top = self.top(kind)
        del self.stack[-1]
        return top

    def top(self, kind: type = object) -> Any:
        """The top of the stack, which is to be of this type."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.refused("an opcode without its operands")
        return self.stack[-1]

    def refused(self, got: str) -> DataError:
        """The error for a pickle that is not an array of lists."""
        return _refused(self.source, "nothing but lists of integers", got)

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def items(self) -> list[Any]:
        """What was pushed since the last mark."""
        if not self.outer:
            raise self.refused("an opcode without its operands")
        items, self.stack = self.stack, self.outer.pop()
        return items

    def name(self, module: str, name: str) -> None:
        path = f"{module}.{name}"
        if path not in NAMES:
            raise self.refused(f"the name {path[:80]!r}")
        self.stack.append(Name(path))

    def stack_name(self) -> None:
        name, module = self.pop(str), self.pop(str)
        self.name(module, name)

    def group(self, size: int) -> None:
        if len(self.stack) < size:
            raise self.refused("an opcode without its operands")
        self.stack[-size:] = [tuple(self.stack[-size:])]

    def call(self) -> None:
        args, function = self.pop(tuple), self.pop(Name)
        self.stack.append(Call(function.path, args))

    def build(self) -> None:
        state = self.pop()
        self.top(Call).state = state

    def append(self) -> None:
        item = self.pop()
        self.top(list).append(item)

    def extend(self) -> None:
        items = self.items()
        self.top(list).extend(items)

    def put(self, index: int) -> None:
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise self.refused("a reference to nothing")
        self.stack.append(self.memo[index])


def _pushing(value: Callable[[_Reader], Any]) -> Callable[[_Reader], None]:
    def push(reader: _Reader) -> None:
        pushed = value(reader)  # before the stack is looked up: tuples go back to the outer one
        reader.stack.append(pushed)

    return push


_OPCODES: dict[bytes, Callable[[_Reader], Any]] = {
    b"\x80": lambda reader: reader.take(1),  # PROTO
    b"\x95": lambda reader: reader.take(8),  # FRAME
    b"(": _Reader.mark,
    b"N": _pushing(lambda reader: None),
    b"\x88": _pushing(lambda reader: True),
    b"\x89": _pushing(lambda reader: False),
    b"\x8c": _pushing(lambda reader: reader.text(1)),  # SHORT_BINUNICODE
    b"X": _pushing(lambda reader: reader.text(4)),  # BINUNICODE
    b"U": _pushing(lambda reader: reader.text(1)),  # SHORT_BINSTRING, the text of Python 2
    b"C": _pushing(lambda reader: reader.take(reader.number(1))),  # SHORT_BINBYTES
    b"]": _pushing(lambda reader: []),
    b"a": _Reader.append,
    b"e": _Reader.extend,
    b"t": _pushing(lambda reader: tuple(reader.items())),
    b"\x85": lambda reader: reader.group(1),
    b"\x86": lambda reader: reader.group(2),
    b"\x87": lambda reader: reader.group(3),
    b"c": lambda reader: reader.name(reader.line(), reader.line()),  # GLOBAL
    b"\x93": _Reader.stack_name,
    b"R": _Reader.call,
    b"b": _Reader.build,
    b"\x94": lambda reader: reader.put(len(reader.memo)),  # MEMOIZE
    b"q": lambda reader: reader.put(reader.number(1)),
    b"r": lambda reader: reader.put(reader.number(4)),
    b"h": lambda reader: reader.get(reader.number(1)),
    b"j": lambda reader: reader.get(reader.number(4)),
}


def _refused(source: str, expected: str, got: str) -> DataError:
    return DataError(
        f"{source}: expected {expected}, got {got}.\n"
        "  To mend it: take the file from a source that you trust; nothing of it was run."
    )
