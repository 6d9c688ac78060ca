"""Ways to send a tensor of weights, by the words of a study: ``entropy 5``, ``fixed 8``, ``groups 4 of 128``, …

``entropy`` and ``fixed`` are those of thesis chapter 3; the others are what it is held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from layerwise.coding import bins, huffman
from layerwise.coding.words import demand_coder

SHARE = 0.03  # of the weights, from which the entropy is estimated (thesis section 3.8)
ESTIMATE = 4  # bits M of that estimate (thesis section 3.8)


@dataclass(frozen=True)
class Coded:
    """A tensor as it is sent.

    Parameters
    ----------
    data
        All bytes that a receiver needs who knows the coder and the tensor's shape.
    raw
        Bits of the weights without an entropy code.
    """

    data: bytes
    raw: float


class Coder(Protocol):
    """A way to send a tensor. `estimate` is the bits M of the entropy that `encode` is given."""

    @property
    def estimate(self) -> int: ...
    def encode(self, w: Tensor, entropy: float) -> Coded: ...
    def decode(self, data: bytes, shape: torch.Size) -> Tensor:
        """Return what a receiver makes of the bytes: float64, on the CPU."""


@dataclass(frozen=True)
class Float32:
    """The numbers as they are."""

    estimate: int = ESTIMATE

    def encode(self, w: Tensor, entropy: float) -> Coded:
        kind = np.float64 if w.dtype == torch.float64 else np.float32
        return Coded(w.detach().cpu().numpy().astype(kind).tobytes(), 8.0 * kind().itemsize * w.numel())

    def decode(self, data: bytes, shape: torch.Size) -> Tensor:
        kind = np.float64 if len(data) == 8 * shape.numel() else np.float32
        return torch.from_numpy(np.frombuffer(data, kind).astype(np.float64)).reshape(shape)


@dataclass(frozen=True)
class Bins:
    """Bins between the least and the largest weight: of `floor` bits above the entropy, or where fixed of `floor`."""

    floor: int
    fixed: bool = False
    estimate: int = ESTIMATE

    def encode(self, w: Tensor, entropy: float) -> Coded:
        data = bins.encode(w, self.floor if self.fixed else bins.bits_for(entropy, self.floor))
        return Coded(data, float(bins.bits_of(data) * w.numel()))

    def decode(self, data: bytes, shape: torch.Size) -> Tensor:
        return torch.from_numpy(bins.decode(data, shape.numel())).reshape(shape)


@dataclass(frozen=True)
class Groups:
    """Whole numbers of `bits` bits around 0, with a scale (float16) of each group of `size` weights in a row."""

    bits: int
    size: int = 128
    estimate: int = ESTIMATE

    def encode(self, w: Tensor, entropy: float) -> Coded:
        flat, top = bins.flat_of(w), 2 ** (self.bits - 1) - 1
        groups = np.pad(flat, (0, -len(flat) % self.size)).reshape(-1, self.size)
        scales = np.abs(groups).max(axis=1, initial=0) / top
        scales = np.clip(scales, np.finfo(np.float16).smallest_subnormal, 65504).astype(np.float16)
        symbols = np.clip(np.rint(groups / scales[:, None].astype(np.float64)), -top, top).astype(np.int64) + top
        data = scales.tobytes() + huffman.pack(symbols.reshape(-1)[: len(flat)], self.bits)
        return Coded(data, float(self.bits * len(flat) + 16 * len(scales)))

    def decode(self, data: bytes, shape: torch.Size) -> Tensor:
        count, top = shape.numel(), 2 ** (self.bits - 1) - 1
        scales = np.frombuffer(data, np.float16, ceil(count / self.size)).astype(np.float64)
        symbols = huffman.unpack(data[scales.size * 2 :], count, self.bits) - top
        return torch.from_numpy(symbols * np.repeat(scales, self.size)[:count]).reshape(shape)


@dataclass(frozen=True)
class Float8:
    """Floating-point numbers of 8 bits, `exponent` of them the exponent, with one scale a tensor."""

    exponent: int
    estimate: int = ESTIMATE

    @property
    def kind(self) -> torch.dtype:
        return torch.float8_e4m3fn if self.exponent == 4 else torch.float8_e5m2

    def encode(self, w: Tensor, entropy: float) -> Coded:
        flat = torch.from_numpy(bins.flat_of(w))
        most = float(flat.abs().max()) if len(flat) else 0.0
        scale = np.float32(most / torch.finfo(self.kind).max) or np.float32(1)  # of the smallest numbers it is 0
        symbols = (flat / float(scale)).to(self.kind).view(torch.uint8).numpy()
        return Coded(scale.tobytes() + huffman.pack(symbols, 8), 8.0 * len(flat))

    def decode(self, data: bytes, shape: torch.Size) -> Tensor:
        symbols = huffman.unpack(data[4:], shape.numel(), 8).astype(np.uint8)
        scale = float(np.frombuffer(data, np.float32, 1)[0])
        return (torch.from_numpy(symbols).view(self.kind).double() * scale).reshape(shape)


@dataclass(frozen=True)
class Top:
    """The share of the weights that is largest in magnitude, as float32, and which they are; the others are 0."""

    share: float
    estimate: int = ESTIMATE

    def encode(self, w: Tensor, entropy: float) -> Coded:
        flat = bins.flat_of(w)
        kept = np.zeros(len(flat), bool)
        kept[np.argsort(-np.abs(flat), kind="stable")[: round(self.share * len(flat))]] = True
        mask = huffman.pack(np.packbits(kept), 8)
        data = len(mask).to_bytes(8, "little") + mask + flat[kept].astype(np.float32).tobytes()
        return Coded(data, float(len(flat) + 32 * kept.sum()))

    def decode(self, data: bytes, shape: torch.Size) -> Tensor:
        count, size = shape.numel(), int.from_bytes(data[:8], "little")
        packed = huffman.unpack(data[8 : 8 + size], ceil(count / 8), 8).astype(np.uint8)
        flat = np.zeros(count)
        flat[np.unpackbits(packed, count=count).astype(bool)] = np.frombuffer(data[8 + size :], np.float32)
        return torch.from_numpy(flat).reshape(shape)


@dataclass(frozen=True)
class Rank:
    """The best matrix ``(units, inputs)`` of a rank, as two float32 factors; a smaller tensor as it is."""

    rank: int
    estimate: int = ESTIMATE

    def _factors(self, shape: torch.Size) -> tuple[int, int] | None:
        rows, columns = shape[0], shape.numel() // max(1, shape[0])
        return (rows, columns) if self.rank * (rows + columns) < rows * columns else None

    def encode(self, w: Tensor, entropy: float) -> Coded:
        if not (size := self._factors(w.shape)):
            return Coded(Float32().encode(w, entropy).data, 32.0 * w.numel())
        u, s, v = torch.linalg.svd(w.detach().double().cpu().reshape(size), full_matrices=False)
        left, right = u[:, : self.rank] * s[: self.rank], v[: self.rank]
        data = left.float().numpy().tobytes() + right.float().numpy().tobytes()
        return Coded(data, 8.0 * len(data))

    def decode(self, data: bytes, shape: torch.Size) -> Tensor:
        if not (size := self._factors(shape)):
            return Float32().decode(data, shape)
        numbers = torch.from_numpy(np.frombuffer(data, np.float32).astype(np.float64))
        left, right = numbers.split([size[0] * self.rank, self.rank * size[1]])
        return (left.reshape(-1, self.rank) @ right.reshape(self.rank, -1)).reshape(shape)


def coder(words: str) -> Coder:
    """Return the coder that words such as ``entropy 5 of 4`` name; LayerwiseError for others."""
    demand_coder(words, f"a coder is {words!r}: ")
    kind, *numbers = words.replace(" of ", " ").split()
    match kind:
        case "entropy":
            return Bins(int(numbers[0]), estimate=int(numbers[1]) if numbers[1:] else ESTIMATE)
        case "fixed":
            return Bins(int(numbers[0]), fixed=True)
        case "groups":
            return Groups(*map(int, numbers))
        case "float8":
            return Float8(int(numbers[0]))
        case "top":
            return Top(float(numbers[0]))
        case "rank":
            return Rank(int(numbers[0]))
    return Float32()
