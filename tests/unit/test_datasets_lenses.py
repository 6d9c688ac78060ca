"""The data of thesis chapter 5: waves of a frequency, and the checkerboard in Fourier features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from layerwise.datasets import fourier, toys, waves
from layerwise.maths.neighbours import pure_map

ROOT = Path("nowhere")


def test_points_lie_on_their_side_of_the_wave():
    raw = waves.load(waves.Options(frequency=3, samples=400, test_samples=50), root=ROOT)
    x, y = raw.train
    assert torch.equal(y, (x[:, 1] > torch.sin(3 * torch.pi * x[:, 0]) / 2).long())
    assert x.abs().max() <= 1
    assert (len(x), len(raw.test[0])) == (400, 50)
    assert not torch.equal(x[:50], raw.test[0])
    assert 0.4 < y.double().mean() < 0.6


@pytest.mark.parametrize("more", [{"frequency": (1, 2, 4, 8)}, {"samples": (250, 1000, 4000)}])
def test_cells_grow_with_the_frequency_and_with_the_points(more):
    """Thesis figures 5.11 and 5.12."""
    ((name, numbers),) = more.items()
    drawn = [waves.load(waves.Options(**{name: n}), root=ROOT).train for n in numbers]
    found = [pure_map(*each) for each in drawn]
    cells, entropies = [len(f.centres) for f in found], [f.entropy for f in found]
    assert cells == sorted(set(cells))
    assert entropies == sorted(set(entropies))


def test_fourier_features_are_of_the_points_of_the_board():
    raw = fourier.load(fourier.Options(samples=60, test_samples=20, frequencies=5, side=2), root=ROOT)
    board = toys.load(toys.Options("checkerboard", samples=60, test_samples=20, side=2), root=ROOT)
    assert torch.equal(raw.train[1], board.train[1])
    assert torch.equal(raw.test[1], board.test[1])
    sin, cos = raw.train[0].split(5, dim=1)
    torch.testing.assert_close(sin**2 + cos**2, torch.ones(60, 5))
    near = fourier.load(fourier.Options(samples=60, test_samples=20, frequencies=5, side=1e-4), root=ROOT).train[0]
    angles = torch.linalg.lstsq(board.train[0] * 5e-5, near[:, :5]).solution  # small angles are linear in the points
    assert angles.std() == pytest.approx(2 * torch.pi * 2, rel=0.5)
