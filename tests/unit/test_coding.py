"""Weights as bytes and back: half a bin, the bits that are sent, entropy, and Huffman's code beside an optimal one."""

from __future__ import annotations

import heapq
from math import log2

import numpy as np
import pytest
import torch

from layerwise.coding import bins, huffman
from layerwise.coding.coders import Float32, coder


def weights(*shape: int, seed: int = 0, tail: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(*shape, generator=generator)
    return w * (1 + tail * torch.rand(*shape, generator=generator) ** 8)


def optimal_bits(symbols: np.ndarray) -> int:
    """The bits of the symbols by Huffman's own algorithm, without the codebook."""
    heap = [int(c) for c in np.unique(symbols, return_counts=True)[1]]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_symbols_come_back(bits, count):
    symbols = np.random.default_rng(bits).integers(0, 2**bits, count)
    assert np.array_equal(huffman.unpack(huffman.pack(symbols, bits), count, bits), symbols)


@pytest.mark.parametrize("bits", range(2, 9))
def test_zlib_is_within_one_per_cent_of_an_optimal_huffman_code(bits):
    w = weights(200_000, tail=5)
    symbols = bins._binned(bins.flat_of(w), float(w.min()), float(w.max()), bits)
    sent = 8 * len(huffman.pack(symbols, bits))
    assert optimal_bits(symbols) <= sent <= 1.01 * optimal_bits(symbols)


def test_below_the_first_eight_bits_each_costs_one():
    w = weights(100_000)
    eight, nine, ten = (8 * len(bins.encode(w, n)) / w.numel() for n in (8, 9, 10))
    assert nine - eight == pytest.approx(1, abs=0.001)
    assert ten - eight == pytest.approx(2, abs=0.001)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", range(1, 17))
def test_weights_come_back_within_half_a_bin(bits, dtype):
    w = weights(70, 30).to(dtype)
    back = bins.decode(bins.encode(w, bits), w.numel())
    width = (float(w.max()) - float(w.min())) / 2**bits
    assert np.abs(back - bins.flat_of(w)).max() <= width / 2 * (1 + 1e-9)
    places = (back - float(w.min())) / width
    assert np.abs(places % 1 - 0.5).max() < 1e-6  # the centres of the bins


@pytest.mark.parametrize("value", [0.0, -3.25, 1e-30])
@pytest.mark.parametrize("shape", [(1, 1), (4, 5)])
def test_weights_that_are_the_same_need_no_bits(value, shape):
    w = torch.full(shape, value)
    data = bins.encode(w, 7)
    assert bins.bits_of(data) == 0
    assert len(data) == bins.HEAD.size
    assert torch.equal(torch.from_numpy(bins.decode(data, w.numel())).float().reshape(shape), w)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        bins.encode(torch.tensor([1.0, value]), 4)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_bits_sent_lie_between_entropy_and_one_more(bits):
    w = weights(300, 300)
    symbols = bins._binned(bins.flat_of(w), float(w.min()), float(w.max()), bits)
    sent, least = 8 * len(bins.encode(w, bits)) / w.numel(), huffman.entropy(symbols)
    assert 0 <= least <= log2(2**bits)
    assert least <= sent <= least + 1 + 8 * 600 / w.numel()  # with codebooks


def test_the_entropy_is_that_of_the_histogram():
    counts = [5, 3, 2, 1]
    expected = -sum(c / 11 * log2(c / 11) for c in counts)
    assert huffman.entropy(np.repeat([7, 0, 3, 9], counts)) == pytest.approx(expected)
    assert huffman.entropy(np.zeros(9, int)) == 0.0


def test_a_sample_tells_the_entropy_and_a_small_layer_is_counted_whole():
    w = weights(400, 400)
    draws = [bins.entropy(w, 4, 0.03, torch.Generator().manual_seed(i)) for i in range(5)]
    whole = bins.entropy(w, 4, 1.0, torch.Generator())
    assert draws == pytest.approx([whole] * 5, abs=0.05)
    assert len(set(draws)) > 1
    small = weights(16, 16)
    first, second = (bins.entropy(small, 4, 0.03, torch.Generator().manual_seed(i)) for i in range(2))
    assert first == second
    finer = bins.entropy(w, 7, 1.0, torch.Generator())
    assert finer - whole == pytest.approx(3, abs=0.1)  # M up by K adds K bits (thesis section 3.5)


@pytest.mark.parametrize(
    ("entropy", "floor", "bits"), [(1.49, 5, 6), (1.5, 5, 7), (2.5, 5, 8), (0, 10, 10), (4, 16, 16)]
)
def test_bits_are_the_nearest_whole_number(entropy, floor, bits):
    assert bins.bits_for(entropy, floor) == bits


WORDS = ["float32", "entropy 5", "entropy 2 of 8", "fixed 8", "groups 4", "groups 3 of 32", "float8 4", "float8 5"]
WORDS += ["top 0.1", "top 1", "rank 3", "rank 1000"]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("shape", [(1, 1), (13, 7), (60, 40), (6, 3, 5, 5)])
def test_every_coder_sends_what_comes_back(words, shape):
    own, w = coder(words), weights(*shape)
    coded = own.encode(w, bins.entropy(w, own.estimate, 0.03, torch.Generator()))
    back = own.decode(coded.data, w.shape)
    assert back.shape == w.shape
    assert back.isfinite().all()
    error, most = float((back - w).abs().max()), float(w.abs().max())
    limit = {"float32": 0, "top 1": 0, "rank 1000": 0, "float8 4": 0.07, "float8 5": 0.13, "groups 4": 0.08}
    limit |= {"groups 3 of 32": 0.17, "fixed 8": 0.01, "entropy 5": 0.05, "entropy 2 of 8": 0.5}
    assert error <= limit.get(words, 1) * most + 1e-12
    assert torch.equal(own.decode(own.encode(torch.zeros(w.shape), 0.0).data, w.shape), torch.zeros(w.shape).double())


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("size", [1e-44, 1e-40, 1e-30])
def test_the_smallest_numbers_come_back_as_numbers(words, size):
    w = (weights(4, 3).double() * size).float()
    back = coder(words).decode(coder(words).encode(w, 0.0).data, w.shape)
    assert back.isfinite().all()


def test_a_peer_keeps_the_largest_or_the_rank():
    w = weights(60, 40)
    kept = coder("top 0.25").decode(coder("top 0.25").encode(w, 0).data, w.shape)
    assert int((kept != 0).sum()) == 600
    assert float(w[kept == 0].abs().max()) <= float(w[kept != 0].abs().min())
    low = coder("rank 3").decode(coder("rank 3").encode(w, 0).data, w.shape)
    u, s, v = torch.linalg.svd(w.double())
    torch.testing.assert_close(low, u[:, :3] * s[:3] @ v[:3], rtol=1e-5, atol=1e-5)


def test_float64_is_sent_whole():
    w = weights(3, 4).double() / 3
    assert torch.equal(Float32().decode(Float32().encode(w, 0).data, w.shape), w)
