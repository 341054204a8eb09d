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
