"""Classifiers and regressors whose layers are trained one by one."""

from __future__ import annotations

from typing import Any

from layerwise.estimators._base import documented, parameters
from layerwise.estimators._predictor import NetworkClassifier, NetworkRegressor, Predictor
from layerwise.methods import dgl


class _DeepGaussian(Predictor):
    _method = dgl
    _sums = None
    __init__ = parameters(
        dgl, layers=("dense 64", "relu"), standardise=True, validation_fraction=0.1, device="auto", random_state=None
    )
    patience: int
    lr: Any
    weight_decay: Any

    def _validates(self) -> bool:
        return bool(self.patience) or any(isinstance(each, (tuple, list)) for each in (self.lr, self.weight_decay))


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

    # Measured values are noisy: with the authors' rate and share of noise, layers learn the noise of a few hundred.
    __init__ = parameters(
        dgl,
        layers=("dense 64", "relu"),
        noise=0.1,
        lr=0.003,
        standardise=True,
        validation_fraction=0.1,
        device="auto",
        random_state=None,
    )
