"""Deterministic weights and projections of thesis section 7.8, and receptive fields for them."""

from __future__ import annotations

import torch
from torch import Tensor

from layerwise import greedy, shards
from layerwise.errors import LayerwiseError
from layerwise.linalg import Gram, augmented_axes, principal


def components(inputs: greedy.Inputs, gram: Gram, weighted: Tensor | None, beta: float) -> Tensor:
    """Return the principal components of ``[Z | beta Y]``, not centred, as columns ``(n + k, width)``.

    Parameters
    ----------
    gram
        That of Z and of the Y without weights of samples.
    weighted
        Y with the weights of the samples (thesis section 7.9.3), or None where all weigh the same.
    """
    n, most = inputs.fan_in, inputs.fan_in + gram.targets
    if inputs.width > most:
        raise LayerwiseError(
            f"{inputs.name}: Platonic PCA has n + k = {most} components here, and {inputs.width} are asked for: "
            "use a smaller width, or projection sorted or random"
        )
    second = gram.second
    if weighted is not None:
        second, y = second.clone(), weighted.double()
        cross, squares = torch.zeros_like(second[:n, n:]), y.T @ y
        for rows, samples in inputs.rows():
            cross += rows.flatten(1).T @ y[samples]
        shards.add(cross, squares)
        second[:n, n:], second[n:, :n], second[n:, n:] = cross, cross.T, squares
    return augmented_axes(second, n, beta)[:, : inputs.width]


def sorted_samples(inputs: greedy.Inputs) -> Tensor:
    """Return the samples at even steps along the first principal component (thesis figure 7.14), ``(width, n)``."""
    count = shards.total(len(inputs), inputs.device)
    if inputs.width > count:
        raise LayerwiseError(
            f"{inputs.name}: Sorted PCA takes {inputs.width} samples as weights, and there are {count}: "
            "use a smaller width, or projection random"
        )
    gram = Gram(inputs.fan_in, device=inputs.device)
    for rows, _ in inputs.rows():
        gram.add(rows)
    _, vectors = principal(shards.gathered(gram))
    if not vectors.shape[1]:
        raise LayerwiseError(f"{inputs.name}: its inputs are all zero: check the layers and the data before")
    along = vectors.new_zeros(count)
    along[shards.rank() :: shards.size()] = torch.cat([rows.flatten(1) @ vectors[:, 0] for rows, _ in inputs.rows()])
    shards.add(along)
    step = torch.arange(inputs.width, device=along.device) * (count / inputs.width)
    picked = along.argsort(stable=True)[step.round().long().clamp(max=count - 1)]
    mine = picked % shards.size() == shards.rank()
    samples = inputs.x.new_zeros(inputs.width, inputs.fan_in)
    samples[mine] = inputs.x.flatten(1)[picked[mine] // shards.size()]
    shards.add(samples)
    return samples


def masked(weight: Tensor, shape: tuple[int, ...], least: int, generator: torch.Generator) -> Tensor:
    """Return images ``(width, C H W)``, each cut to a rectangle drawn at random and to unit length.

    Parameters
    ----------
    least
        Smallest side of a rectangle; sides are uniform from there up to the whole, and so are places.
    """
    width, (channels, height, breadth) = len(weight), shape
    fields = torch.ones(width, 1, height, breadth, dtype=torch.bool)
    for axis, side in ((2, height), (3, breadth)):
        size = torch.randint(least, side + 1, (width,), generator=generator)
        start = (torch.rand(width, generator=generator) * (side - size + 1)).long()
        place = torch.arange(side)
        inside = (place >= start[:, None]) & (place < (start + size)[:, None])
        fields &= inside.reshape(width, 1, *((side, 1) if axis == 2 else (1, side)))
    cut = weight * fields.expand(-1, channels, -1, -1).flatten(1).to(weight.device)
    return torch.nn.functional.normalize(cut, dim=1)
