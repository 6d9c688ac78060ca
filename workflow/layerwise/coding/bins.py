"""Weights in bins of equal width between the least and the largest, as many as their entropy asks for.

Thesis chapter 3, algorithms 1 and 2. The printed `Quantize` counts from the largest weight and the decoder from the
least; both count from the least here. A weight that is the largest lies in the last bin.
"""

from __future__ import annotations

import struct

import numpy as np
import torch
from torch import Tensor

from layerwise.coding import huffman
from layerwise.coding.huffman import MOST_BITS

HEAD = struct.Struct("<ddB")  # least, largest, bits
LEAST_SAMPLE = 256  # weights: 3 % of a small layer would be a handful, whose entropy jumps from epoch to epoch


def entropy(w: Tensor, bits: int, share: float, generator: torch.Generator) -> float:
    """Return the entropy in bits of the weights in ``2^bits`` bins, estimated from a share of them drawn at random."""
    flat = flat_of(w)
    count = min(len(flat), max(LEAST_SAMPLE, round(share * len(flat))))
    if count == 0:
        return 0.0
    sample = flat[torch.randperm(len(flat), generator=generator)[:count].numpy()] if count < len(flat) else flat
    return huffman.entropy(_binned(sample, float(flat.min()), float(flat.max()), bits))


def bits_for(entropy: float, floor: float) -> int:
    """Return the bits of a weight, N = H + c (thesis section 3.5), as the nearest whole number."""
    return min(MOST_BITS, int(entropy + floor + 0.5))


def encode(w: Tensor, bits: int) -> bytes:
    """Return finite weights of any shape as bytes: the two ends, the number of bits, and the bins by Huffman's code.

    Weights that are all the same need no bins, and no bits.
    """
    flat = flat_of(w)
    if not np.isfinite(flat).all():
        raise ValueError("weights that are not finite cannot be coded")
    low, high = (float(flat.min()), float(flat.max())) if len(flat) else (0.0, 0.0)
    bits = bits if high > low else 0
    head = HEAD.pack(low, high, bits)
    return head + huffman.pack(_binned(flat, low, high, bits), bits) if bits else head


def decode(data: bytes, count: int) -> np.ndarray:
    """Return the centres ``(count,)``, float64, of the bins in which the weights were."""
    low, high, bits = HEAD.unpack_from(data)
    if not bits:
        return np.full(count, (low + high) / 2)
    return low + (huffman.unpack(data[HEAD.size :], count, bits) + 0.5) * ((high - low) / 2**bits)


def bits_of(data: bytes) -> int:
    """Return the bits of a weight without Huffman's code."""
    return int(HEAD.unpack_from(data)[2])


def flat_of(w: Tensor) -> np.ndarray:
    return w.detach().double().cpu().reshape(-1).numpy()


def _binned(flat: np.ndarray, low: float, high: float, bits: int) -> np.ndarray:
    if high <= low:
        return np.zeros(len(flat), np.int64)
    return np.clip((flat - low) * (2**bits / (high - low)), 0, 2**bits - 1).astype(np.int64)
