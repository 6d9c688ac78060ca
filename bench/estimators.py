"""Every estimator with its defaults on data sets of scikit-learn, beside scikit-learn's own: docs/estimators.md.

``PYTHONPATH=workflow OMP_NUM_THREADS=1 python bench/estimators.py`` prints two tables in Markdown: R2 on the test split
for values, accuracy in % for classes, mean over three splits, and the seconds of all fits of a row. Data come as they
are: no column is scaled for Layerwise's classifiers and regressors. Transformers stand behind a StandardScaler and
before a ridge read-out, and so do scikit-learn's own, which scale nothing themselves.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn import datasets
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerwise import estimators as own

VALUES = {
    "diabetes": datasets.load_diabetes(return_X_y=True),
    "make_regression": datasets.make_regression(random_state=0),
    "make_regression, 1e6 y": (lambda x, y: (x, 1e6 * y))(*datasets.make_regression(400, 10, noise=5, random_state=0)),
    "friedman 1": datasets.make_friedman1(400, noise=1, random_state=0),
    "friedman 2": datasets.make_friedman2(400, random_state=0),
}
CLASSES = {name: getattr(datasets, f"load_{name}")(return_X_y=True) for name in ("iris", "wine", "breast_cancer")}
CLASSES["digits"] = datasets.load_digits(return_X_y=True)
CLASSES["moons"] = datasets.make_moons(400, noise=0.2, random_state=0)
REGRESSORS = [
    own.PlatonicRegressor(random_state=0),
    own.RidgeReadoutRegressor(),
    own.DGLRegressor(random_state=0),
    own.SGDNetworkRegressor(random_state=0),
    make_pipeline(StandardScaler(), RidgeCV()),
    make_pipeline(StandardScaler(), MLPRegressor(random_state=0)),
]
CLASSIFIERS = [
    own.PlatonicClassifier(random_state=0),
    own.RidgeReadoutClassifier(),
    own.DGLClassifier(random_state=0),
    own.SGDNetworkClassifier(random_state=0),
    own.LocalNetworkClassifier(random_state=0),
    make_pipeline(StandardScaler(), own.DensityMatrixTransformer(), own.RidgeReadoutClassifier()),
    make_pipeline(StandardScaler(), own.PCATransformer(), own.RidgeReadoutClassifier()),
    make_pipeline(StandardScaler(), own.RandomFeaturesTransformer(random_state=0), own.RidgeReadoutClassifier()),
    make_pipeline(StandardScaler(), RidgeClassifierCV()),
    make_pipeline(StandardScaler(), LogisticRegression()),
    make_pipeline(StandardScaler(), MLPClassifier(random_state=0)),
]


def named(estimator) -> str:
    steps = getattr(estimator, "steps", [("", estimator)])
    return " + ".join(type(step).__name__ for _, step in steps if not isinstance(step, StandardScaler))


def main() -> None:
    for sets, kinds, scale in ((VALUES, REGRESSORS, "{:.2f}"), (CLASSES, CLASSIFIERS, "{:.1%}")):
        print(f"| | {' | '.join(sets)} | seconds |\n|{'---|' * (len(sets) + 2)}")
        for estimator in kinds:
            start, cells = time.perf_counter(), []
            for x, y in sets.values():
                scores = []
                for split in range(3):
                    train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=split)
                    scores.append(clone(estimator).fit(train_x, train_y).score(test_x, test_y))
                cells.append(scale.format(np.mean(scores)).removesuffix("%"))
            print(f"| {named(estimator)} | {' | '.join(cells)} | {time.perf_counter() - start:.1f} |", flush=True)
        print()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
