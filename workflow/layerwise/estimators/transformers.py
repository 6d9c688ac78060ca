"""Transformers: segments whose filters are found in closed form, without gradients."""

from __future__ import annotations

from math import prod
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from layerwise.contract import Split, Task
from layerwise.estimators._base import Network, documented, parameters
from layerwise.estimators._checks import classes_of, demand_one_type
from layerwise.layers import build as layer_tools
from layerwise.methods import dmn, pca, random


class SegmentTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Network):
    """A transformer from ``(N, d)`` to the flattened outputs of the segment, ``(N, prod(output_shape_))``."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the layers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, one a row.
        y : ignored
            There for the sake of pipelines.
        """
        x = self._validated(X)
        return self._fit_features(x, np.zeros(len(x), dtype=np.int64), Task("onehot", 1, ("all",)))

    def transform(self, X: Any) -> np.ndarray:
        """Return what the fitted layers make of the rows of X.

        Returns
        -------
        ndarray of shape (n_samples, prod(output_shape_))
        """
        return self._apply(X).flatten(1).numpy()

    def _fit_features(self, x: np.ndarray, y: np.ndarray, task: Task) -> Self:
        words = self._words()
        for word in words:
            if "outputs" in word.split():
                raise ValueError(
                    f"layer {word!r}: a transformer gives features; leave scores to a classifier behind it"
                )
        self._fit_segment(words, Split(self._tensor(x), torch.from_numpy(y)), task)
        self.output_shape_ = tuple(layer_tools.apply(self.module_, self._tensor(x[:1])).shape[1:])
        return self

    @property
    def _n_features_out(self) -> int:
        return prod(self.output_shape_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


@documented
class DensityMatrixTransformer(SegmentTransformer):
    """Filters that are the principal components of each class, layer by layer (density matrix networks).

    Parameters
    ----------
    {parameters}

    {attributes}
    output_shape_ : tuple of int
        Shape of one transformed sample, which `transform` flattens: the next estimator's `image_shape`.
    classes_ : ndarray of shape (n_classes,)
        The classes.

    See Also
    --------
    PCATransformer : the same with all samples as one class.

    Notes
    -----
    A layer word without a width, such as ``dense`` or ``conv 3``, gets as many filters as `variance` and
    `correlation` leave.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from layerwise.estimators import DensityMatrixTransformer
    >>> X, y = load_digits(return_X_y=True)
    >>> transformer = DensityMatrixTransformer(layers=("conv 3", "relu"), image_shape=(1, 8, 8), count=6)
    >>> transformer.fit_transform(X, y).shape
    (1797, 216)
    >>> transformer.layers_, transformer.output_shape_
    (('conv 3 6', 'relu'), (6, 6, 6))
    """

    _method = dmn
    __init__ = parameters(dmn, layers=("dense", "relu"), image_shape=None, device="auto", random_state=None)

    def fit(self, X: Any, y: Any) -> Self:  # type: ignore[override]
        """Fit the layers to samples of classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, one a row.
        y : array-like of shape (n_samples,)
            Their classes.
        """
        demand_one_type(y)
        x, y = self._validated(X, y)
        self.classes_, labels = classes_of(y)
        task = Task("onehot", len(self.classes_), tuple(map(str, self.classes_)))
        return self._fit_features(x, labels.astype(np.int64), task)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


@documented
class PCATransformer(SegmentTransformer):
    """Filters that are the principal components of all samples, layer by layer: class-blind, unlike density matrices.

    Parameters
    ----------
    {parameters}

    {attributes}
    output_shape_ : tuple of int
        Shape of one transformed sample, which `transform` flattens: the next estimator's `image_shape`.

    See Also
    --------
    DensityMatrixTransformer : the components of each class.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from layerwise.estimators import PCATransformer
    >>> X, _ = load_digits(return_X_y=True)
    >>> PCATransformer(layers=("dense 20", "relu")).fit_transform(X).shape
    (1797, 20)
    """

    _method = pca
    __init__ = parameters(pca, layers=("dense", "relu"), image_shape=None, device="auto", random_state=None)


@documented
class RandomFeaturesTransformer(SegmentTransformer):
    """Frozen random filters: with a ridge read-out behind, the extreme learning machine.

    Parameters
    ----------
    {parameters}

    {attributes}
    output_shape_ : tuple of int
        Shape of one transformed sample, which `transform` flattens: the next estimator's `image_shape`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from layerwise.estimators import RandomFeaturesTransformer, RidgeReadoutClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> machine = make_pipeline(RandomFeaturesTransformer(random_state=0), RidgeReadoutClassifier())
    >>> machine.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.9
    True
    """

    _method = random
    __init__ = parameters(random, layers=("dense 256", "relu"), image_shape=None, device="auto", random_state=None)
