"""Declarative building blocks of a network."""

from .activation import Activation
from .attention import MultiHeadAttention, SelectToken, TokenEmbedding, TokenMap
from .base import Layer
from .combinators import Parallel, Residual, Sequential
from .conv import Conv2D, SqueezeExcite
from .dense import Dense
from .initializers import Constant, Glorot, He, Initializer, LeCun, Orthogonal
from .normalization import BatchNorm, LayerNorm, LayerScale, LocalResponseNorm
from .pool import AveragePool2D, GlobalAveragePool2D, GlobalMaxPool2D, MaxPool2D
from .random import Dropout
from .shape import ChannelShuffle, Flatten, Reshape

__all__ = [
    "Activation",
    "AveragePool2D",
    "BatchNorm",
    "ChannelShuffle",
    "Constant",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "Glorot",
    "GlobalAveragePool2D",
    "GlobalMaxPool2D",
    "He",
    "Initializer",
    "Layer",
    "LayerNorm",
    "LocalResponseNorm",
    "LayerScale",
    "LeCun",
    "MaxPool2D",
    "MultiHeadAttention",
    "Orthogonal",
    "Parallel",
    "Reshape",
    "Residual",
    "SelectToken",
    "Sequential",
    "SqueezeExcite",
    "TokenEmbedding",
    "TokenMap",
]
