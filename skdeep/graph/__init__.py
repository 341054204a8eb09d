"""Symbolic tensors, operations, differentiation, passes, memory plan, program."""

from .differentiate import gradients
from .op import OPS, Op, Row, register
from .program import Program, compile_program
from .tensor import Tensor

__all__ = ["OPS", "Op", "Program", "Row", "Tensor", "compile_program", "gradients", "register"]
