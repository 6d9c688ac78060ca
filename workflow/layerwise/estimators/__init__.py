"""The scikit-learn face of the methods: arrays in, arrays out, the mathematics left where it is.

>>> from sklearn.datasets import load_digits
>>> from sklearn.pipeline import make_pipeline
>>> X, y = load_digits(return_X_y=True)
>>> images = DensityMatrixTransformer(layers=("conv 3", "relu", "maxpool 2"), image_shape=(1, 8, 8), count=10)
>>> network = make_pipeline(images, RidgeReadoutClassifier()).fit(X[:1000], y[:1000])
>>> network.score(X[1000:], y[1000:]) > 0.9
True
"""

from layerwise.estimators.closed_form import (
    PlatonicClassifier,
    PlatonicRegressor,
    RidgeReadoutClassifier,
    RidgeReadoutRegressor,
)
from layerwise.estimators.gradient import SGDNetworkClassifier, SGDNetworkRegressor
from layerwise.estimators.layerwise_losses import DGLClassifier, DGLRegressor
from layerwise.estimators.local_learning import LocalNetworkClassifier
from layerwise.estimators.transformers import DensityMatrixTransformer, PCATransformer, RandomFeaturesTransformer

__all__ = [
    "DGLClassifier",
    "DGLRegressor",
    "DensityMatrixTransformer",
    "LocalNetworkClassifier",
    "PCATransformer",
    "PlatonicClassifier",
    "PlatonicRegressor",
    "RandomFeaturesTransformer",
    "RidgeReadoutClassifier",
    "RidgeReadoutRegressor",
    "SGDNetworkClassifier",
    "SGDNetworkRegressor",
]
