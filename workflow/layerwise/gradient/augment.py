"""Augmentation of images in the batches of a training, drawn anew in each epoch: flips, shifts, cutout, AutoAugment.

All draws come from the generator of the batches, whose state is saved with a training, so a rerun sees the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from layerwise.contract import Pixels, Split
from layerwise.errors import LayerwiseError
from layerwise.gradient.autoaugment import POLICIES, AutoAugment
from layerwise.gradient.batches import Batches

SHIFT = 4  # pixels at most for images of 32, in proportion for others
HOLE = 0.5  # side of the square that cutout takes away, as a share of the image's (16 of 32 pixels)


def flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    mirrored = torch.rand(len(x), generator=generator).lt(0.5).to(x.device)
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def crop(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `SHIFT` pixels of 32 in both directions; what comes in is zero."""
    n, _, height, width = x.shape
    pad = max(1, round(SHIFT * min(height, width) / 32))
    at = torch.randint(2 * pad + 1, (2, n), generator=generator).to(x.device)
    padded = torch.nn.functional.pad(x, [pad] * 4)
    rows = (at[0, :, None] + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (at[1, :, None] + torch.arange(width, device=x.device))[:, None, None, :]
    images = torch.arange(n, device=x.device)[:, None, None, None]
    channels = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    return padded[images, channels, rows, columns]


def cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Set a square around a place drawn in each image to zero (DeVries and Taylor 2017)."""
    n, _, height, width = x.shape
    half = max(1, round(HOLE * min(height, width) / 2))
    middle = torch.rand(2, n, generator=generator).to(x.device) * torch.tensor([[height], [width]], device=x.device)

    def inside(side: int, at: Tensor) -> Tensor:
        place = torch.arange(side, device=x.device)
        return (place >= at.floor()[:, None] - half) & (place < at.floor()[:, None] + half)

    hole = inside(height, middle[0])[:, None, :, None] & inside(width, middle[1])[:, None, None, :]
    return x.masked_fill(hole, 0.0)


Augmentation = Callable[[Tensor, torch.Generator], Tensor]
AUGMENTATIONS: dict[str, Augmentation] = {"flip": flip, "crop": crop, "cutout": cutout}


class Augmented(Batches):
    """Batches whose images are augmented, each time they are gone through.

    Parameters
    ----------
    names
        Those of `AUGMENTATIONS` and of AutoAugment's policies, in the order in which they are done.
    pixels
        How the samples came of images, for AutoAugment.
    """

    def __init__(
        self, split: Split, sizes: list[int], seed: int, names: Sequence[str], pixels: Pixels | None = None
    ) -> None:
        super().__init__(split, sizes, seed)
        if names and len(split.shape) != 3:
            raise LayerwiseError(f"option 'augment' is for images, not samples of shape {split.shape}")
        self.steps: list[Augmentation] = [
            AutoAugment(name, pixels) if name in POLICIES else AUGMENTATIONS[name] for name in names
        ]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, t in super().__iter__():
            for step in self.steps:
                x = step(x, self.generator)
            yield x, t
