"""What classifiers and regressors share: a segment that ends in ``dense outputs``, classes and values of any shape."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.linear_model import RidgeCV
from sklearn.utils.metaestimators import available_if
from torch import Tensor, nn

from layerwise.contract import Split, Task
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.estimators._base import Network
from layerwise.estimators._checks import (
    DIGITS,
    as_array,
    classes_of,
    demand_one_type,
    demand_scale,
    one_line,
)
from layerwise.estimators._scaling import Columns, scaled
from layerwise.layers import build as layer_tools
from layerwise.layers.words import Blocks, parse

LOGARITHMS = ("auto", "cross_entropy", "exp_ga")  # losses under which scores are logarithms of probabilities
STRENGTHS, TINY = np.logspace(-8, 2, 21), 1e-12
FAR = 100  # times as far from the mean as any target: predictions that no fit means


class Predictor(Network):
    """A segment whose last layer gives one score a target."""

    _ending = " The last one, ``dense outputs``, may be left out."

    def _fit_scores(self, x: np.ndarray, y: np.ndarray, task: Task) -> Self:
        words, samples = self._ended_words(), self._tensor(x)
        scaling = self._scaling(Columns().add(x), tuple(samples.shape[1:]), words) if self.standardise else None
        samples = samples if scaling is None else scaled(scaling, samples)
        return self._fit_segment(words, Split(samples, torch.from_numpy(y)), task, scaling)

    def _scaling(self, columns: Columns, shape: tuple[int, ...], words: tuple[str, ...]) -> nn.Module | None:
        """Return the layer that standardises samples of the shape; None for blocks of a model, and where not asked."""
        of_model = any(isinstance(parse(word), Blocks) for word in words)
        return columns.standardising(shape) if self.standardise and not of_model else None

    def _ended_words(self) -> tuple[str, ...]:
        words = self._words()
        try:
            for word in words:
                parse(word)
            return words if layer_tools.ends_in_scores(words) else (*words, "dense outputs")
        except LayerwiseError as error:
            raise ValueError(str(error)) from None


class NetworkClassifier(ClassifierMixin, Predictor):
    """A classifier: two classes are the signs of one score, more have a score each."""

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the network to samples of classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images of three or four dimensions
            Samples, one a row.
        y : array-like of shape (n_samples,)
            Their classes, of any type.
        """
        return self._fit(X, y)

    def _fit(self, X: Any, y: Any, **more: Any) -> Self:
        demand_one_type(y)
        x, y = self._validated(X, y)
        labels, task = self._task(y)
        return self._fit_scores(x, labels, task, **more)

    def _task(self, y: np.ndarray) -> tuple[np.ndarray, Task]:
        """Return the numbers of the classes ``(N,)``, and the task that they pose."""
        self.classes_, labels = classes_of(y)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"{type(self).__name__} needs samples of two classes or more; y holds one class")
        names = tuple(map(str, self.classes_))
        return labels.astype(np.int64), Task("signs", 1, names) if count == 2 else Task("onehot", count, names)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores of the rows of X.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes, positive stands for ``classes_[1]``.
        """
        scores = self._apply(X).numpy()
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row of X, of shape (n_samples,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes for the rows of X, ``(n_samples, n_classes)``.

        Scores of least squares lie about the targets of their class, 1 and 0 or +1 and -1, and are taken for normal
        there: class k has a probability in proportion to ``exp(-|target_k - scores|^2 / (2 v))``. The variance v is
        that of a linear read-out of what the last layer takes in, on training samples that are left out one by one.
        Where layers below were trained until they know their samples by heart, v is too small and probabilities too
        sure: ``CalibratedClassifierCV`` of scikit-learn then costs more fits.
        """
        return self._probabilities(self._apply(X).double() / self._variance)

    def _probabilities(self, scores: Tensor) -> np.ndarray:
        if len(self.classes_) == 2:
            scores = torch.cat([-scores, scores], dim=1)
        return scores.softmax(dim=1).numpy()

    def _look_back(self, module: nn.Sequential, x: Tensor, y: Tensor, task: Task) -> None:
        super()._look_back(module, x, y, task)
        if isinstance(module[-1], nn.Linear) and len(y) > 1:
            z = layer_tools.apply(module[:-1], x).flatten(1).double() if len(module) > 1 else x.flatten(1).double()
            z = (z - z.mean(0)) / z.std(0).clamp(min=1e-12)
            readout = RidgeCV(len(z) * STRENGTHS).fit(z.numpy(), task.targets(y, torch.float64).numpy())
            # Errors of k classes add up to zero: they vary in k - 1 directions.
            self._variance = max(-readout.best_score_ * task.outputs / max(task.outputs - 1, 1), TINY)


