"""Where tensors live: offsets in one arena, shared by those that are not alive together."""

ALIGN = 16  # elements: 64 bytes
SLACK = 16  # elements readable past the end of a tensor


def plan_arena(order, outputs, storage_root, pinned, guard=0):
    """Offsets by liveness, first fit.

    A tensor is alive from the operation that makes it to the last that reads it or a view of it;
    ``outputs`` stay alive to the end. Larger tensors of the same operation are placed first.

    Parameters
    ----------
    order : list of Op
        Operations in the order of execution.
    outputs : list of Tensor
    storage_root : callable
        Gives the tensor whose memory a tensor shares.
    pinned : dict
        Tensors that live elsewhere.
    guard : int
        When positive, nothing is shared and this many elements stay free after each tensor.

    Returns
    -------
    offsets : dict of id(tensor) to int
        In elements.
    size : int
        Elements the arena needs.
    peak : int
        Elements alive at once at the worst operation: a lower bound for any plan.
    """
    last = {}
    for k, op in enumerate(order):
        for t in (*op.inputs, *op.outputs):
            if t is not None:
                last[id(storage_root(t))] = k
    for t in outputs:
        last[id(storage_root(t))] = len(order)

    blocks = []  # (offset, size, last use) of what is alive, by offset
    offsets, size, peak = {}, 0, 0
    for k, op in enumerate(order):
        if not guard:
            blocks = [b for b in blocks if b[2] >= k]
        fresh = [t for t in op.outputs if storage_root(t) is t and t not in pinned]
        for t in sorted(fresh, key=lambda t: -t.size):
            need = -(-(t.size + guard) // ALIGN) * ALIGN
            at = 0
            for offset, length, _ in blocks:
                if at + need <= offset:
                    break
                at = max(at, offset + length)
            blocks.append((at, need, last[id(t)]))
            blocks.sort()
            offsets[id(t)] = at
            size = max(size, at + need)
        peak = max(peak, sum(b[1] for b in blocks))
    return offsets, size + SLACK + guard, peak
