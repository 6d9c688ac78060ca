"""The golden fits: every method, every value of its options, every layer word. No torch here.

A fit goes by its name, which says all of it but the samples: one that is changed has another name and no past. The
samples that a name of data stands for must therefore stay as they are (`fits.data`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from layerwise.study.identity import SCORES

CONV = ("conv 3 4", "relu", "maxpool 2", "dense outputs")
FREE = ("conv 3", "relu", "maxpool 2", "dense outputs")  # the method finds the number of filters
DENSE = ("dense 6", "tanh", "dense outputs")
DEEP = ("dense 6", "relu", "dense 5", "relu", "dense outputs")

# Together every layer word, with all that it may say.
WORDS = (
    ("conv 3 4 stride 2 pad 1", "batchnorm", "relu", "avgpool 2 stride 1", "flatten", "dense 6", "dropout 0.25", "erf"),
    ("conv 3 4 contrast 0.1 mirror", "fold", "celu", "maxpool 3 stride 2", "dense 6", "batchnorm", "gelu"),
    ("conv 3 3 mirror", "crelu", "avgpool 2", "dense 6", "sigmoid", "dense 5", "softshrink 0.1", "dense 5", "tanh"),
    ("maxpool 2", "conv 2 3 contrast 0.5 pad 1", "relu", "dense 4", "crelu"),
)
# Blocks of a model of a library, which are fitted by gradient alone.
MODEL = ("torchvision resnet18 1-2 stem 1", "avgpool 2", "dense outputs")
# Of the model that is named, drawn from a seed of their own (`fits`); what is new is drawn by the fit.
WEIGHTS = ({"weights": "torchvision resnet18"}, {"weights": "torchvision resnet18", "new": ("layer1.0", "fc")})
BLOCKS = (
    "conv 3 4 pad 1",
    "batchnorm",
    "relu",
    "maxpool 2",
    "conv 3 6 pad 1",
    "relu",
    "dense 6",
    "relu",
    "dense outputs",
)


@dataclass(frozen=True)
class Case:
    """One golden fit.

    Parameters
    ----------
    method
        A method of the package, or ``scores`` for the scoring of the layers, whose option ``of`` says how.
    data
        ``digits``: images of four classes. ``signs``: two classes in one column. ``values``: two columns of real
        numbers. ``many``: more samples and classes than one batch holds.
    valid
        With a validation split.
    uses
        Layers of the network under ``uses``; none without.
    """

    method: str
    layers: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    data: str = "digits"
    dtype: str = "float32"
    valid: bool = False
    uses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        options = ", ".join(f"{key} {value}" for key, value in sorted(self.options.items()))
        uses = f" uses [{', '.join(self.uses)}]" if self.uses else ""
        where = f"{self.data}{' valid' if self.valid else ''} {self.dtype}"
        return f"{self.method}: {options or 'as it comes'} | {', '.join(self.layers)}{uses} | {where}"


def every() -> list[Case]:
    """Return all golden fits."""
    parts = (_dgl, _dmn, _local, _patches, _pca, _permuted, _platonic, _random, _ridge, _sgd, _scores)
    return [case for part in parts for case in part()]


def _each(method: str, layers: tuple[str, ...], base: dict, *others: dict, **where: Any) -> Iterator[Case]:
    """Yield a fit with the options of the base, and one for each other set of options on top of them."""
    for other in ({}, *others):
        yield Case(method, layers, {**base, **other}, **where)


def _random() -> Iterator[Case]:
    yield from _each(
        "random",
        CONV,
        {},
        {"distribution": "orthogonal"},
        {"scale": "unit"},
        {"scale": 0.7},
        {"bias": 0.5},
    )
    yield Case("random", CONV, {"distribution": "orthogonal", "bias": 0.5}, dtype="float64", valid=True)
    yield Case("random", DENSE, data="signs")
    yield Case("random", DENSE, data="values")
    yield Case("random", CONV, data="many")
    yield from _each("random", MODEL, {}, *WEIGHTS)
    for words in WORDS:
        yield Case("random", (*words, "dense outputs"))
        yield Case("random", words, dtype="float64")


def _pca() -> Iterator[Case]:
    yield from _each(
        "pca",
        FREE,
        {},
        {"variance": 0.5},
        {"fraction": 0.5},
        {"count": 3},
        {"centre": True},
        {"reach": True},
        {"sign": "sum"},
        {"whiten": 0.1},
    )
    yield Case("pca", FREE, dtype="float64", valid=True)
    yield Case("pca", ("conv 3", "relu", "conv 3 4", "crelu", "dense", "tanh", "dense outputs"), data="signs")
    yield Case("pca", ("dense 4", "tanh"), data="values")


def _dmn() -> Iterator[Case]:
    yield from _each(
        "dmn",
        FREE,
        {},
        {"variance": 0.5},
        {"correlation": 0.5},
        {"fraction": 0.5},
        {"count": 3},
        {"centre": True},
        {"reach": True},
        {"order": "share"},
        {"sign": "sum"},
        {"whiten": 0.1},
    )
    yield Case("dmn", FREE, {"order": "share", "correlation": 0.7, "reach": True}, dtype="float64", valid=True)
    yield Case("dmn", ("conv 3", "relu", "conv 3 4", "crelu", "dense", "tanh", "dense outputs"), {"variance": 0.6})
    yield Case("dmn", ("conv 3 3 contrast 0.1 mirror", "fold", "dense 4"), data="signs")
    yield Case("dmn", CONV, data="many")


def _patches() -> Iterator[Case]:
    yield from _each(
        "patches",
        ("conv 3", "relu", "maxpool 2", "dense outputs"),
        {"count": 4},
        {"whiten": None},
        {"whiten": 0.5},
        {"samples": 20},
        {"count": 3},
    )
    yield Case("patches", ("conv 3 5", "relu", "conv 3 4", "maxpool 2", "dense outputs"))
    yield Case("patches", CONV, {"whiten": 0.5}, dtype="float64", valid=True)
    yield Case("patches", ("conv 3 4 contrast 0.1", "softshrink 0.25", "crelu", "conv 2 3"), data="signs")
    yield Case("patches", DENSE, data="values")


def _platonic() -> Iterator[Case]:
    yield from _each(
        "platonic",
        DENSE,
        {},
        {"projection": "pca"},
        {"projection": "sorted"},
        {"projection": "differences"},
        {"alpha": 0.5},
        {"beta": 3.0},
        {"tries": 9},
        {"tries": 9, "solver": "ridge"},
        {"solver": "lstsq"},
        {"solver": "solve", "strength": 0.1},
        {"solver": "ridge"},
        {"solver": "ridge", "strength": 0.1},
        {"solver": "ridge", "strength": "gcv", "dtype": "float32"},
        {"solver": "ridge", "projection": "pca", "beta": 3.0},
        {"tolerance": 0.5},
        {"tolerance": 0.05, "solver": "lstsq"},
        {"dtype": "float32"},
        {"bias": False},
        {"mask": 3, "projection": "sorted"},
        {"mask": 3, "projection": "differences"},
    )
    yield Case("platonic", ("dense 72", "tanh", "dense outputs"), {"projection": "identity"})
    yield from _each(
        "platonic",
        DEEP,
        {"projection": "auto"},
        {"first": "differences"},
        {"ema": 0.2},
        {"ema": 0.2, "solver": "ridge"},
        {"mask": 4},
    )
    yield Case("platonic", DEEP, {"projection": "auto", "ema": 0.5}, dtype="float64", valid=True)
    yield Case("platonic", DENSE, {"solver": "ridge"}, data="signs")
    yield Case("platonic", DENSE, {"projection": "pca"}, data="values")
    yield Case("platonic", DENSE, {"solver": "ridge", "tries": 2}, data="many")


def _ridge() -> Iterator[Case]:
    layers = ("avgpool 2", "dense outputs")
    yield from _each("ridge", layers, {}, {"strengths": (0.5,)}, {"strengths": (0.03, 3.0)})
    yield from _each("ridge", layers, {}, {"select": "valid"}, {"select": "valid", "strengths": (0.5, 5.0)}, valid=True)
    yield from _each("ridge", layers, {}, {"select": "valid"}, valid=True, dtype="float64")
    yield Case("ridge", ("dense outputs",), data="signs")
    yield from _each("ridge", ("dense outputs",), {"floor": 0.5}, {"select": "valid"}, valid=True)
    yield from _each("ridge", ("dense outputs",), {}, {"select": "valid"}, data="values", valid=True)
    yield from _each("ridge", ("dense outputs",), {}, {"select": "valid"}, data="many", valid=True)
    forms: tuple[dict, ...] = ({"form": "dual"}, {"form": "auto", "strengths": (0.7,)}, {"form": "dual", "floor": 0.5})
    yield from (Case("ridge", ("dense outputs",), options) for options in forms)
    forms = ({"residual": 1e-3}, {"passes": 3})
    yield from _each("ridge", layers, {"form": "iterative", "strengths": (0.1,)}, *forms)
    for form in ("dual", "iterative"):
        yield Case("ridge", layers, {"form": form, "select": "valid"}, valid=True)


def _permuted() -> Iterator[Case]:
    yield Case("permuted", CONV, uses=CONV)
    yield Case("permuted", ("conv 3 4", "relu"), uses=CONV, dtype="float64", valid=True)
    yield Case("permuted", DEEP, uses=DEEP)


def _sgd() -> Iterator[Case]:
    short = {"epochs": 2, "batch": 16}
    yield from _each(
        "sgd",
        CONV,
        short,
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "adam", "weight_decay": 0.1, "lr": 0.01},
        {"lr": 0.05},
        {"momentum": 0.0},
        {"nesterov": True},
        {"weight_decay": 0.1},
        {"epochs": 3},
        {"batch": 128},
        {"schedule": "step", "step": 1},
        {"schedule": "step", "step": 1, "gamma": 0.5},
        {"schedule": "multistep", "milestones": (1, 2), "epochs": 3},
        {"schedule": "cosine", "epochs": 3},
        {"loss": "mse"},
        {"loss": "cross_entropy"},
        {"loss": "cross_entropy", "label_smoothing": 0.1},
        {"init": "glorot"},
        *(
            {"loss": loss, "lr": 0.0005}
            for loss in ("half_squares", "sigmoid", "tanh", "tanh_squares", "exp_ga", "pow3_ga")
        ),
        {"loss": "exp_ga", "lr": 0.0005, "target_low": 0.5, "target_high": 3.0, "alpha": 0.5},
        {"loss": "pow3_ga", "lr": 0.0005, "target_low": -2.0, "target_high": 8.0, "alpha": 0.01, "beta": 0.1},
        {"augment": ("crop", "flip", "cutout")},
        {"augment": ("autoaugment",)},
        {"augment": ("autoaugment svhn", "cutout")},
    )
    yield Case("sgd", CONV, {**short, "init": "used"}, uses=CONV)
    yield Case("sgd", CONV, short, dtype="float64")
    yield from _each(
        "sgd",
        CONV,
        {**short, "exchange": "float32", "workers": 2},
        {"exchange": "entropy 5"},
        {"exchange": "entropy 2 of 8"},
        {"exchange": "fixed 4 changes"},
        {"exchange": "groups 4 of 32"},
        {"exchange": "float8 4"},
        {"exchange": "float8 5"},
        {"exchange": "top 0.1 changes"},
        {"exchange": "rank 2"},
        {"exchange": "entropy 5", "workers": 3},
    )
    yield from _each("sgd", CONV, {"epochs": 6, "batch": 16, "lr": 0.2}, {"patience": 1}, valid=True)
    long = {"epochs": 12, "batch": 16, "lr": 0.2}  # an epoch after the first pause is better than those before it
    yield from _each("sgd", DENSE, long, {"patience": 1}, {"patience": 2}, data="values", valid=True)
    yield Case("sgd", DENSE, {**short, "patience": 1}, data="signs", valid=True)
    yield Case("sgd", DENSE, {**short, "optimizer": "adam"}, data="values", valid=True)
    yield Case("sgd", DENSE, {"epochs": 1}, data="many")
    for words in WORDS:
        yield Case("sgd", (*words, "dense outputs"), short)
    yield from _each("sgd", MODEL, short, *WEIGHTS)


def _local() -> Iterator[Case]:
    short = {"epochs": (2,), "batch": 24}
    robin = {"schedule": "round_robin", "rounds": 2, "epochs": (1,)}
    at_once = {"schedule": "concurrent"}
    filtered = {**at_once, "filter_from": 2, "filter_samples": 48, "partitions": 3}
    yield from _each(
        "local",
        BLOCKS,
        short,
        {"window": 2},
        {"window": 2, "overlap": 1},
        {"window": 3},
        {"head": 2},
        robin,
        {**robin, "schedule": "random_robin", "rounds": 3},
        {**robin, "window": 2, "overlap": 1, "optimizer": "adamw"},
        {**robin, "filter": "kfilter", "filter_from": 2, "filter_samples": 48, "filter_k": 2},
        {"epochs": (3, 1)},
        {"epochs_by_block": 1.6},
        {"decision": ("dense 5", "relu", "dense outputs")},
        {"decision": (), "memory": 0.9},
        {"decision": (), "memory": 1.0},
        {"decision": (), "memory": 1.0, "max_width": 8},
        {"decision": (), "memory": 1.0, "max_convolutions": 0, "epochs": (1,)},
        {"optimizer": "adam"},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"lr": 0.1, "lr_by_block": 0.5},
        {"momentum": 0.5},
        {"weight_decay": 0.01, "weight_decay_by_block": 2.0},
        {"rate": "multistep", "epochs": (4,)},
        {"rate": "cosine", "epochs": (4,)},
        {"loss": "mse"},
        {"loss": "cross_entropy"},
        {"input_dropout": 0.5},
        {"input_dropout": 0.5, "input_dropout_decay": 0.2},
        {"gradient_dropout": 0.5},
        {"augment": ("crop", "flip", "cutout")},
        {"augment": ("autoaugment",)},
        {"augment": ("autoaugment svhn", "cutout")},
        {"features": "stored"},
        {"features": "feed"},
        at_once,
        {**at_once, "partitions": 3, "lr_by_block": 0.5, "weight_decay": 0.01, "weight_decay_by_block": 0.5},
        {**at_once, "cut": (2,), "queue": 1},
        {**at_once, "allocation": (3, 1), "batch": 34},  # a rest of 4 does not do for three
        {**at_once, "cut": "measured", "partitions": 3},  # there is but one
        {**filtered, "filter": "loss"},
        {**filtered, "filter": "loss", "filter_share": 0.5, "filter_after": 2},
        {**filtered, "filter": "kfilter", "filter_k": 2},
        {"decision_by": "ridge"},
        {"decision_by": "ridge", "loss": "mse", "optimizer": "adam", "input_dropout": 0.5},
    )
    yield Case("local", BLOCKS, {**short, "init": "used"}, uses=BLOCKS)
    yield Case("local", BLOCKS, {**short, "init": "used"}, uses=BLOCKS[:4])
    yield from _each("local", BLOCKS, {**short, "epochs": (4, 4, 1)}, {"crop": False}, valid=True)
    yield Case("local", BLOCKS, short, dtype="float64", valid=True)
    yield Case("local", BLOCKS, short, data="signs", valid=True)
    yield Case("local", ("dense 6", "tanh", "dense 5", "tanh", "dense outputs"), short, data="values", valid=True)
    yield Case("local", MODEL, short, valid=True)
    yield from (Case("local", MODEL, {**short, **weights}) for weights in WEIGHTS)


def _dgl() -> Iterator[Case]:
    short = {"epochs": 2, "batch": 24}
    yield from _each(
        "dgl",
        DEEP,
        short,
        {"kernel": "ntk"},
        {"objective": "variance"},
        {"objective": "log_predictive"},
        {"objective": "bottleneck"},
        {"objective": "bottleneck", "width": 0.2},
        {"objective": "bottleneck", "beta": 5.0},
        {"variances": "initial"},
        {"noise": "evidence"},
        {"noise": 0.1},
        {"init": "he"},
        {"bias": 0.1},
        {"lr": 0.1},
        {"weight_decay": 0.1},
        {"epochs": 0},
        {"epochs": 3},
        {"batch": 500},
        {"landmarks": 8},
        {"landmarks": 8, "kernel": "ntk"},
        {"centre": False},
        {"above": 1},
    )
    yield Case("dgl", DEEP, {**short, "variances": "used"}, uses=DEEP)
    yield from _each(
        "dgl", DEEP, short, {"lr": (0.001, 0.05)}, {"weight_decay": (0.2, 0.5), "lr": (0.02, 0.001)}, valid=True
    )
    long = {"epochs": 10, "batch": 12, "lr": 0.1}  # an epoch after the first pause is better than those before it
    yield from _each("dgl", DEEP[:2], long, {"patience": 1}, {"patience": 2}, valid=True)
    erf = ("dense 6", "erf", "dense 5", "erf", "dense outputs")
    yield from _each("dgl", erf, short, {"kernel": "ntk"}, {"variances": "initial"}, dtype="float64")
    yield Case("dgl", ("flatten", "dense 6", "relu"), short, data="signs")
    yield Case("dgl", ("dense 6", "relu"), {**short, "noise": "evidence", "above": 1}, data="values", valid=True)


def _scores() -> Iterator[Case]:
    for words in WORDS:
        for dtype in ("float32", "float64"):
            yield Case(SCORES, words, {"of": "readout"}, dtype=dtype, valid=dtype == "float64")
        yield Case(SCORES, (*words, "dense outputs"), {"of": "scores"}, valid=True)
    for data in ("signs", "values"):
        yield Case(SCORES, ("dense 6", "tanh"), {"of": "readout"}, data=data, valid=True)
        yield Case(SCORES, DENSE, {"of": "scores"}, data=data, valid=True)
    yield Case(SCORES, ("conv 3 4", "relu"), {"of": "readout"}, data="many", valid=True)