def _has_probabilities(estimator: Any) -> bool:
    return estimator.loss in (*LOGARITHMS, "mse")


class GradientClassifier(NetworkClassifier):
    """A classifier whose scores are the logarithms of probabilities, up to a constant, unless its loss is ``mse``."""

    loss: str

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes for the rows of X, ``(n_samples, n_classes)``.

        They are the softmax of the scores with the losses auto, cross_entropy and exp_ga, and with mse those of normal
        scores about their targets, as `PlatonicClassifier` has them. With other losses there are none.
        """
        if self.loss == "mse":
            return super().predict_proba(X)
        scores = self._apply(X)  # the logistic function of a score is the softmax of its halves
        return self._probabilities(scores / 2 if len(self.classes_) == 2 else scores)

    def _look_back(self, module: nn.Sequential, x: Tensor, y: Tensor, task: Task) -> None:
        if self.loss == "mse":
            super()._look_back(module, x, y, task)
        else:
            Predictor._look_back(self, module, x, y, task)


class NetworkRegressor(RegressorMixin, Predictor):
    """A regressor of one or several targets."""

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the network to values, which are brought to zero mean and unit spread on the way.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images of three or four dimensions
            Samples, one a row.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their values.
        """
        return self._fit(X, y)

    def _fit(self, X: Any, y: Any, **more: Any) -> Self:
        if np.asarray(as_array(y)).dtype.kind in "mM":
            raise ValueError("y holds dates: give numbers, such as days since a first one")
        x, y = self._validated(X, y, multi_output=True, y_numeric=True)
        values, task = self._task(y)
        return self._fit_scores(x, values.astype(x.dtype), task, **more)

    def _task(self, y: np.ndarray) -> tuple[np.ndarray, Task]:
        """Return the values ``(N, outputs)`` less their mean, in units of their spread, and the task that they pose.

        Methods draw weights and choose strengths for targets of about one. `_finished` takes the scale back.
        """
        self._one_dimensional = y.ndim == 1
        with one_line():
            y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        demand_scale(y, np.float64, "y")
        constant = np.ptp(y, axis=0) == 0
        self._mean = np.where(constant, y[0], y.mean(axis=0))
        self._spread = np.where(constant, 1.0, y.std(axis=0))
        scaled = (y - self._mean) / self._spread
        self._reach = float(np.abs(scaled).max())
        return scaled, Task("values", y.shape[1])

    def _finished(self, module: nn.Sequential) -> nn.Sequential:
        """Let the last layer give values in the units of `y`, its new weights computed in float64.

        They stay float64, and with them the module, where float32 has too few digits for values so far from zero.
        """
        if (np.abs(self._mean) * DIGITS > self._spread).any():
            module = module.double()
        last, mean, spread = module[-1], torch.from_numpy(self._mean), torch.from_numpy(self._spread)
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.copy_(last.weight.double() * spread[:, None])
            last.bias.copy_(last.bias.double() * spread + mean)
        return module

    def _look_between(self, outputs: torch.Tensor) -> None:
        self._warn_beyond(
            outputs.double().numpy(),
            "at training samples, or half way between two,",
            "scale X, use solver ridge or a larger strength, or fewer units",
        )

    def _warn_beyond(self, values: np.ndarray, where: str, what: str) -> None:
        """Warn of predictions that leave the range of the targets by orders of magnitude."""
        beyond = float(np.abs((values - self._mean) / self._spread).max()) / max(self._reach, 1.0)
        if beyond > FAR:
            text = (
                f"{type(self).__name__}: {where} predictions are {beyond:.0e} times as far from the mean of y as any "
                f"y: do not trust them; {what}"
            )
            warnings.warn(LayerwiseWarning(text), stacklevel=4)

    def predict(self, X: Any) -> np.ndarray:
        """Return the values of the rows of X, of the shape of `y` in `fit`."""
        values = self._apply(X).numpy()
        self._warn_beyond(values, "for this X", "it may lie far from the X of fit, or the fit runs away beside it")
        return values[:, 0] if self._one_dimensional else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
