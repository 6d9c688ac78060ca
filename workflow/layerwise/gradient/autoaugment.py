"""AutoAugment: each image goes through two operations of a sub-policy that is drawn for it (Cubuk et al. 2019).

Policies, operations and magnitudes are torchvision's. Its own transform draws once a call, which would give a whole
batch one sub-policy, from torch's global generator. Here every image has its own draws, from the batch's generator,
and the images of a batch that get the same operation go through it together, which is three times as fast.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from layerwise.contract import Pixels
from layerwise.errors import LayerwiseError

POLICIES = {"autoaugment": "cifar10", "autoaugment svhn": "svhn"}
BINS = 10  # magnitudes of an operation


class AutoAugment:
    """A policy for the samples of one data set, which become 8-bit images for it and samples again.

    Parameters
    ----------
    name
        One of `POLICIES`.
    pixels
        How the samples came of images.
    """

    def __init__(self, name: str, pixels: Pixels | None) -> None:
        if pixels is None:
            raise LayerwiseError(
                f"option 'augment': {name} takes the pixels of a data set of 8-bit images with 1 or 3 channels, and "
                "these samples are others: leave it out"
            )
        try:
            from torchvision.transforms import v2
        except ImportError:
            raise LayerwiseError(
                f"option 'augment': {name} needs the package torchvision: install it beside torch"
            ) from None
        self.pixels = pixels
        self._transform: Any = v2.AutoAugment(v2.AutoAugmentPolicy(POLICIES[name]))
        self.policies = self._transform._policies

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Augment samples ``(N, C, H, W)``; what no operation changes keeps its values, to the byte."""
        shift, scale = self.pixels.shift, self.pixels.scale
        images = (x * scale + shift).round_().clamp_(0, 255).to(torch.uint8)
        return self.augmented(images, generator).to(x.dtype).sub_(shift).div_(scale)

    def augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augment images ``(N, C, H, W)`` uint8; the result may share their memory."""
        count = len(images)
        chosen = torch.randint(len(self.policies), (count,), generator=generator).tolist()
        chances = torch.rand(count, 2, generator=generator).tolist()
        negative = torch.rand(count, 2, generator=generator).le(0.5).tolist()
        for step in (0, 1):
            groups: dict[tuple[str, float], list[int]] = defaultdict(list)
            for i in range(count):
                operation, probability, level = self.policies[chosen[i]][step]
                if chances[i][step] <= probability:
                    groups[operation, self._magnitude(operation, level, negative[i][step], images)].append(i)
            for (operation, magnitude), members in groups.items():
                rows = torch.tensor(members, device=images.device)
                images[rows] = self._apply(images[rows], operation, magnitude)
        return images

    def _magnitude(self, operation: str, level: int | None, negative: bool, images: Tensor) -> float:
        magnitudes, signed = self._transform._AUGMENTATION_SPACE[operation]
        values = magnitudes(BINS, *images.shape[-2:])
        if values is None:
            return 0.0
        value = float(values[level])
        return -value if signed and negative else value

    def _apply(self, images: Tensor, operation: str, magnitude: float) -> Tensor:
        transform = self._transform
        return transform._apply_image_or_video_transform(
            images, operation, magnitude, interpolation=transform.interpolation, fill=transform._fill
        )
