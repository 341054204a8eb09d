"""Which vector instructions this process uses, decided once from CPU feature flags.

``SKDEEP_ISA=avx512_bf16|avx512|avx2|portable`` narrows the choice, so that every path can be
exercised on any machine that has the features. There is no path for AMX: a CPU that has it uses its
AVX512-BF16 instructions.
"""

import os
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class InstructionSet:
    """Vector width and register budget of one code path."""

    name: str
    width: int  # float32 lanes of one vector
    registers: int  # architectural vector registers
    flags: tuple  # CPU features it needs
    bfloat16: bool = False  # multiplies pairs of bfloat16; the others widen them to float32


_AVX512 = ("avx512f", "avx512dq", "avx512bw", "avx512vl", "fma")

CHOICES = {
    isa.name: isa
    for isa in (
        InstructionSet("avx512_bf16", 16, 32, (*_AVX512, "avx512bf16"), bfloat16=True),
        InstructionSet("avx512", 16, 32, _AVX512),
        InstructionSet("avx2", 8, 16, ("avx2", "fma")),
        InstructionSet("portable", 4, 16, ()),
    )
}


@cache
def host_flags():
    """Feature flags of the CPU that LLVM compiles for, as a frozen set of names."""
    from llvmlite import binding

    return frozenset(k for k, on in binding.get_host_cpu_features().items() if on)


@cache
def current():
    """The instruction set in use: the widest the CPU has, or the one named by ``SKDEEP_ISA``.

    Raises
    ------
    RuntimeError
        When ``SKDEEP_ISA`` names an unknown set, or one that this CPU lacks.
    """
    have = host_flags()
    usable = [isa for isa in CHOICES.values() if have.issuperset(isa.flags)]
    wanted = os.environ.get("SKDEEP_ISA", "").strip().lower()
    if not wanted:
        return usable[0]
    if wanted not in CHOICES:
        raise RuntimeError(f"SKDEEP_ISA={wanted!r} is unknown; choose one of {sorted(CHOICES)}.")
    isa = CHOICES[wanted]
    if isa not in usable:
        missing = sorted(set(isa.flags) - have)
        raise RuntimeError(
            f"SKDEEP_ISA={wanted!r} needs CPU features {missing} that this machine lacks; "
            f"usable here: {[u.name for u in usable]}."
        )
    return isa
