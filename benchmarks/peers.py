"""The peers' side: networks and loops in PyTorch and skorch, as a careful user writes them."""

OPTIMIZERS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}


def set_threads(threads):
    """Tell PyTorch how many threads to use, and return the module."""
    import torch

    torch.set_num_threads(threads)
    return torch


def torch_mlp(sizes):
    """A stack of Linear and ReLU; ``sizes`` runs from inputs to outputs."""
    from torch import nn

    parts = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:]):
        parts += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def torch_lenet(filters, units, n_classes=10):
    """LeNet on 28 x 28 x 1 images: two 5 x 5 convolutions, each with ReLU and 2 x 2 max pooling."""
    from torch import nn

    parts, channels = [], 1
    for f in filters:
        parts += [nn.Conv2d(channels, f, 5), nn.ReLU(), nn.MaxPool2d(2)]
        channels = f
    parts.append(nn.Flatten())
    sizes = [channels * 4 * 4, *units, n_classes]
    return nn.Sequential(*parts, *torch_mlp(sizes))


def torch_loop(network, X, y, batch_size, epochs, *, optimizer="fused", weight_decay=0.0):
    """A bare training loop: shuffle, gather a batch, log loss, backward, Adam.

    No DataLoader, no metrics: what PyTorch costs when nothing is in its way. ``X`` and ``y`` are
    tensors.
    """
    import torch

    loss_of = torch.nn.functional.cross_entropy
    adam = torch.optim.Adam(
        network.parameters(), lr=1e-3, weight_decay=weight_decay, **OPTIMIZERS[optimizer]
    )
    total = 0.0
    for _ in range(epochs):
        order = torch.randperm(len(X))
        for start in range(0, len(X), batch_size):
            index = order[start : start + batch_size]
            adam.zero_grad(set_to_none=True)
            loss = loss_of(network(X[index]), y[index])
            loss.backward()
            adam.step()
            total += loss.detach()
    return float(total)


def skorch_mlp(sizes, *, batch_size, epochs, alpha=1e-4, lr=1e-3, lean=False):
    """skorch's NeuralNetClassifier on :func:`torch_mlp`, silent and without a validation split.

    The weight decay does what scikit-learn's ``alpha`` does. With ``lean`` also what few users
    write: no callbacks at all (so no history of the loss) and the fused Adam.
    """
    import torch
    from skorch import NeuralNetClassifier

    extra = {"callbacks": "disable", "optimizer__fused": True} if lean else {}

    return NeuralNetClassifier(
        torch_mlp,
        module__sizes=list(sizes),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        optimizer__weight_decay=alpha / batch_size,
        lr=lr,
        batch_size=batch_size,
        max_epochs=epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        **extra,
    )


def torch_network(parts, shape, n_classes=10):
    """The PyTorch twin of a literal description, see ``training.py``; parameters in our order."""
    import torch
    from torch import nn

    def norm(f):
        return nn.BatchNorm2d(f)

    def plain(c, f, k=3, stride=1):
        return nn.Conv2d(c, f, k, stride, k // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, c, f, stride):
            super().__init__()
            self.branch = nn.Sequential(
                plain(c, f, 3, stride), norm(f), nn.ReLU(inplace=True), plain(f, f), norm(f)
            )
            changed = stride > 1 or c != f
            self.shortcut = nn.Sequential(plain(c, f, 1, stride), norm(f)) if changed else None

        def forward(self, x):
            s = x if self.shortcut is None else self.shortcut(x)
            return torch.relu_(self.branch(x) + s)

    found, channels, size = [], shape[2], shape[0]
    for kind, *sizes in parts:
        if kind == "conv":
            f, k = sizes
            found += [nn.Conv2d(channels, f, k), nn.ReLU(inplace=True)]
            channels, size = f, size - k + 1
        elif kind == "conv_bn":
            found += [plain(channels, sizes[0]), norm(sizes[0]), nn.ReLU(inplace=True)]
            channels = sizes[0]
        elif kind == "block":
            found.append(Block(channels, *sizes))
            channels, size = sizes[0], size // sizes[1]
        elif kind == "pool":
            found.append(nn.MaxPool2d(2))
            size //= 2
        elif kind == "mean":
            found += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            size = 0
        else:
            if size > 0:
                found.append(nn.Flatten())
                channels, size = channels * size**2, 0
            found += [nn.Linear(channels, sizes[0]), nn.ReLU(inplace=True)]
            channels = sizes[0]
    return nn.Sequential(*found, nn.Linear(channels, n_classes))


def copy_weights(network, weights):
    """Give a PyTorch network skdeep's trainable weights, in the order of declaration."""
    import torch

    channels = None  # of the images before a dense layer
    with torch.no_grad():
        for target, source in zip(network.parameters(), weights, strict=True):
            if source.ndim == 4:
                source, channels = source.transpose(3, 2, 0, 1), source.shape[3]
            elif source.ndim == 2 and len(source) != channels:
                rows = source.reshape(-1, channels, source.shape[1])  # pixels, channels, units
                source, channels = rows.transpose(2, 1, 0).reshape(target.shape), len(target)
            elif source.ndim == 2:
                source, channels = source.T, len(target)
            target.copy_(torch.from_numpy(source.copy()))


def torch_stepper(network, batches, labels, optimizer):
    """``steps(n)`` trains on the next n of the given batches in turn, and returns their losses."""
    import torch

    rules = {
        "adam": lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
        "sgd": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, fused=True),
    }
    rule = rules[optimizer](network.parameters())
    done = 0

    def steps(n):
        nonlocal done
        losses = torch.empty(n)
        for k in range(n):
            at = (done + k) % len(batches)
            rule.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(network(batches[at]), labels[at])
            loss.backward()
            rule.step()
            losses[k] = loss.detach()
        done += n
        return losses.numpy()

    return steps


