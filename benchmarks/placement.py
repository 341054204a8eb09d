"""Where the cores of this machine are, for as long as the system around it leaves them there.

The cores of a virtual machine are threads of another system, which moves them: at times two of them
are the two halves of one core, at times they are cores with a cache in common, at times cores whose
caches are far from one another. Each of these gives two threads another speed, for seconds.
"""

import os
import threading
import time
from functools import cache

SHARED, NEAR, FAR = "halves of one core", "cores at one cache", "cores apart"
TURNS = 2000
APART = 80  # ns to pass a word from one core to another; about 25 and 150 were seen
WHOLE = 0.75  # of its speed alone, that a core must keep beside another
SPIN = 2e-3  # seconds


@cache
def _passing():
    """Two threads write a word in turn, ``first`` being the one that begins."""
    import numba

    from skdeep.kernels.runner import read_shared, write_shared

    @numba.njit(nogil=True)
    def passing(address, first, turns):
        for k in range(turns):
            before = 2 * k + (0 if first else 1)
            while read_shared(address) != before:
                pass
            write_shared(address, before + 1)

    return passing


@cache
def _units():
    import layers

    return layers.multiply_adds()


def _together(actions):
    """What every action returns, each on a core of its own."""
    found = [None] * len(actions)

    def run(k, core):
        os.sched_setaffinity(0, {core})
        found[k] = actions[k]()

    cores = sorted(os.sched_getaffinity(0))
    threads = [threading.Thread(target=run, args=pair) for pair in zip(range(len(actions)), cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _speed():
    """Multiply-adds per second of the thread that asks."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() < start + SPIN:
        done += _units()()
    return done / (time.perf_counter() - start)


def placement():
    """One of :data:`SHARED`, :data:`NEAR` and :data:`FAR` for two cores; None where unknown."""
    import numpy as np

    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        return None
    (alone,) = _together([_speed])
    if min(_together([_speed, _speed])) < WHOLE * alone:
        return SHARED
    words = np.zeros(32, np.int64)
    word, passing = words[16:].ctypes.data, _passing()
    passing(word, True, 0)  # compiled before anyone waits

    def pass_on(first):
        start = time.perf_counter()
        passing(word, first, TURNS)
        return time.perf_counter() - start

    took = min(_together([lambda: pass_on(True), lambda: pass_on(False)]))
    return FAR if 1e9 * took / (2 * TURNS) > APART else NEAR
