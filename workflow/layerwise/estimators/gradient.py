"""Classifiers and regressors trained end to end by gradient descent."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from layerwise.contract import Task
from layerwise.estimators._base import documented, parameters
from layerwise.estimators._predictor import GradientClassifier, NetworkRegressor, Predictor
from layerwise.methods import sgd

DEFAULTS: dict[str, Any] = {
    "layers": ("dense 64", "relu"),
    "optimizer": "adam",
    "epochs": 100,
    "batch": 32,
    "standardise": True,
    "validation_fraction": 0.1,
    "image_shape": None,
    "device": "auto",
    "random_state": None,
}
OF_CLASSES = ("target_low", "target_high", "alpha", "beta", "label_smoothing")  # options of losses that are for classes


class _SGDNetwork(Predictor):
    _method = sgd
    _sums = None
    _in_steps = True
    __init__ = parameters(sgd, **DEFAULTS)
    patience: int

    def _fit_scores(self, x: np.ndarray, y: np.ndarray, task: Task) -> Self:
        super()._fit_scores(x, y, task)
        self.n_iter_ = self.record_["epochs"]
        return self

    def _validates(self) -> bool:
        return bool(self.patience)


@documented
class SGDNetworkClassifier(GradientClassifier, _SGDNetwork):
    """A network trained end to end by gradient descent, on cross-entropy.

    Parameters
    ----------
    {parameters}
    validation_fraction : float, default=0.1
        Share of the samples held out for `patience`, classes in proportion. Without `patience` none are.

    {attributes}
    classes_ : ndarray of shape (n_classes,)
        The classes.
    n_iter_ : int
        Epochs run.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from layerwise.estimators import SGDNetworkClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> network = SGDNetworkClassifier(layers=("dense 64", "relu"), epochs=10, random_state=0)
    >>> network.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.85
    True
    """


@documented
class SGDNetworkRegressor(NetworkRegressor, _SGDNetwork):
    """A network trained end to end by gradient descent, on squared errors.

    Parameters
    ----------
    {parameters}
    validation_fraction : float, default=0.1
        Share of the samples held out for `patience`. Without `patience` none are.

    {attributes}
    n_iter_ : int
        Epochs run.

    Examples
    --------
    >>> import numpy as np
    >>> from layerwise.estimators import SGDNetworkRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> network = SGDNetworkRegressor(layers=("dense 32", "tanh"), lr=0.01, random_state=0)
    >>> network.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.95
    True
    """

    __init__ = parameters(sgd, OF_CLASSES, **DEFAULTS)
