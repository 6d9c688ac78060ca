"""Whether memory holds what a step is about to make."""

from __future__ import annotations

import os

import torch

from layerwise.errors import LayerwiseError


def demand_room(numbers: int, device: torch.device, name: str) -> None:
    """Refuse, with the sizes, a step that holds so many float64 numbers where memory cannot."""
    if not has_room(numbers, device):
        room = _room(device)
        raise LayerwiseError(
            f"{name}: its fit needs {8 * numbers / 2**30:.0f} GiB and the {device.type} has {room / 2**30:.0f} GiB: "
            "pool the features, use fewer filters, or fewer samples"
        )


def has_room(numbers: int, device: torch.device) -> bool:
    """Tell whether a machine's memory could hold so many float64 numbers."""
    return 8 * numbers <= _room(device)


def _room(device: torch.device) -> int:
    """Return the bytes that a device has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
