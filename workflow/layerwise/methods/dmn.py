"""Density matrix networks: a layer's filters are the principal components of each class's inputs (dmn, dmn-icassp).

The density matrix of a class is the second moment of a layer's inputs, patches for a convolution (dmn eq. 15), and
is summed in one pass over batches, and over the processes that share a fit. Components are taken up to a share of the
variance (T_v), or up to a number of filters; of those that are alike across classes one is kept (T_PC); biases are
zero (dmn-icassp section 3).
What the papers leave open is an option here: centring, sign, which components come first, and whitening.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from layerwise.closed import driver, shards
from layerwise.closed.inputs import Inputs, Solution
from layerwise.contract import NO_HOOKS, Features, Fitted, Hooks, Segment
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers.room import demand_room
from layerwise.maths.linalg import Gram, principal
from layerwise.options import Bounded, Ge, Gt, Le

SHARED = True


@dataclass(frozen=True)
class Options(Bounded):
    variance: Annotated[float, Gt(0), Le(1)] = 0.95
    """T_v, the share of each class's variance that its components may explain, in (0, 1]. Not used where a number of
    filters is given."""
    correlation: Annotated[float, Gt(0), Le(1)] = 0.9
    """T_PC, in (0, 1]: a component is dropped where its absolute cosine with a kept one is above this."""
    fraction: Annotated[float, Gt(0), Le(1)] = 1.0
    """T_frac, the fraction of the training samples that the components are found on, drawn by seed, in (0, 1]."""
    count: Annotated[int, Ge(1), Le(1_000_000_000)] | None = None
    """Number of filters of each layer whose word gives no width. Components then come in as T_v grows, each class's
    first one before any second one, until so many are kept."""
    centre: bool = False
    """Subtract the class mean, which makes the density matrix a covariance."""
    reach: bool = False
    """Also take the component with which the variance passes T_v. Without, the first component is always taken."""
    order: Literal["class", "share"] = "class"
    """Which component is met first, and so kept of two that are alike. ``class``: classes in label order, components
    by decreasing eigenvalue. ``share``: as T_v grows, which is also how a number of filters is filled."""
    sign: Literal["loading", "sum"] = "loading"
    """What is made positive: the ``loading`` of largest magnitude, or the ``sum`` of a filter's weights."""
    whiten: Annotated[float, Gt(0)] | None = None
    """Bring every response to zero mean and unit variance over all samples, of all classes, so that one threshold
    behind the layer suits all filters: w becomes w / sqrt(variance of w . x + this number). null leaves unit lengths
    and zero biases, as published."""


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Fit the layers of a segment by class PCA; a last ``dense outputs`` is read out by ridge."""
    task = features.task
    if not task.classifies:
        raise LayerwiseError("dmn needs classes, and this task has real values: use pca, platonic or sgd")
    labels = features.train.y.cpu()
    drawn = draw(len(labels), options.fraction, seed, device)
    names = task.classes or tuple(str(label) for label in range(max(task.outputs, 2)))
    groups = {name: drawn[labels[drawn] == label].to(device) for label, name in enumerate(names)}
    for name, samples in groups.items():
        if not shards.total(len(samples), device):
            raise LayerwiseError(
                f"class {name!r} has no sample among the {shards.total(len(drawn), device)} that fraction "
                f"{options.fraction:g} draws: "
                "use a larger fraction, or leave the class out of the data set"
            )
    return fit_groups(segment, features, options, groups, device)


def fit_groups(
    segment: Segment, features: Features, options: Options, groups: dict[str, Tensor], device: torch.device
) -> Fitted:
    """Fit the layers of a segment by PCA of each group of samples, given by their numbers."""

    def solve(inputs: Inputs) -> Solution:
        return filters(inputs, groups, options)

    module, words, records = driver.fit(segment, features, solve, device=device)
    return Fitted(module, words, {"layers": records})


def draw(samples: int, fraction: float, seed: int, device: torch.device) -> Tensor:
    """Return the numbers, in ascending order, of a fraction of the samples; those of this process, drawn from all."""
    samples = shards.total(samples, device)
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed), device="cpu")
    return shards.own(order[: max(1, round(fraction * samples))].sort().values)


def densities(inputs: Inputs, groups: dict[str, Tensor], centre: bool = False) -> dict[str, Gram]:
    """Sum the second moments of the layer's input rows over each group of samples, in one pass.

    A second one about a row of each group, where their covariance is asked for (`centre`) and lost in rounding.
    """
    demand_room((len(groups) + 3) * inputs.fan_in**2, inputs.device, inputs.name)
    grams = _summed(inputs, groups, {name: Gram(inputs.fan_in, device=inputs.device) for name in groups})
    if centre and any(gram.rough for gram in grams.values()):
        about = {name: Gram(inputs.fan_in, device=inputs.device, about=gram.low) for name, gram in grams.items()}
        grams = _summed(inputs, groups, about)
    return grams


def _summed(inputs: Inputs, groups: dict[str, Tensor], grams: dict[str, Gram]) -> dict[str, Gram]:
    by_number = list(grams.values())
    for group, rows in inputs.rows_of_groups(list(groups.values())):
        by_number[group].add(rows)  # dmn eq. 15; divided by the number of rows of the class, not of all
    return {name: shards.gathered(gram) for name, gram in grams.items()}


def filters(inputs: Inputs, groups: dict[str, Tensor], options: Options) -> Solution:
    """Return the filters of one layer, rows of unit length unless whitened, and the record of what was kept."""
    grams = densities(inputs, groups, options.centre or options.whiten is not None)
    _warn_of_few(inputs, grams)
    spectra, candidates = {}, []
    count = inputs.layer.width if isinstance(inputs.layer.width, int) else options.count
    for number, (name, gram) in enumerate(grams.items()):
        values, vectors = principal(gram, options.centre)
        if not len(values):
            raise LayerwiseError(
                f"{inputs.name}: the inputs of class {name!r} have no variance: leave the class out, or check the "
                "layers and the data before"
            )
        share = values.cumsum(0) / values.sum()
        spectra[name] = (values, vectors, share)
        taken = len(values) if count is not None else within(share, options.variance, options.reach)
        before = torch.cat([share.new_zeros(1), share])
        candidates += [(float(before[rank]), number, rank) for rank in range(taken)]
    if options.order == "share" or count is not None:
        candidates.sort()  # the T_v at which a component comes in, then label order
    bases = [vectors for _, vectors, _ in spectra.values()]
    pool = torch.stack([bases[number][:, rank] for _, number, rank in candidates], dim=1)
    kept = distinct(pool, options.correlation, count)
    if count is not None and len(kept) < count:
        raise LayerwiseError(
            f"{inputs.name}: {count} filters are asked for and {len(kept)} distinct components exist at correlation "
            f"{options.correlation:g}: ask for {len(kept)} at most, or raise the correlation"
        )
    chosen = pool[:, kept]
    if options.sign == "sum":
        chosen = torch.where(chosen.sum(dim=0) < 0, -chosen, chosen)
    origin = [candidates[column][1:] for column in kept]
    record = _record(grams, spectra, origin, len(pool.T))
    if options.whiten is None:
        return Solution(chosen.T, record=record)
    first, *others = grams.values()
    return _whitened(chosen.T, sum(others, first), options.whiten, record)


def _whitened(weight: Tensor, gram: Gram, epsilon: float, record: dict) -> Solution:
    """Return the filters with their responses to the rows of the Gram brought to zero mean and unit variance."""
    variance = ((weight @ gram.moment(centre=True)) * weight).sum(dim=1).clamp(min=0)
    weight = weight * (variance + epsilon).rsqrt()[:, None]
    return Solution(weight, -weight @ gram.mean, record)


def within(share: Tensor, variance: float, reach: bool) -> int:
    """Return how many components are taken for a variance T_v, given the cumulative share that each ends at."""
    if reach:
        return min(int((share < variance - 1e-12).sum()) + 1, len(share))
    return max(int((share <= variance + 1e-12).sum()), 1)


def distinct(pool: Tensor, correlation: float, count: int | None = None) -> list[int]:
    """Return the columns of unit vectors ``(d, m)`` to keep: each that is not like one kept before it.

    Alike means an absolute cosine above `correlation`; it stops when `count` are kept.
    """
    kept: list[int] = []
    frame = torch.empty_like(pool.T, memory_format=torch.contiguous_format)
    for column, vector in enumerate(pool.T):
        if not kept or float((frame[: len(kept)] @ vector).abs().max()) <= correlation + 1e-9:
            frame[len(kept)] = vector
            kept.append(column)
        if len(kept) == count:
            break
    return kept


def _warn_of_few(inputs: Inputs, grams: dict[str, Gram]) -> None:
    few = {name: gram.n for name, gram in grams.items() if gram.n < inputs.fan_in}
    if few:
        name, rows = min(few.items(), key=lambda item: item[1])
        text = (
            f"{inputs.name}: {len(few)} of {len(grams)} classes have fewer rows than the {inputs.fan_in} dimensions "
            f"(class {name!r}: {rows}); their components end at that rank"
        )
        warnings.warn(LayerwiseWarning(text), stacklevel=3)


def _record(
    grams: dict[str, Gram],
    spectra: dict[str, tuple[Tensor, Tensor, Tensor]],
    origin: Sequence[tuple[int, int]],
    candidates: int,
) -> dict:
    """Return what was found in each class, and of which class and rank each filter is."""
    names = list(grams)
    classes = {
        name: {
            "rows": grams[name].n,
            "kept": sum(names[number] == name for number, _ in origin),
            "eigenvalues": [round_to(value) for value in values[:10].tolist()],
            "share": [round_to(value) for value in share[:10].tolist()],
        }
        for name, (values, _, share) in spectra.items()
    }
    filters = [{"class": names[number], "component": rank} for number, rank in origin]
    return {"classes": classes, "candidates": candidates, "filters": filters}


def round_to(value: float) -> float:
    """Return the value to six digits, which is what a record needs."""
    return float(f"{value:.6g}")
