"""Tensors whose axes may lie in memory in any order.

A file's graph speaks of tensors (n, c, h, w); here images lie as (n, h, w, c). A :class:`Value`
keeps both: *axes* are what the graph sees, *stored* is what lies in memory, and both are made of
*atoms*, indivisible runs of indices. So a transposition only renames, and a reshape only cuts or
joins; data move when an operation needs them in another order. Axes of one element need no atom.

Everything here speaks of a single sample. In memory the number of samples comes in front of it all.
"""

import math
from dataclasses import dataclass

import numpy as np

from .steps import Recorder

__all__ = []


class Atom:
    """A run of indices that is never cut, but replaced by two."""

    __slots__ = ("size",)

    def __init__(self, size):
        self.size = size

    def __repr__(self):
        return f"Atom({self.size})"


@dataclass(frozen=True)
class Value:
    """A tensor of one sample.

    Parameters
    ----------
    name : str
        Of the recorder's value.
    axes : tuple of tuple of Atom
        What every axis is made of, from its slowest index to its fastest.
    stored : tuple of Atom
        The order in memory, from the slowest to the fastest.
    """

    name: str
    axes: tuple
    stored: tuple

    @property
    def shape(self):
        """Sizes of the axes."""
        return tuple(sizes_product(axis) for axis in self.axes)

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.axes)

    def replaced(self, parts):
        """The same value with some atoms cut; ``parts`` maps an atom to a tuple of atoms."""
        axes = tuple(tuple(p for a in axis for p in parts.get(a, (a,))) for axis in self.axes)
        return Value(self.name, axes, tuple(p for a in self.stored for p in parts.get(a, (a,))))


def sizes_product(atoms):
    """Number of elements of a run of atoms."""
    return math.prod(a.size for a in atoms)


def atoms_of(shape):
    """A new atom for every size, none for 1."""
    return tuple((Atom(s),) if s != 1 else () for s in shape)


def flat(groups):
    """One tuple of all atoms of some axes."""
    return tuple(a for group in groups for a in group)


def common_sizes(*lists):
    """The coarsest list of sizes that refines all lists, or None where there is none."""
    first, *others = lists
    for other in others:
        found, a, b = [], list(first), list(other)
        while a and b:
            size = min(a[0], b[0])
            if a[0] % size or b[0] % size:
                return None
            found.append(size)
            for rest in (a, b):
                rest[0] //= size
                if rest[0] == 1:
                    rest.pop(0)
        if a or b:
            return None
        first = found
    return list(first)


def cut_atoms(atoms, sizes):
    """How to replace atoms so that their sizes become ``sizes``, which refine them."""
    parts, sizes = {}, list(sizes)
    for atom in atoms:
        made, size = [], 1
        while size < atom.size:
            made.append(Atom(sizes.pop(0)))
            size *= made[-1].size
        if len(made) > 1:
            parts[atom] = tuple(made)
    return parts


