"""Threads of a team on cores of their own."""

import ctypes
import os
import threading

import pytest

from skdeep.kernels import compiler, cores, runner

MOVES = hasattr(os, "sched_setaffinity")


@pytest.fixture(scope="module")
def come():
    """A kernel that says where member p[1] is and leaves the core of those before it."""
    kept = dict(compiler.KERNELS)

    @compiler.kernel
    def come_apart(p, tile):
        cores.keep_apart(p[0], p[1])

    yield come_apart
    compiler.KERNELS.clear()
    compiler.KERNELS.update(kept)


def apart(come, shared, core):
    """Core of a thread that was begun on ``core`` and came as the second; and where it may go."""
    found = []

    def work():
        usable = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        os.sched_setaffinity(0, usable)
        runner.launch(come, shared, 1)
        found.extend([int(members(shared)[1]), os.sched_getaffinity(0) == usable])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def members(shared):
    """Cores that the members of a team of two say they are on."""
    stride = -(-(int(shared[cores.BYTES // 8]) + 8) // cores.LINE) * cores.LINE
    return shared[(cores.ALLOWED + stride) // 8 :: stride // 8][:2]


@pytest.mark.skipif(not MOVES, reason="a system that does not let threads choose cores")
def test_a_second_thread_leaves_the_core_of_the_first(come):
    """It may be anywhere afterwards; with one core it stays where it is."""
    usable = sorted(os.sched_getaffinity(0))
    for core in usable[:2]:
        shared = cores.shared_cores(2)
        members(shared)[0] = core
        where, free = apart(come, shared, core)
        assert free
        if len(usable) > 1:
            assert where in usable and where != core
        else:
            assert where == -1  # nobody asked


@pytest.mark.skipif(not MOVES, reason="a system that does not let threads choose cores")
def test_a_thread_that_has_a_core_of_its_own_stays(come):
    shared = cores.shared_cores(2)
    members(shared)[0] = 10**6  # far away
    shared[cores.MOVE // 8] = 0  # a call of this would end the process
    runner.launch(come, shared, 1)
    assert (members(shared)[1] >= 0) == (len(os.sched_getaffinity(0)) > 1)


def test_systems_without_such_functions_are_left_alone(come, monkeypatch):
    monkeypatch.setattr(cores, "_functions", lambda: None)
    shared = cores.shared_cores(3)
    runner.launch(come, shared, 1)
    assert members(shared)[1] == -1 and shared[cores.ASK // 8] == 0


@pytest.mark.skipif(not MOVES, reason="a system that does not let threads choose cores")
def test_a_system_that_tells_no_cores_apart_is_asked_no_more(come):
    """Where every thread seems to be on one core, moving does not help."""
    shared = cores.shared_cores(2)
    if shared[cores.ASK // 8]:
        shared[cores.ASK // 8] = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
        members(shared)[0] = os.getpid()
        runner.launch(come, shared, 1)
    assert shared[cores.ASK // 8] == 0


@pytest.mark.skipif(not MOVES, reason="a system that does not let threads choose cores")
def test_a_refusal_ends_the_attempts(come):
    """Where the system forbids it, threads go on where they are."""
    shared, core = cores.shared_cores(2), min(os.sched_getaffinity(0))
    shared[cores.ALLOWED // 8] = 1 << 62  # a core that does not exist
    members(shared)[0] = core
    apart(come, shared, core)
    assert shared[cores.ASK // 8] == 0
