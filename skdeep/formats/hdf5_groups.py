"""How HDF5 keeps what a group holds: as a tree of names, or as links in a heap."""

__all__ = ["old_links", "stored_links"]

MAX_LEVELS = 16


def old_links(file, tree, heap):
    """Names and addresses from a B-tree of symbol tables, whose names are in a heap.

    Parameters
    ----------
    file : Hdf5
    tree, heap : int
        Addresses.

    Yields
    ------
    name : str
    address : int
    """
    file.expect(file.bytes(heap, 4) == b"HEAP", "the names of a group are damaged")
    size, names = file.number(heap + 8, 8), file.number(heap + 24, 8)
    todo = [tree]
    while todo:
        node = todo.pop()
        file.step()
        mark = file.bytes(node, 4)
        if mark == b"TREE":
            for i in range(file.number(node + 6, 2)):
                todo.append(file.number(node + 32 + 16 * i, 8))
            continue
        file.expect(mark == b"SNOD", "a group is damaged")
        for i in range(file.number(node + 6, 2)):
            file.step()
            entry = node + 8 + 40 * i
            at = file.number(entry, 8)
            file.expect(at < size, "the names of a group are damaged")
            if file.number(entry + 16, 4) != 2:  # 2: a symbolic link
                raw = file.bytes(names + at, min(size - at, 1001))
                yield file.name(raw), file.number(entry + 8, 8)


def stored_links(file, heap, tree):
    """Link messages in a fractal heap that a B-tree of the second form indexes.

    Parameters
    ----------
    file : Hdf5
    heap, tree : int
        Addresses.

    Yields
    ------
    message : bytes
    """
    read = FractalHeap(file, heap).read
    by_name = file.bytes(tree, 4) == b"BTHD" and file.number(tree + 5, 1) == 5
    file.expect(by_name, "the index of a group is damaged")
    node_size, record = file.number(tree + 6, 4), file.number(tree + 10, 2)
    depth, root = file.number(tree + 12, 2), file.number(tree + 16, 8)
    file.expect(record == 11 and depth < MAX_LEVELS, "the index of a group is damaged")
    capacity = [(node_size - 10) // record]  # records in a node at each height
    total = capacity[:]
    for height in range(1, depth + 1):
        pointer = 8 + width(capacity[0]) + (width(total[-1]) if height > 1 else 0)
        capacity.append((node_size - 10 - pointer) // (record + pointer))
        total.append((capacity[-1] + 1) * total[-1] + capacity[-1])
    file.expect(all(n > 0 for n in capacity), "the index of a group is damaged")
    todo = [(root, file.number(tree + 24, 2), depth)] if file.number(tree + 24, 2) else []
    while todo:
        node, n, height = todo.pop()
        mark = b"BTIN" if height else b"BTLF"
        good = file.bytes(node, 4) == mark and n <= capacity[height]
        file.expect(good, "the index of a group is damaged")
        for i in range(n):
            file.step()
            yield read(file.bytes(node + 6 + record * i + 4, record - 4))  # behind the hash
        if height:
            count = width(capacity[0])
            pointer = 8 + count + (width(total[height - 1]) if height > 1 else 0)
            for i in range(n + 1):
                file.step()
                at = node + 6 + record * n + pointer * i
                todo.append((file.number(at, 8), file.number(at + 8, count), height - 1))


def width(number):
    """Bytes that numbers up to ``number`` take."""
    return (number.bit_length() + 7) // 8


class FractalHeap:
    """Objects in blocks whose sizes double from row to row.

    Parameters
    ----------
    file : Hdf5
    address : int
    """

    def __init__(self, file, address):
        self.file = file
        file.expect(file.bytes(address, 4) == b"FRHP", "the heap of a group is damaged")
        file.expect(file.number(address + 7, 2) == 0, "the heap of a group is packed")
        largest = file.number(address + 10, 4)
        self.columns, self.first = file.number(address + 110, 2), file.number(address + 112, 8)
        self.direct, bits = file.number(address + 120, 8), file.number(address + 128, 2)
        self.root, self.rows = file.number(address + 132, 8), file.number(address + 140, 2)
        good = self.columns and self.first and self.first <= self.direct < 1 << 40 and bits <= 64
        file.expect(good, "the heap of a group is damaged")
        self.offset = (bits + 7) // 8
        self.length = min(width(self.direct - 1), width(largest))

    def read(self, identifier):
        """Bytes of an object."""
        good = identifier[0] >> 4 & 3 == 0 and 1 + self.offset + self.length <= len(identifier)
        self.file.expect(good, "the heap of a group is of an unknown kind")
        offset = int.from_bytes(identifier[1 : 1 + self.offset], "little")
        end = 1 + self.offset + self.length
        length = int.from_bytes(identifier[1 + self.offset : end], "little")
        self.file.expect(length <= 1 << 16, "the heap of a group is damaged")
        return self.file.bytes(self.place(offset), length)

    def place(self, offset):
        """Address of what is at an offset within the heap."""
        file, block, rows = self.file, self.root, self.rows
        for _ in range(MAX_LEVELS):
            if not rows:  # a direct block
                return block + offset
            file.step()
            file.expect(file.bytes(block, 4) == b"FHIB", "the heap of a group is damaged")
            row, size = 0, self.first
            while offset >= size * self.columns and row < rows:
                offset -= size * self.columns
                row += 1
                size = self.first << max(row - 1, 0)
            file.expect(row < rows, "the heap of a group is damaged")
            entry = row * self.columns + offset // size
            offset %= size
            block = file.number(block + 13 + self.offset + 8 * entry, 8)
            rows = 0 if size <= self.direct else self.rows_of(size)
        file.expect(False, "the heap of a group is damaged")

    def rows_of(self, size):
        """Rows of an indirect block that covers ``size`` bytes."""
        return (size // (self.first * self.columns)).bit_length()
