"""Layerwise in a notebook: filters from class PCA in a scikit-learn pipeline, and a Platonic network from batches.

``python docs/examples/estimators.py``
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

from layerwise.estimators import DensityMatrixTransformer, PlatonicClassifier

x, y = load_digits(return_X_y=True)
x = x / 16
train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)

# Density Matrix Network: the filters are principal components of each class's patches; nothing is trained by gradient.
filters = DensityMatrixTransformer(layers=("conv 3 8", "relu", "maxpool 2"), image_shape=(1, 8, 8))
network = make_pipeline(filters, RidgeClassifierCV())
print(f"class PCA and ridge: {100 * cross_val_score(network, train_x, train_y).mean():.1f} % in cross-validation")
pixels = LogisticRegression(max_iter=1000)
print(f"logistic regression: {100 * cross_val_score(pixels, train_x, train_y).mean():.1f} %")

# Options are parameters of the estimator, so a grid search can choose them.
search = GridSearchCV(network, {"densitymatrixtransformer__sign": ["loading", "sum"]}).fit(train_x, train_y)
print(f"best sign: {search.best_params_['densitymatrixtransformer__sign']}, {100 * search.score(test_x, test_y):.1f} %")

# Platonic projections need one pass over batches (here slices, or a DataLoader) and give the result of the whole.
batches = [(train_x[i : i + 300], train_y[i : i + 300]) for i in range(0, len(train_x), 300)]
platonic = PlatonicClassifier(layers=("dense 200", "relu"), projection="differences", random_state=0)
platonic.fit_batches(batches)
print(f"Platonic network from {len(batches)} batches: {100 * platonic.score(test_x, test_y):.1f} % of the test images")
print(platonic.module_)  # a torch.nn.Sequential
