"""Classifiers and regressors whose layers are trained one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerwise.estimators._base import documented
from layerwise.estimators._predictor import NetworkClassifier, NetworkRegressor, Predictor
from layerwise.methods import dgl


class _DeepGaussian(Predictor):
    _method = dgl

    def __init__(
        self,
        *,
        layers: Sequence[str] = ("dense 64", "relu"),
        kernel: str = "nngp",
        objective: str = "mse",
        variances: str = "evidence",
        noise: str | float = 1e-3,
        init: str = "xavier",
        bias: float = 0.5,
        lr: float | tuple[float, ...] = 0.01,
        weight_decay: float | tuple[float, ...] = 0.0,
        epochs: int = 50,
        batch: int = 500,
        landmarks: int = 0,
        patience: int = 0,
        centre: bool = True,
        above: int = 0,
        width: float = 0.5,
        beta: float = 100.0,
        validation_fraction: float = 0.1,
        device: str = "auto",
        random_state: Any = None,
    ) -> None:
        self.layers = layers
        self.kernel = kernel
        self.objective = objective
        self.variances = variances
        self.noise = noise
        self.init = init
        self.bias = bias
        self.lr = lr
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch = batch
        self.landmarks = landmarks
        self.patience = patience
        self.centre = centre
        self.above = above
        self.width = width
        self.beta = beta
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state

    def _validates(self) -> bool:
        return bool(self.patience) or isinstance(self.lr, tuple) or isinstance(self.weight_decay, tuple)


@documented
class DGLClassifier(NetworkClassifier, _DeepGaussian):
    """Dense layers trained one by one on what a Gaussian process above them would predict, and a ridge read-out.

    Parameters
    ----------
    {parameters}
    validation_fraction : float, default=0.1
        Share of the samples held out for `patience`, classes in proportion. Without `patience` none are.

    {attributes}
    classes_ : ndarray of shape (n_classes,)
        The classes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from layerwise.estimators import DGLClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> network = DGLClassifier(layers=("dense 64", "relu"), epochs=10, random_state=0)
    >>> network.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.9
    True
    """


@documented
class DGLRegressor(NetworkRegressor, _DeepGaussian):
    """Dense layers trained one by one on what a Gaussian process above them would predict, and a ridge read-out.

    Parameters
    ----------
    {parameters}
    validation_fraction : float, default=0.1
        Share of the samples held out for `patience`. Without `patience` none are.

    {attributes}

    Examples
    --------
    >>> import numpy as np
    >>> from layerwise.estimators import DGLRegressor
    >>> X = np.linspace(-1, 1, 300)[:, None]
    >>> network = DGLRegressor(layers=("dense 32", "relu"), random_state=0)
    >>> network.fit(X, np.sin(6 * X[:, 0])).score(X, np.sin(6 * X[:, 0])) > 0.95
    True
    """