class Axes(Recorder):
    """A recorder of operations on values."""

    node = ""  # what is being translated; its weights are named after it

    def source(self, name, shape, order):
        """A value that is fed: axes of sizes ``shape``, which lie in memory in an order."""
        axes = atoms_of(shape)
        name = self.feed(name, (1, *(shape[k] for k in order if k or shape[k] != 1)))
        return Value(name, axes, flat(axes[k] for k in order))

    def constant(self, array):
        """A value that is the same for all samples."""
        array = np.asarray(array)
        name = self.weight(f"{self.node}.value", array[None])
        return self.fresh(self.apply("broadcast_to", name, shape=(1, *array.shape)), array.shape)

    def fresh(self, name, shape, order=None):
        """A value whose axes lie in memory in an order, each as one run."""
        axes = atoms_of(shape)
        return Value(name, axes, flat(axes[k] for k in order or range(len(shape))))

    def view(self, value, *groups, samples=()):
        """The tensor with consecutive atoms taken together: (samples, *groups)."""
        assert value.stored == flat((samples, *groups))
        sizes = (sizes_product(g) for g in groups)
        return self.apply("reshape", value.name, shape=(sizes_product(samples), *sizes))

    def arrange(self, value, stored):
        """The value with its atoms in another order in memory."""
        stored = tuple(stored)
        if stored == value.stored:
            return value
        tensor = self.view(value, *((a,) for a in value.stored))
        axes = (0, *(1 + value.stored.index(a) for a in stored))
        return Value(self.apply("transpose", tensor, axes=axes), value.axes, stored)

    def last(self, value, *groups):
        """The value with some axes' atoms at the end; the others stay in their order."""
        tail = flat(groups)
        return self.arrange(value, (*(a for a in value.stored if a not in tail), *tail))

    def axis_last(self, value, *axes):
        """The value with some axes at the end, each in whatever order it lies; and those atoms."""
        tail = set(flat(value.axes[k] for k in axes))
        end = value.stored[len(value.stored) - len(tail) :]
        if set(end) != tail:
            value = self.last(value, [a for a in value.stored if a in tail])
            end = value.stored[len(value.stored) - len(tail) :]
        return value, end

    def plain(self, value, order=None):
        """The value with its axes in an order in memory, each a single atom."""
        order = range(value.ndim) if order is None else order
        value = self.arrange(value, flat(value.axes[k] for k in order))
        return self.fresh(value.name, value.shape, order)

    def order(self, value):
        """Axes in the order in which they lie in memory, by their first atom."""
        place = {a: k for k, a in enumerate(value.stored)}
        keys = [min((place[a] for a in axis), default=-1) for axis in value.axes]
        return sorted(range(value.ndim), key=lambda k: (keys[k], k))

    def reshape(self, value, shape):
        """Another shape for the same elements, in the order of the axes."""
        if math.prod(shape) != math.prod(value.shape):
            raise ValueError(f"a tensor of shape {value.shape} cannot become {tuple(shape)}")
        atoms = flat(value.axes)
        sizes = common_sizes([a.size for a in atoms], [s for s in shape if s != 1])
        if sizes is None:
            value = self.plain(value)
            return self.fresh(value.name, shape)
        value = value.replaced(cut_atoms(atoms, sizes))
        atoms, axes = list(flat(value.axes)), []
        for size in shape:
            axis = []
            while sizes_product(axis) < size:
                axis.append(atoms.pop(0))
            axes.append(tuple(axis))
        return Value(value.name, tuple(axes), value.stored)

    def laid(self, array, value, axes=None):
        """An array that broadcasts to the axes of a value, laid out as the value is stored.

        ``axes`` are the groups of atoms that its axes go over, those of the value by default.
        """
        axes = value.axes if axes is None else axes
        array = np.asarray(array)
        array = array.reshape((1,) * (len(axes) - array.ndim) + array.shape)
        shape = []
        for axis, size in zip(axes, array.shape):
            shape += [a.size if size > 1 else 1 for a in axis]
        atoms = flat(axes)
        order = [atoms.index(a) for a in value.stored if a in atoms]
        return array.reshape(shape).transpose(order)

    def sorted_as(self, atoms, axis, array, k=0):
        """Axis ``k`` of an array, which goes along an axis, in the order of its atoms in memory."""
        if tuple(atoms) == tuple(axis):
            return array
        before, after = array.shape[:k], array.shape[k + 1 :]
        array = array.reshape(*before, *(a.size for a in axis), *after)
        order = [*range(k), *(k + axis.index(a) for a in atoms)]
        array = array.transpose([*order, *range(len(order), array.ndim)])
        return array.reshape(*before, -1, *after)

    def elementwise(self, function, *operands):
        """An operation on values, arrays and numbers that broadcast to one shape."""
        operands = [np.asarray(x) if not isinstance(x, Value) else x for x in operands]
        try:
            shape = np.broadcast_shapes(*(x.shape for x in operands))
        except ValueError:
            shapes = " and ".join(str(x.shape) for x in operands)
            raise ValueError(f"shapes {shapes} do not fit together") from None
        operands = self._refined(operands, len(shape))
        values = [x for x in operands if isinstance(x, Value)]
        axes, known = [], {}
        for k, size in enumerate(shape):
            whole = [v.axes[k] for v in values if v.shape[k] == size and size > 1]
            axes.append(tuple(Atom(a.size) for a in whole[0]) if whole else atoms_of([size])[0])
            for axis in whole:
                known.update(zip(axis, axes[-1]))
        widest = max(values, key=lambda v: math.prod(v.shape))
        stored = tuple(known[a] for a in widest.stored)
        stored = (*(a for a in flat(axes) if a not in stored), *stored)
        result = Value("", tuple(axes), stored)
        inputs = [self._operand(x, result, known) for x in operands]
        return Value(self.apply(function, *inputs), result.axes, stored)

    def _operand(self, x, result, known):
        if isinstance(x, Value):
            mine = {known[a]: a for a in x.stored}
            x = self.arrange(x, [mine[a] for a in result.stored if a in mine])
            sizes = (a.size if a in mine else 1 for a in result.stored)
            return self.apply("reshape", x.name, shape=(1, *sizes))
        if x.size == 1:
            return float(x.reshape(()))
        return self.weight(f"{self.node}.value", self.laid(x, result))

    def _refined(self, operands, ndim):
        """Operands of equal rank whose axes are made of atoms of equal sizes."""
        wide = []
        for x in operands:
            if isinstance(x, Value):
                x = Value(x.name, ((),) * (ndim - x.ndim) + x.axes, x.stored)
            wide.append(x)
        values = [x for x in wide if isinstance(x, Value)]
        if len(values) == 1:
            return wide
        parts = {}
        for k in range(ndim):
            axes = [v.axes[k] for v in values if v.axes[k]]
            sizes = common_sizes(*([a.size for a in axis] for axis in axes)) if axes else []
            if sizes is None:
                return [self.plain(x, self.order(x)) if isinstance(x, Value) else x for x in wide]
            for axis in axes:
                parts.update(cut_atoms(axis, sizes))
        return [x.replaced(parts) if isinstance(x, Value) else x for x in wide]

    def rows(self, value, end):
        """The tensor with the atoms ``end``, which are the last in memory, as its last axis."""
        shape = self.shape(value.name)
        if len(shape) > 1 and shape[-1] == sizes_product(end):
            return value.name
        rest = value.stored[: len(value.stored) - len(end)]
        return self.view(value, *((a,) for a in rest), end)

    def expand(self, value, shape):
        """The value repeated along axes of one element, and along new ones in front."""
        if tuple(shape) == value.shape:
            return value
        axes = ((),) * (len(shape) - value.ndim) + value.axes
        new = [(Atom(s),) if s > 1 and not a else () for s, a in zip(shape, axes)]
        front = flat(new)
        sizes = [a.size for a in value.stored]
        name = self.apply("reshape", value.name, shape=(1, *[1] * len(front), *sizes))
        name = self.apply("broadcast_to", name, shape=(1, *(a.size for a in front), *sizes))
        return Value(name, tuple(a or n for a, n in zip(axes, new)), (*front, *value.stored))

    def unary(self, function, value, **attributes):
        """An operation on every element."""
        name = self.apply(function, value.name, **attributes)
        return Value(name, value.axes, value.stored)

    def slice(self, value, axis, start, stop):
        """Indices ``start`` to ``stop`` - 1 of an axis."""
        atoms = value.axes[axis]
        size = sizes_product(atoms)
        if not 0 <= start < stop <= size:
            raise ValueError(f"{start}:{stop} selects nothing of an axis of {size}")
        if (start, stop) == (0, size):
            return value
        inner = sizes_product(atoms[1:])
        if start % inner or stop % inner:
            value = self.plain(value, self.order(value))
            atoms, inner = value.axes[axis], 1
        first, start, stop = atoms[0], start // inner, stop // inner
        tensor = self.view(value, *((a,) for a in value.stored))
        place = 1 + value.stored.index(first)
        name = self.apply("slice_axis", tensor, axis=place, start=start, stop=stop)
        new = (Atom(stop - start),) if stop - start > 1 else ()
        return Value(name, value.axes, value.stored).replaced({first: new})

    def concatenate(self, values, axis):
        """Values joined along an axis."""
        order = self.order(max(values, key=lambda v: math.prod(v.shape)))
        shapes = {v.shape[:axis] + v.shape[axis + 1 :] for v in values}
        if len(shapes) > 1:
            raise ValueError(f"shapes {[v.shape for v in values]} cannot be joined along {axis}")
        values = [self.plain(v, order) for v in values]
        shape = list(values[0].shape)
        kept = [k for k in order if k == axis or shape[k] > 1]
        names = [self.apply("reshape", v.name, shape=(1, *(v.shape[k] for k in kept)))
                 for v in values]  # fmt: skip
        shape[axis] = sum(v.shape[axis] for v in values)
        place = 1 + kept.index(axis)
        return self.fresh(self.apply("concatenate", *names, axis=place), shape, order)

    def take(self, value, axis, numbers):
        """Given indices of an axis, as slices that are joined again."""
        runs = []
        for k in numbers:
            if runs and runs[-1][1] == k:
                runs[-1][1] = k + 1
            else:
                runs.append([k, k + 1])
        if len(runs) > 256:
            raise ValueError(f"{len(runs)} pieces of an axis are too many to gather")
        parts = [self.slice(value, axis, *run) for run in runs]
        return parts[0] if len(parts) == 1 else self.concatenate(parts, axis)

    def without(self, value, axes):
        """The value without axes of one element."""
        return Value(value.name, tuple(a for k, a in enumerate(value.axes) if k not in axes),
                     value.stored)  # fmt: skip

    def shown(self, value):
        """Name of the tensor as users see it: samples first, images channels last."""
        shape, axes = value.shape, range(value.ndim)
        if shape[:1] == (1,):
            order = [*axes[2:], 1] if value.ndim == 4 else axes[1:]
            value = self.arrange(value, flat(value.axes[k] for k in order))
            return self.apply("reshape", value.name, shape=(1, *(shape[k] for k in order)))
        return self.apply("reshape", self.plain(value).name, shape=(1, *shape))
