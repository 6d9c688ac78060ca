"""The memory by which the bench of partitions gives each way to train its largest batch; nothing is timed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from layerwise.gradient import memory

pytest.importorskip("torch.distributed.pipelining")
sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
import partitions_memory as bench

CUTS = {bench.OURS: 3, "pipes": 3}


def bytes_of(row, batch):
    return bench.step_bytes(row, batch, CUTS)


@pytest.mark.parametrize("seed", range(30))
def test_the_largest_batch_is_that_of_trying_all(seed):
    draw = torch.Generator().manual_seed(seed)
    base, slope, cap, step = (int(torch.randint(1, 400, (), generator=draw)) for _ in range(4))
    step = 1 + step % 16
    fits = [n for n in range(2 * step, bench.MOST + 1, step) if base + slope * n <= 20 * cap]
    assert bench.largest(lambda n: base + slope * n, 20 * cap, step) == max(fits, default=0)


def test_parts_hold_the_whole_network_once():
    whole = bench.joined(bench.network())
    for part in (bench.stage, bench.partition):
        names = [w.shape for rank in range(2) for w in part(3, rank)[0].parameters()]
        left = list(names)
        for w in whole.parameters():
            left.remove(w.shape)
        decision = 0 if part is bench.stage else 2  # weight and bias of the decision block
        assert len(left) == decision
    x = torch.rand(4, *bench.SHAPE).to(memory_format=torch.channels_last)
    below, above = (bench.stage(3, rank)[0].eval() for rank in range(2))
    sent = below(x)
    assert sent.is_contiguous()
    assert sent.shape == (4, *bench.stage(3, 1)[1])
    assert torch.equal(above(sent), whole.eval()(x))


def test_buckets_and_batches_under_way_are_counted():
    whole = memory.step(bench.joined(bench.network()), bench.SHAPE, 16, optimiser="sgd").peak
    gradients = 4 * sum(p.numel() for p in bench.joined(bench.network()).parameters())
    assert bytes_of(bench.ONE, 16) == bytes_of(bench.VIEWS, 32) == whole
    assert bytes_of(bench.DDP, 32) == whole + gradients
    sent = 4 * 32 * bench.numbers(3)
    steps = [memory.step(*bench.partition(3, rank), 32, optimiser="sgd").peak for rank in range(2)]
    assert bytes_of(bench.OURS, 32) == max(steps[0] + 3 * sent, steps[1] + 2 * sent)


def test_pipelines_hold_as_many_micro_batches_as_are_under_way():
    """With as large micro-batches 1F1B holds 2 at most, and GPipe all; more micro-batches cost 1F1B nothing."""
    assert bytes_of("1F1B, 16", 16 * 8) == bytes_of("1F1B, 4", 4 * 8)
    assert bytes_of("1F1B, 4", 32) <= bytes_of("zero bubble, 4", 32) <= bytes_of("GPipe, 4", 32)
    assert bytes_of("naive", 128) < bytes_of("1F1B, 4", 512)  # one of 128 images in place of two
