"""Where tensors live: offsets in one arena, shared by those that are not alive together."""

ALIGN = 16  # words: 64 bytes
SLACK = 16  # words readable past the end of a tensor


def storage(order):
    """Which tensors are part of another's memory.

    Parameters
    ----------
    order : list of Op

    Returns
    -------
    callable
        Gives (root, offset) for a tensor: the tensor that owns the memory, and where in it, in
        words.
    """
    parents = {}
    for op in order:
        for inner, outer, offset in op.shares():
            while id(inner) in parents:  # a view of all of another tensor: that one moves
                other, at = parents[id(inner)]
                if at or other.words != inner.words or other.op is None:
                    raise ValueError(f"{inner} cannot be part of {outer}: it is part of {other}")
                inner = other
            parents[id(inner)] = outer, offset

    def root(t):
        offset = 0
        while id(t) in parents:
            t, at = parents[id(t)]
            offset += at
        return t, offset

    return root


def plan_arena(order, outputs, root, pinned, guard=0):
    """Offsets by liveness.

    A tensor is alive from the operation that first writes to its memory to the last that reads it
    or a part of it; ``outputs`` stay alive to the end. Two plans are made, and the smaller is
    taken: the tensors in the order of execution, and the largest first; each goes to the lowest
    place that is free as long as it lives.

    Parameters
    ----------
    order : list of Op
        Operations in the order of execution.
    outputs : list of Tensor
    root : callable
        From :func:`storage`.
    pinned : dict
        Tensors that live elsewhere.
    guard : int
        When positive, nothing is shared and this many words stay free after each tensor.

    Returns
    -------
    offsets : dict of id(tensor) to int
        Of the roots, in words.
    size : int
        Words the arena needs.
    peak : int
        Words alive at once at the worst operation: a lower bound for any plan.
    """
    spans = {}  # id of a root -> [root, first operation, last operation]
    for k, op in enumerate(order):
        for t in op.outputs:
            owner, _ = root(t)
            if owner.op is not None and owner not in pinned:
                spans.setdefault(id(owner), [owner, k, k])[2] = k
        for t in op.inputs:
            if t is not None and id(root(t)[0]) in spans:
                spans[id(root(t)[0])][2] = k
    for t in outputs:
        if id(root(t)[0]) in spans:
            spans[id(root(t)[0])][2] = len(order)

    blocks = [
        (first, last, -(-(owner.words + guard) // ALIGN) * ALIGN, key)
        for key, (owner, first, last) in spans.items()
    ]
    changes = [0] * (len(order) + 2)
    for first, last, need, _ in blocks:
        changes[first] += need
        changes[last + 1] -= need
    peak = alive = 0
    for change in changes:
        alive += change
        peak = max(peak, alive)
    if guard:
        offsets, size = {}, 0
        for _, _, need, key in blocks:
            offsets[key] = size
            size += need
        return offsets, size + SLACK + guard, peak
    by_time = sorted(blocks, key=lambda b: (b[0], -b[2]))
    by_size = sorted(blocks, key=lambda b: (-b[2], b[0]))
    offsets, size = min((_place(by_time), _place(by_size)), key=lambda plan: plan[1])
    return offsets, size + SLACK, peak


def _place(blocks):
    """Offsets of (first, last, size, key) blocks in the order given, and the size of it all."""
    placed, offsets, size = [], {}, 0
    for first, last, need, key in blocks:
        at = 0
        for begin, end, born, died in placed:  # by offset
            if first <= died and born <= last:
                if at + need <= begin:
                    break
                at = max(at, end)
        placed.append((at, at + need, first, last))
        placed.sort()
        offsets[key] = at
        size = max(size, at + need)
    return offsets, size
