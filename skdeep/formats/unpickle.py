"""A pickle machine that runs nothing of what it reads.

Python's own can be kept from importing, but not from allocating what an opcode claims to need or
from hashing tuples nested deeper than the stack. This one knows the opcodes of protocols 2 to 5,
keeps to limits, and makes dictionaries, lists, tuples, numbers, text, bytes and what a table of
globals says; everything else is an error.
"""

import struct

from .base import FormatError

__all__ = ["IGNORED", "Global", "Ignored", "is_key", "unpickle"]

MAX_STEPS = 1_000_000  # opcodes; a tensor of a state dict takes about 50
MAX_TEXT = 1 << 26  # bytes of all strings together
MAX_LONG = 16  # bytes of an integer
MAX_NAME = 512  # bytes of a global's name
MAX_KEY = 1 << 32  # larger integers could be chosen to have one hash


class Global:
    """What a global name stands for.

    Parameters
    ----------
    name : str
    call : callable or None, default=None
        What is done where the pickle calls it.
    dtype : dtype or str or None, default=None
        Of the elements, if it is a type of storages or tensors.
    """

    def __init__(self, name, call=None, dtype=None):
        self.name = name
        self.call = call
        self.dtype = dtype


class Ignored:
    """In the place of an object that holds no tensors."""


IGNORED = Ignored()


class Machine:
    """The stack machine that a pickle is a program of."""

    def __init__(self, data, position, find, persistent):
        self.data = data
        self.position = position
        self.find = find
        self.persistent = persistent
        self.stack = []
        self.marks = []
        self.memo = {}
        self.text = 0

    def run(self):
        """The object that the pickle describes."""
        for _ in range(MAX_STEPS):
            opcode = self.data[self.position]
            self.position += 1
            if opcode == 0x2E:  # STOP
                return self.stack.pop()
            OPCODES[opcode](self)
        raise ValueError(f"more than {MAX_STEPS} steps")

    def take(self, n):
        """The next ``n`` bytes."""
        self.text += n
        if self.text > MAX_TEXT:
            raise ValueError(f"more than {MAX_TEXT} bytes of text")
        start, self.position = self.position, self.position + n
        if self.position > len(self.data):
            raise IndexError("it is cut short")
        return bytes(self.data[start : self.position])

    def number(self, form):
        """The next number, in the notation of struct."""
        value = struct.unpack_from(form, self.data, self.position)[0]
        self.position += struct.calcsize(form)
        return value

    def line(self):
        """Text up to the end of the line."""
        text = bytes(self.data[self.position : self.position + MAX_NAME])
        text = text[: text.index(b"\n")]
        self.position += len(text) + 1
        return text.decode()

    def since_mark(self):
        """What was put on the stack since the last mark."""
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def call(self, function, arguments):
        """What a global gives for arguments."""
        if isinstance(function, Ignored):
            return IGNORED
        if not isinstance(function, Global) or function.call is None:
            raise ValueError("it calls what cannot be called")
        return function.call(*arguments)


def constant(value):
    def push(machine):
        machine.stack.append(value)

    return push


def numeric(form):
    def push(machine):
        machine.stack.append(machine.number(form))

    return push


def text(form, decode):
    def push(machine):
        machine.stack.append(decode(machine.take(machine.number(form))))

    return push


def long(form):
    def push(machine):
        n = machine.number(form)
        if not 0 <= n <= MAX_LONG:
            raise ValueError(f"an integer of {n} bytes")
        machine.stack.append(int.from_bytes(machine.take(n), "little", signed=True))

    return push


def tuple_of(n):
    def push(machine):
        if len(machine.stack) < n:
            raise IndexError("the stack is empty")
        found = tuple(machine.stack[len(machine.stack) - n :])
        del machine.stack[len(machine.stack) - n :]
        machine.stack.append(found)

    return push


def from_mark(make):
    def push(machine):
        machine.stack.append(make(machine.since_mark()))

    return push


def get(form):
    def push(machine):
        machine.stack.append(machine.memo[machine.number(form)])

    return push


def put(form):
    def keep(machine):
        machine.memo[machine.number(form)] = machine.stack[-1]

    return keep


def skip(n):
    def move(machine):
        machine.position += n

    return move


def new(make):
    def push(machine):
        machine.stack.append(make())

    return push


def set_mark(machine):
    machine.marks.append(len(machine.stack))


def pop(machine):
    machine.stack.pop()


def memoize(machine):
    machine.memo[len(machine.memo)] = machine.stack[-1]


def append(machine):
    extend(machine, [machine.stack.pop()])


