"""Whether memory holds what a step is about to make."""

from __future__ import annotations

import os

import torch

from layerwise.errors import LayerwiseError


def demand_room(numbers: int, device: torch.device, name: str) -> None:
    """Refuse, with the sizes, a step that holds so many float64 numbers where memory cannot."""
    if device.type == "cuda":
        room = torch.cuda.mem_get_info(device)[1]
    else:
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 8 * numbers > room:
        raise LayerwiseError(
            f"{name}: its fit needs {8 * numbers / 2**30:.0f} GiB and the {device.type} has {room / 2**30:.0f} GiB: "
            "pool the features, use fewer filters, or fewer samples"
        )
