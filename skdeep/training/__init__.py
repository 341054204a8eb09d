"""How a network learns: losses, optimizers, learning rates, callbacks."""

from .callbacks import Callback, EarlyStopping, ProgressBar
from .losses import AbsoluteError, Huber, LogLoss, Loss, SquaredError
from .optimizers import LBFGS, SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import (
    CosineDecay,
    ExponentialDecay,
    InverseScaling,
    Schedule,
    StepDecay,
    Warmup,
)

__all__ = [
    "LBFGS",
    "SGD",
    "AbsoluteError",
    "Adam",
    "AdamW",
    "Callback",
    "CosineDecay",
    "EarlyStopping",
    "ExponentialDecay",
    "Huber",
    "InverseScaling",
    "LogLoss",
    "Loss",
    "Optimizer",
    "ProgressBar",
    "RMSprop",
    "Schedule",
    "SquaredError",
    "StepDecay",
    "Warmup",
]
