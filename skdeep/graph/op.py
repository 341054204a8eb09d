"""Operations: nodes of the graph that know their shape, their gradient and their kernels."""

from contextvars import ContextVar
from typing import NamedTuple

from .tensor import Tensor

OPS = {}
SCOPE = ContextVar("skdeep_scope", default="")  # path of the layer whose operations are made


def register(cls):
    """Class decorator: make an operation known under its class name (tests discover it there)."""
    OPS[cls.__name__] = cls
    return cls


class Row(NamedTuple):
    """One line of a program: a kernel, its operands, and how the work is cut.

    Attributes
    ----------
    kernel : str
        Name in :data:`skdeep.kernels.compiler.KERNELS`.
    operands : list
        Tensors (the kernel sees their address), ints (as they are) and floats (the kernel sees
        the address of a float32 that holds them). At most :data:`skdeep.graph.program.OPERANDS`.
    tiles : int
        How often the kernel is called, with tile = 0 .. tiles-1. Depends on shapes alone.
    work : float
        Rough cost of the whole row in nanoseconds on one core; small rows run serially.
    """

    kernel: str
    operands: list
    tiles: int = 1
    work: float = 0.0


class Op:
    """A node. Subclasses give :meth:`infer`, :meth:`rows` and, where it exists, :meth:`gradient`.

    Parameters
    ----------
    *inputs : Tensor or None
        What it reads. None stands for an absent optional input.
    **attributes
        Compile-time constants, kept in ``attributes`` and readable as ``self.name``.
    """

    differentiable = True  # False: gradient() is zero by nature (indices, masks)
    writes = ()  # positions of inputs that the kernels overwrite (running statistics, weights)

    def __init__(self, *inputs, **attributes):
        self.inputs = inputs
        self.attributes = attributes
        self.scope = SCOPE.get()
        self.__dict__.update(attributes)
        self.outputs = tuple(
            spec if isinstance(spec, Tensor) else Tensor(spec) for spec in self.infer()
        )
        for tensor in self.outputs:
            tensor.op = self

    @property
    def output(self):
        """The first output."""
        return self.outputs[0]

    def infer(self):
        """Shapes (or unbound Tensors, for int32) of the outputs; ValueError for bad input shapes.

        By default one output with the shape of the first input. An output nobody reads is scratch
        memory, which the kernels of this operation may use among themselves.
        """
        return [self.inputs[0].shape]

    def gradient(self, *dys):
        """Tensors d loss / d input, one per input, None where there is none.

        ``dys`` holds d loss / d output for each output, None where the loss does not depend on it.
        Built from operations; a gradient nobody asks for is dropped later at no cost.
        """
        raise ValueError(f"{type(self).__name__} has no gradient")

    def rows(self):
        """The lines this operation adds to a program, a list of :class:`Row`."""
        raise ValueError(f"{type(self).__name__} has no kernels")

    def shares(self):
        """Tensors that are part of another's memory: a list of (inner, outer, offset in words).

        A view names its output as the inner one, as Reshape does; an operation whose inputs are
        computed in place, inside its output, names them.
        """
        return []

    def rebuild(self, inputs):
        """The same operation on other inputs."""
        return self.like(*inputs)

    def like(self, *inputs, **changes):
        """An operation of this kind and layer, on other inputs, with some attributes changed."""
        op = type(self)(*inputs, **(self.attributes | changes))
        op.scope = self.scope
        return op

    def rebuild_part(self, inputs, samples, batch):
        """The same operation on ``samples`` of the ``batch`` samples it was made for."""
        return self.rebuild(inputs)

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(map(str, self.inputs))}, {self.attributes})"


def topological(outputs):
    """Operations needed for ``outputs``, each after those it depends on.

    Earlier outputs come first, so side effects listed last happen last.
    """
    seen, order = set(), []
    for tensor in outputs:
        if tensor.op is None or id(tensor.op) in seen:
            continue
        stack = [(tensor.op, iter(tensor.op.inputs))]
        seen.add(id(tensor.op))
        while stack:
            op, inputs = stack[-1]
            for t in inputs:
                if t is not None and t.op is not None and id(t.op) not in seen:
                    seen.add(id(t.op))
                    stack.append((t.op, iter(t.op.inputs)))
                    break
            else:
                order.append(op)
                stack.pop()
    return order
