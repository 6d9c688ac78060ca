"""A tiny study of the kind of ``studies/dmn.yaml``, and what tests ask of the figures drawn from it."""

from __future__ import annotations

from layerwise import figures

PROBED = {"networks": ["mnist/deep", "cifar100/deep"]}
ROWS = {
    "d4": {"class PCA": "d4/head", "random": "o4/head", "ConvNet": "c4+head"},
    "d6": {"class PCA": "d6/head", "ConvNet": "c4+head"},
}
PUBLISHED = {
    "dmn": {
        "table2": {
            "columns": {"class PCA": "dmn_accuracy", "ConvNet": "convnet_accuracy"},
            "rows": {
                **{f"mnist|{row}": {c: f"mnist/{path}" for c, path in cells.items()} for row, cells in ROWS.items()},
                "cifar100|d79": {"class PCA": "cifar100/d6/head", "ConvNet": "cifar100/c4+head"},
            },
        },
        "table3": {
            "columns": {"train": "train_accuracy", "test": "test_accuracy"},
            "rows": {"mnist|d6,m,de10": "mnist/d6/head", "mnist|c9,m,de10": {"test": "mnist/c4+head"}},
        },
    }
}
BARS = {"source": "dmn", "item": "table2", "baseline": {"mnist": "head", "cifar100": "head"}}
CURVES = {
    "panels": {
        "MNIST": {
            "class PCA": {"6": "mnist/d6/head", "4": "mnist/d4/head"},
            "ConvNet": {4: "mnist/c4+head"},
            "few": {1: "few/d4/head", 2: "cifar100/d4/head"},
        },
        "CIFAR100": {"class PCA": {4: "cifar100/d4/head"}},
    },
    "x": {"MNIST": "filters", "CIFAR100": "filters"},
    "logarithmic": ["MNIST"],
    "marks": {"MNIST": [5, 6]},
    "baseline": {"MNIST": "mnist/head", "CIFAR100": "cifar100/head"},
}
TINY = {
    "name": "tinydmn",
    "title": "Tiny DMN",
    "seeds": {"mnist": 2, "few": 1, "cifar100": 2},
    "leave_out": {"cifar100": "hours"},
    "datasets": {
        "mnist": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "few": {"source": "digits", "subset": 40, "test_subset": 50, "valid": 20},
        "cifar100": {"source": "torchvision", "name": "CIFAR100"},
    },
    "segments": {
        "d4": {"method": "dmn", "layers": ["conv 3 4", "maxpool 2", "relu"]},
        "d6": {"method": "dmn", "layers": ["conv 3 6", "maxpool 2", "relu"]},
        "o4": {"method": "random", "layers": ["conv 3 4", "maxpool 2", "relu"]},
        "c4": {"method": "sgd", "layers": ["conv 3 4", "maxpool 2", "relu"]},
        "head": {"method": "sgd", "layers": ["dense outputs"], "epochs": 3, "batch": 20},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
        "deep": {
            "method": "sgd",
            "layers": ["dense 6", "relu", "dense 5", "relu", "dense outputs"],
            "epochs": 4,
            "batch": 20,
        },
    },
    "networks": {
        "mnist": {
            "head": "no layer below",
            "d4/head": "d4",
            "d6/head": "d6",
            "d4/ridge": "d4, ridge",
            "o4/head": "o4",
            "c4+head": "c4",
            "deep": "deep",
        },
        "few": {"d4/head": "d4"},
        "cifar100": {p: p for p in ("head", "d4/head", "d6/head", "c4+head", "deep")},
    },
    "probes": {
        "training": {**PROBED, "every": 2, "first": 3},
        "gain": {"networks": ["mnist/c4+head", "cifar100/c4+head"], "every": 3, "samples": 30},
        "density": {"networks": ["mnist/head"], "size": 3, "every": 1, "until": 60},
        "settling": {"probe": "density", "networks": ["mnist/head", "cifar100/head"], "size": 3, "at": [5, 20, 60]},
        "away": {"probe": "training", "networks": ["cifar100/deep"]},
    },
    "published": PUBLISHED,
    "figures": {
        "bars": BARS,
        "curves": CURVES,
        "training": {"figure": "training_curves", "columns": ["largest", "product"]},
        "rates": {
            "figure": "training_curves",
            "columns": ["change"],
            "detrend": True,
            "smooth": 4,
            "hidden": True,
            "log_steps": True,
        },
        "distance": {"figure": "training_curves", "columns": ["distance", "variance", "mean_squared"]},
        "away": {"figure": "training_curves", "columns": ["largest"], "probe": "away"},
        "gain": {"figure": "gain_curve"},
        "fluctuations": {"blocks": 4, "bins": 15},
        "eigenvalues": {"probe": "settling"},
        "epochs": {"figure": "histories", "dataset": "mnist", "networks": ["d4/head", "c4+head"]},
        "seconds": {"figure": "histories", "dataset": "mnist", "networks": ["d4/head", "c4+head"], "x": "seconds"},
        "left": {"figure": "histories", "dataset": "cifar100", "networks": ["d4/head"]},
        "left_seconds": {"figure": "accuracy_seconds", "dataset": "cifar100"},
    },
}


def drawn(results, name):
    module, options = figures.opened(results.study.figures[name])
    return module.draw(results, options)


def lines(ax):
    """The drawn lines of a panel by their label; error bars have none of their own."""
    return {line.get_label(): line for line in ax.get_lines()}


def texts(ax):
    return [t.get_text() for t in ax.texts]
