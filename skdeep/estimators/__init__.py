"""Neural networks as scikit-learn estimators."""

from .classifier import NeuralNetClassifier
from .mlp import MLPClassifier, MLPRegressor
from .regressor import NeuralNetRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NeuralNetClassifier", "NeuralNetRegressor"]
