"""Deterministic weights and projections of thesis section 7.8, and receptive fields for them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layerwise.closed import shards
from layerwise.closed.inputs import Inputs
from layerwise.errors import LayerwiseError
from layerwise.maths.linalg import Gram, correlation_axes, principal


@dataclass(frozen=True)
class Augmented:
    """The augmented features ``[Z | Y]``, each row of Y times the weight of its sample (thesis section 7.9.3).

    Attributes
    ----------
    y
        Weighted Y ``(m, k)`` of the samples of this process.
    gram
        Sums of Z and weighted Y over all samples.
    """

    y: Tensor
    gram: Gram


def augmented(inputs: Inputs, gram: Gram, y: Tensor, weight: Tensor | None) -> Augmented:
    """Return the augmented features, of the Gram of Z and Y where all samples weigh the same."""
    n = inputs.fan_in
    if weight is None:
        return Augmented(y, gram)
    weighted, found = weight * y, Gram(n, y.shape[1], inputs.device, gram.products, gram.about)
    about_z, about_y = (0.0, 0.0) if gram.about is None else gram.about.split([n, y.shape[1]])
    rows = weighted.double() - about_y
    cross, squares, sums = torch.zeros_like(gram.second[:n, n:]), rows.T @ rows, rows.sum(dim=0)
    for z, samples in inputs.batches():
        cross += (z.double() - about_z).T @ rows[samples]
    shards.add(cross, squares, sums)
    found.low, found.high = gram.low, gram.high  # a target that varies does so whatever its samples weigh
    found.n, found.sums = gram.n, torch.cat([gram.sums[:n], sums])
    found.second = gram.second.clone()
    found.second[:n, n:], found.second[n:, :n], found.second[n:, n:] = cross, cross.T, squares
    return Augmented(weighted, found)


def components(inputs: Inputs, gram: Gram) -> Tensor:
    """Return the principal components of ``[Z | Y]``, columns standardised, as columns ``(n + k, width)``.

    That the thesis standardises them it does not say. Only so do its tables come out: without, beta makes the labels
    the first k components and leaves the others none, and MNIST, 784 units, has 86.9 % for the 91.5 of table 7.2.
    """
    most = inputs.fan_in + gram.targets
    if inputs.width > most:
        raise LayerwiseError(
            f"{inputs.name}: Platonic PCA has n + k = {most} components here, and {inputs.width} are asked for: "
            "use a smaller width, or projection sorted or random"
        )
    return correlation_axes(gram)[:, : inputs.width]


def sorted_samples(inputs: Inputs) -> Tensor:
    """Return the samples at even steps along the first principal component (thesis figure 7.14), ``(width, n)``."""
    count = shards.total(len(inputs), inputs.device)
    if inputs.width > count:
        raise LayerwiseError(
            f"{inputs.name}: Sorted PCA takes {inputs.width} samples as weights, and there are {count}: "
            "use a smaller width, or projection random"
        )
    gram = Gram(inputs.fan_in, device=inputs.device)
    for z, _ in inputs.batches():
        gram.add(z)
    _, vectors = principal(shards.gathered(gram))
    if not vectors.shape[1]:
        raise LayerwiseError(f"{inputs.name}: its inputs are all zero: check the layers and the data before")
    along = vectors.new_zeros(count)
    along[shards.rank() :: shards.size()] = torch.cat([z.double() @ vectors[:, 0] for z, _ in inputs.batches()])
    shards.add(along)
    step = torch.arange(inputs.width, dtype=torch.float32, device=along.device) * (count / inputs.width)
    return _samples(inputs, along.argsort(stable=True)[step.round().long().clamp(max=count - 1)])


def differences(inputs: Inputs, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pairs of samples of different classes; returns their differences and their midpoints, ``(width, n)``."""
    if not inputs.task.classifies:
        raise LayerwiseError(f"{inputs.name}: projection differences needs classes: use random or sorted for values")
    count = shards.total(len(inputs), inputs.device)
    labels = torch.zeros(count, dtype=torch.long, device=inputs.device)
    labels[shards.rank() :: shards.size()] = inputs.y
    shards.add(labels)
    if bool((labels == labels[0]).all()):
        raise LayerwiseError(f"{inputs.name}: all samples are of one class, and differences are between two")
    pairs = torch.empty(2, 0, dtype=torch.long, device=inputs.device)
    while pairs.shape[1] < inputs.width:
        drawn = torch.randint(count, (2, 2 * inputs.width), generator=generator, device="cpu").to(inputs.device)
        pairs = torch.cat([pairs, drawn[:, labels[drawn[0]] != labels[drawn[1]]]], dim=1)
    here, there = (_samples(inputs, pairs[side, : inputs.width]) for side in (0, 1))
    return here - there, (here + there) / 2


def _samples(inputs: Inputs, numbers: Tensor) -> Tensor:
    """Return the samples of these numbers over all processes, ``(len(numbers), n)``."""
    samples = torch.zeros(len(numbers), inputs.fan_in, dtype=inputs.dtype, device=inputs.device)
    for z, own in inputs.batches():
        wanted = own[0] * shards.size() + shards.rank()  # the first of the batch, numbered over all processes
        place = (numbers - wanted).div(shards.size(), rounding_mode="floor")
        here = (place >= 0) & (place < len(z)) & ((numbers - wanted) % shards.size() == 0)
        samples[here] = z[place[here]]
    shards.add(samples)
    return samples


def fields(width: int, shape: tuple[int, ...], least: int, generator: torch.Generator) -> Tensor:
    """Draw rectangles in an image, as ones among zeros, ``(width, C H W)``: a receptive field for each unit.

    Parameters
    ----------
    least
        Smallest side of a rectangle; sides are uniform from there up to the whole, and so are places.
    """
    channels, height, breadth = shape
    found = torch.ones(width, channels, height, breadth, dtype=torch.float32, device="cpu")
    for axis, side in ((2, height), (3, breadth)):
        size = torch.randint(least, side + 1, (width,), generator=generator, device="cpu")
        start = torch.rand(width, dtype=torch.float32, generator=generator, device="cpu") * (side - size + 1)
        start, place = start.long(), torch.arange(side, device="cpu")
        inside = (place >= start[:, None]) & (place < (start + size)[:, None])
        found *= inside.reshape(width, 1, *((side, 1) if axis == 2 else (1, side)))
    return found.flatten(1)
