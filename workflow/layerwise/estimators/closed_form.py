"""Classifiers and regressors fitted in closed form: Platonic projections, and the linear read-out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_X_y
from torch import Tensor, nn

from layerwise.contract import Task
from layerwise.errors import LayerwiseError
from layerwise.estimators._base import documented, parameters
from layerwise.estimators._batches import Batches, BatchSource, Passes
from layerwise.estimators._checks import FLOATS, demand_one_type, demand_scale, one_line, warn_of_offset, weights_of
from layerwise.estimators._predictor import TINY, NetworkClassifier, NetworkRegressor, Predictor
from layerwise.estimators._scaling import scaled
from layerwise.layers import build as layers
from layerwise.layers.settings import PLAIN
from layerwise.maths import linalg
from layerwise.methods import platonic, ridge
from layerwise.options import typed


class _Platonic(Predictor):
    _method = platonic
    # The solver that rounding does not break, and hidden targets in the linear range of tanh for standardised X.
    __init__ = parameters(
        platonic,
        layers=("dense 256", "tanh"),
        alpha=0.1,
        solver="ridge",
        standardise=True,
        image_shape=None,
        device="auto",
        random_state=None,
    )

    def fit_batches(self, batches: Batches) -> Self:
        """Fit the network to samples that come in batches, where memory does not hold them all.

        The fit is that of `fit` on all samples together: each layer is solved from sums over one pass (three for
        sorted PCA, two for differences, and one more for each of several tries). Memory grows with the layers' widths
        and keeps the labels alone. `partial_fit` there is none: a new batch would change the first layer, and with it
        what all earlier batches have added up to in the others.

        Parameters
        ----------
        batches : iterable of (X, y), or function that returns one
            To be gone through several times, each time with the same samples in the same order, such as a list or a
            DataLoader without shuffling: labels that differ from those of the first pass are refused. X may differ, for
            random augmentation is welcome. A sample of any shape is taken as a row; a batch without samples is skipped.
        """
        passes = Passes(batches, self._checked_batch)
        demand_scale(passes.head, self._sums, "X")
        if not self.standardise:
            warn_of_offset(passes.head, type(self).__name__)
        values, task = self._task(passes.y)  # of the classifier or the regressor
        if values.dtype.kind == "f":
            values = values.astype(passes.head.dtype)
        if hasattr(self, "feature_names_in_"):  # of an earlier fit to a data frame
            del self.feature_names_in_
        self.n_features_in_, self._seen_shape, words = passes.head.shape[1], None, self._ended_words()
        head = self._tensor(passes.head)
        scaling = self._scaling(passes.columns, tuple(head.shape[1:]), words)

        def samples(rows: np.ndarray) -> Tensor:
            return self._tensor(rows) if scaling is None else scaled(scaling, self._tensor(rows))

        train = BatchSource(passes, samples, torch.from_numpy(values), samples(passes.head))
        return self._fit_segment(words, train, task, scaling)

    def _checked_batch(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        values = isinstance(self, NetworkRegressor)
        if not values:
            demand_one_type(y)
        with one_line():
            return check_X_y(x, y, dtype=FLOATS, allow_nd=True, multi_output=values, y_numeric=values, estimator=self)


@documented
class PlatonicClassifier(NetworkClassifier, _Platonic):
    """Dense layers fitted in closed form to projections of their inputs and of the classes.

    Parameters
    ----------
    {parameters}

    {attributes}
    classes_ : ndarray of shape (n_classes,)
        The classes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from layerwise.estimators import PlatonicClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> network = PlatonicClassifier(layers=("dense 128", "tanh"), alpha=0.1, random_state=0)
    >>> network.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.85
    True
    """


@documented
class PlatonicRegressor(NetworkRegressor, _Platonic):
    """Dense layers fitted in closed form to projections of their inputs and of the values.

    Parameters
    ----------
    {parameters}

    {attributes}

    Examples
    --------
    >>> import numpy as np
    >>> from layerwise.estimators import PlatonicRegressor
    >>> X = np.linspace(-1, 1, 500)[:, None]
    >>> network = PlatonicRegressor(layers=("dense 16", "celu") * 2, tries=5, random_state=0)
    >>> network.fit(X, np.sin(2 * np.pi * X[:, 0])).score(X, np.sin(2 * np.pi * X[:, 0])) > 0.99
    True
    """


class _Ridge(Predictor):
    _method = ridge
    random_state = 0  # nothing is drawn
    __init__ = parameters(ridge, validation_fraction=0.1, device="auto")
    select: str

    def _validates(self) -> bool:
        return self.select == "valid"

    def _fit_scores(self, x: np.ndarray, y: np.ndarray, task: Task, weight: Any = None) -> Self:
        if weight is None:
            return super()._fit_scores(x, y, task)
        name, counts = type(self).__name__, weights_of(weight, len(x), type(self).__name__)
        samples, words = self._tensor(x), self._ended_words()
        try:
            options = typed(ridge.Options, self._given(), name, "estimator")
            if options.select == "valid":
                raise LayerwiseError(
                    f"{name}: sample_weight goes with select='gcv' alone, which needs no samples held out"
                )
            with PLAIN.applied(), torch.no_grad():
                gram = weighted(samples.flatten(1).double(), task.targets(torch.from_numpy(y), torch.float64), counts)
                found = linalg.ridge(gram, options.strengths or linalg.STRENGTHS, options.floor)
                module, self.layers_ = layers.build(words, tuple(samples.shape[1:]), task.outputs)
                last = module.to(samples.dtype)[-1]
                assert isinstance(last, nn.Linear)
                last.weight.copy_(found.weight)
                last.bias.copy_(found.bias)
            self.module_ = self._finished(module.eval())
        except LayerwiseError as error:
            raise ValueError(str(error)) from None
        record = {key: getattr(found, key) for key in ("strength", "gcv", "error", "lsd")}
        self.record_ = {"layers": [{"layer": self.layers_[-1], **record, "constant_features": found.constant}]}
        return self


def weighted(z: Tensor, y: Tensor, counts: Tensor) -> linalg.Gram:
    """Return the sums of features ``(N, d)`` and targets ``(N, k)``, each sample as often as its count says.

    They are about the mean, of which nothing is left to sum.
    """
    rows = torch.cat([z, y], dim=1)
    middle, there = counts @ rows / counts.sum(), rows[counts > 0]
    moved = counts.sqrt()[:, None] * (rows - middle)
    gram = linalg.Gram(z.shape[1], y.shape[1], about=middle)
    gram.second, gram.n = moved.T @ moved, float(counts.sum())  # type: ignore[assignment]  # a number of samples
    gram.low, gram.high = there.amin(0), there.amax(0)
    return gram


@documented
class RidgeReadoutClassifier(NetworkClassifier, _Ridge):
    """The linear read-out: ridge regression on the targets, its strength by generalised cross-validation.

    Parameters
    ----------
    {parameters}
    validation_fraction : float, default=0.1
        Share of the training samples held out to choose the strength; not used with ``select="gcv"``.

    {attributes}
    classes_ : ndarray of shape (n_classes,)
        The classes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from layerwise.estimators import RidgeReadoutClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X[:, X[:1000].std(axis=0) > 0]
    >>> RidgeReadoutClassifier().fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > 0.85
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the read-out to samples of classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images of three or four dimensions
            Samples, one a row.
        y : array-like of shape (n_samples,)
            Their classes, of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each sample counts; None for once.
        """
        return self._fit(X, y, weight=sample_weight)

    def _fit_scores(self, x: np.ndarray, y: np.ndarray, task: Task, weight: Any = None) -> Self:
        super()._fit_scores(x, y, task, weight=weight)
        if (gcv := self.record_["layers"][-1].get("gcv")) is not None:  # the error at samples left out, of all columns
            self._variance = max(gcv / max(task.outputs - 1, 1), TINY)
        return self


@documented
class RidgeReadoutRegressor(NetworkRegressor, _Ridge):
    """The linear read-out: ridge regression, its strength by generalised cross-validation.

    Parameters
    ----------
    {parameters}
    validation_fraction : float, default=0.1
        Share of the training samples held out to choose the strength; not used with ``select="gcv"``.

    {attributes}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from layerwise.estimators import RidgeReadoutRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> RidgeReadoutRegressor().fit(X, y).score(X, y) > 0.5
    True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the read-out to samples of values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images of three or four dimensions
            Samples, one a row.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their values.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each sample counts; None for once.
        """
        return self._fit(X, y, weight=sample_weight)
