"""A classifier whose blocks are trained one after the other, each towards a decision of its own."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np

from layerwise.contract import Task
from layerwise.estimators._base import documented, parameters
from layerwise.estimators._predictor import GradientClassifier
from layerwise.methods import local


@documented
class LocalNetworkClassifier(GradientClassifier):
    """A network trained by gradient descent one window of blocks at a time, cropped at its best block if `crop` is set.

    A step holds the window and a small decision block on it, and never the whole network. For torch modules and data
    loaders there is `layerwise.local.train`.

    Parameters
    ----------
    {parameters}
    validation_fraction : float, default=0.1
        Share of the samples held out for `crop`, classes in proportion. Without `crop` none are.

    {attributes}
    classes_ : ndarray of shape (n_classes,)
        The classes.
    blocks_ : list of dict
        A row a window: its blocks, decision block, parameters and epochs, bytes and share of memory, and validation.
    history_ : list of dict
        A row an epoch, with its window, learning rate and loss.
    n_iter_ : int
        Epochs run, of all windows together.

    Notes
    -----
    ``epochs`` may be one number; with a `memory` target the decision blocks are searched for, whatever `decision` says.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from layerwise.estimators import LocalNetworkClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> words = ("conv 3 8", "relu", "maxpool 2", "conv 3 16", "relu")
    >>> network = LocalNetworkClassifier(layers=words, image_shape=(1, 8, 8), epochs=10, lr=0.01)
    >>> network.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.85
    True
    """

    _method = local
    _sums = None
    _in_steps = True
    __init__ = parameters(
        local,
        layers=("dense 64", "relu", "dense 64", "relu"),
        optimizer="adam",
        epochs=(50,),
        batch=32,
        crop=False,
        standardise=True,
        validation_fraction=0.1,
        image_shape=None,
        device="auto",
        random_state=None,
    )
    crop: bool

    def _given(self) -> dict[str, Any]:
        given = super()._given()
        if isinstance(given["epochs"], Integral):
            given["epochs"] = (given["epochs"],)
        return given if given["memory"] is None else {**given, "decision": ()}

    def _fit_scores(self, x: np.ndarray, y: np.ndarray, task: Task) -> Self:
        super()._fit_scores(x, y, task)
        self.blocks_, self.history_ = self.record_["blocks"], self.record_["history"]
        self.n_iter_ = self.record_["epochs"]
        return self

    def _validates(self) -> bool:
        return bool(self.crop)
