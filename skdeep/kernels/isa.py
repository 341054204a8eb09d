"""Which vector instructions this process uses, decided once from CPU feature flags.

``SKDEEP_ISA=amx|avx512_bf16|avx512|avx2|portable`` narrows the choice, so that every path can be
exercised on any machine that has the features. ``SKDEEP_ISA=amx_emulated`` decides as ``amx`` does,
on any machine: it computes with the best other set, and with tile registers that are memory. It is
for tests, and slow.
"""

import ctypes
import os
import sys
from dataclasses import dataclass, replace
from functools import cache


@dataclass(frozen=True)
class InstructionSet:
    """Vector width and register budget of one code path."""

    name: str
    width: int  # float32 lanes of one vector
    registers: int  # architectural vector registers
    flags: tuple  # CPU features it needs
    bfloat16: bool = False  # multiplies pairs of bfloat16; the others widen them to float32
    tiles: bool = False  # products of bfloat16 are those of tiles


_AVX512 = ("avx512f", "avx512dq", "avx512bw", "avx512vl", "fma")
_AVX512_BF16 = (*_AVX512, "avx512bf16")
_AMX = ("amx-tile", "amx-bf16")

CHOICES = {
    isa.name: isa
    for isa in (
        InstructionSet("amx", 16, 32, (*_AVX512_BF16, *_AMX), bfloat16=True, tiles=True),
        InstructionSet("avx512_bf16", 16, 32, _AVX512_BF16, bfloat16=True),
        InstructionSet("avx512", 16, 32, _AVX512),
        InstructionSet("avx2", 8, 16, ("avx2", "fma")),
        InstructionSet("portable", 4, 16, ()),
    )
}
EMULATED = "amx_emulated"

# Of Linux on x86-64: the number of the call, the request, and what is asked for.
ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18


@cache
def host_flags():
    """Feature flags of the CPU that LLVM compiles for, as a frozen set of names."""
    from llvmlite import binding

    return frozenset(k for k, on in binding.get_host_cpu_features().items() if on)


@cache
def tiles_permitted():
    """Whether the system lets this process, and its threads and children, use tile registers."""
    if sys.platform != "linux":
        return False
    arguments = map(ctypes.c_long, (ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA))
    return ctypes.CDLL(None).syscall(*arguments) == 0


def _has(isa):
    """Whether this machine has an instruction set, and lets us use it."""
    return host_flags().issuperset(isa.flags) and ("amx-tile" not in isa.flags or tiles_permitted())


@cache
def usable():
    """Instruction sets of this machine, the best one first."""
    return [isa for isa in CHOICES.values() if _has(isa)]


@cache
def current():
    """The instruction set in use: the best this machine has, or the one ``SKDEEP_ISA`` names.

    Raises
    ------
    RuntimeError
        When ``SKDEEP_ISA`` names an unknown set, or one that this machine lacks.
    """
    wanted = os.environ.get("SKDEEP_ISA", "").strip().lower()
    if not wanted:
        return usable()[0]
    if wanted == EMULATED:
        best = next(isa for isa in usable() if not isa.tiles)
        return replace(best, name=EMULATED, tiles=True)
    if wanted not in CHOICES:
        known = sorted([*CHOICES, EMULATED])
        raise RuntimeError(f"SKDEEP_ISA={wanted!r} is unknown; choose one of {known}.")
    isa = CHOICES[wanted]
    if not _has(isa):
        missing = sorted(set(isa.flags) - host_flags())
        lacks = f"CPU features {missing} that this machine lacks"
        refused = "tile registers, which this system does not let the process use"
        raise RuntimeError(
            f"SKDEEP_ISA={wanted!r} needs {lacks if missing else refused}; "
            f"usable here: {[u.name for u in usable()]}."
        )
    return isa