def skdeep_norm(x, gamma, beta, dy, threads):
    """``run()`` gives (y,) of relu(batch_norm(x)), or (dx, dgamma, dbeta) for a given ``dy``.

    ``run(times)`` computes it again and again, as steps of a training do: on threads that live as
    long as the call.
    """
    import numpy as np

    from skdeep import graph, ops
    from skdeep.graph.differentiate import gradients
    from skdeep.graph.passes import optimize
    from skdeep.kernels.cpu import CPU

    arrays = {"x": x, "gamma": gamma, "beta": beta, "dy": x if dy is None else dy}
    leaves = {k: graph.Tensor(a.shape, role=k) for k, a in arrays.items()}
    y, *_ = ops.batch_norm_train(leaves["x"], leaves["gamma"], leaves["beta"], eps=1e-5)
    (y,) = optimize([ops.relu(y)], training=True)
    outputs = [y]
    if dy is not None:
        found = gradients(y, [leaves[k] for k in ("x", "gamma", "beta")], seed=leaves["dy"])
        outputs += found
    pinned = {t: (f"out{k}", 0) for k, t in enumerate(outputs)}
    program = graph.program.compile_program(outputs, pinned)
    device = CPU()
    memories = {k: device.zeros(a.size) for k, a in arrays.items()}
    for k, a in arrays.items():
        device.write(memories[k], a.ravel())
    memories |= {f"out{k}": device.zeros(t.size) for k, t in enumerate(outputs)}
    memories |= {"arena": device.zeros(program.arena_size), "constants": program.constants}
    names = program.memories[1:]
    table = program.bind(device, {k: device.address(memories[k]) for k in names})
    if dy is not None:  # the forward pass once, then only what comes after it
        device.run(table, threads)
        last = max(r for r, k in enumerate(program.kernels) if not _is_backward(k))
        table = np.ascontiguousarray(table[last + 1 :])
    wanted = range(1, 4) if dy is not None else range(1)
    registers, loss = np.zeros(16, np.int32), np.zeros(1, np.float32)

    def run(times=1):
        nothing = np.zeros((times, 0), np.int32)
        losses = np.zeros(times)
        device.run_steps(table, registers, nothing, nothing[0], nothing, loss, losses, threads)
        return [memories[f"out{k}"].reshape(outputs[k].shape) for k in wanted]

    return run


def _is_backward(kernel):
    return "grad" in kernel


def torch_norm(x, gamma, beta, dy, threads, channels_last):
    """As :func:`skdeep_norm`."""
    torch = set_threads(threads)
    format_ = torch.channels_last if channels_last else torch.contiguous_format

    def image(array):
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=format_)

    tensors = [image(x), torch.from_numpy(gamma.copy()), torch.from_numpy(beta.copy())]
    mean, var = torch.zeros(len(gamma)), torch.ones(len(gamma))

    def forward():
        y = torch.nn.functional.batch_norm(tensors[0], mean, var, *tensors[1:], training=True)
        return torch.relu_(y)

    def last_axis(t):
        return t.permute(0, 2, 3, 1).numpy() if t.ndim == 4 else t.numpy()

    if dy is None:

        def run(times=1):
            with torch.no_grad():
                for _ in range(times):
                    y = forward()
            return [last_axis(y)]

        return run
    for t in tensors:
        t.requires_grad_()
    y, dy = forward(), image(dy)

    def gradients(times=1):
        for _ in range(times):
            found = torch.autograd.grad(y, tensors, dy, retain_graph=True)
        return [last_axis(t) for t in found]

    return gradients