def appends(machine):
    extend(machine, machine.since_mark())


def extend(machine, values):
    if isinstance(machine.stack[-1], list):
        machine.stack[-1].extend(values)
    elif not isinstance(machine.stack[-1], Ignored):
        raise TypeError("it appends to what is no list")


def set_item(machine):
    value, key = machine.stack.pop(), machine.stack.pop()
    update(machine, [key, value])


def set_items(machine):
    update(machine, machine.since_mark())


def update(machine, flat):
    target = machine.stack[-1]
    if isinstance(target, Ignored):
        return
    if not isinstance(target, dict):
        raise TypeError("it sets items of what is no dictionary")
    target.update((k, v) for k, v in zip(flat[::2], flat[1::2], strict=True) if is_key(k))


def is_key(value):
    """Whether an item is kept: names of tensors and indices; the rest of a checkpoint is not."""
    return type(value) is str or (type(value) is int and abs(value) < MAX_KEY)


def find(machine):
    module, name = machine.line(), machine.line()
    machine.stack.append(machine.find(module, name))


def stack_find(machine):
    name, module = machine.stack.pop(), machine.stack.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise TypeError("the name of a global must be text")
    machine.stack.append(machine.find(module[:MAX_NAME], name[:MAX_NAME]))


def reduce(machine):
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.call(function, arguments))


def reduce_named(machine):
    machine.stack.pop()
    reduce(machine)


def build(machine):
    """The state of an object: none of those that are made has one that counts."""
    machine.stack.pop()
    if not isinstance(machine.stack[-1], (dict, list, Ignored)):
        raise TypeError("it sets the state of what has none")


def persistent(machine):
    machine.stack.append(machine.persistent(machine.stack.pop()))


OPCODES = {
    0x80: skip(1),  # PROTO
    0x95: skip(8),  # FRAME
    ord("N"): constant(None),
    0x88: constant(True),
    0x89: constant(False),
    ord("K"): numeric("<B"),
    ord("M"): numeric("<H"),
    ord("J"): numeric("<i"),
    ord("G"): numeric(">d"),
    0x8A: long("<B"),
    0x8B: long("<i"),
    ord("U"): text("<B", lambda raw: raw.decode("latin-1")),  # strings of Python 2
    ord("T"): text("<I", lambda raw: raw.decode("latin-1")),
    0x8C: text("<B", bytes.decode),
    ord("X"): text("<I", bytes.decode),
    0x8D: text("<Q", bytes.decode),
    ord("C"): text("<B", bytes),
    ord("B"): text("<I", bytes),
    0x8E: text("<Q", bytes),
    0x96: text("<Q", bytes),  # BYTEARRAY8
    ord("("): set_mark,
    ord("0"): pop,
    ord("1"): Machine.since_mark,
    ord(")"): constant(()),
    ord("t"): from_mark(tuple),
    0x85: tuple_of(1),
    0x86: tuple_of(2),
    0x87: tuple_of(3),
    ord("]"): new(list),
    ord("a"): append,
    ord("e"): appends,
    ord("}"): new(dict),
    ord("s"): set_item,
    ord("u"): set_items,
    0x8F: constant(IGNORED),  # EMPTY_SET
    0x90: appends,  # ADDITEMS
    0x91: from_mark(lambda found: IGNORED),  # FROZENSET
    ord("q"): put("<B"),
    ord("r"): put("<I"),
    0x94: memoize,
    ord("h"): get("<B"),
    ord("j"): get("<I"),
    ord("c"): find,
    0x93: stack_find,
    ord("R"): reduce,
    0x81: reduce,  # NEWOBJ
    0x92: reduce_named,  # NEWOBJ_EX
    ord("b"): build,
    ord("Q"): persistent,
}


def unpickle(data, position, find, persistent, where):
    """Object of a pickle.

    Parameters
    ----------
    data : memoryview
    position : int
        Of the first opcode.
    find : callable
        ``find(module, name) -> Global or Ignored``, or an error.
    persistent : callable
        ``persistent(identifier) -> object``.
    where : str
        What messages call it.

    Returns
    -------
    value : object
    position : int
        Behind the last opcode.
    """
    machine = Machine(data, position, find, persistent)
    try:
        return machine.run(), machine.position
    except FormatError:
        raise
    except KeyError:
        why = f"an opcode or reference at byte {machine.position} is unknown"
    except (ArithmeticError, IndexError, struct.error, TypeError, ValueError) as error:
        why = str(error)
    raise FormatError(f"{where}: the pickle is damaged or not of torch ({why}); fetch it again")
