"""Augmented batches: each image becomes what its augmentation may make of it, by the seed alone."""

from __future__ import annotations

import pytest
import torch

from layerwise.contract import Split
from layerwise.gradient.augment import AUGMENTATIONS, Augmented
from layerwise.gradient.batches import Batches

X = torch.arange(1, 1 + 64 * 2 * 16 * 16).reshape(64, 2, 16, 16).float()
PAD = 2  # of 16 pixels


def augmented(name: str) -> torch.Tensor:
    return AUGMENTATIONS[name](X, torch.Generator().manual_seed(0))


def test_a_flip_is_the_image_or_its_mirror():
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(augmented("flip"), X, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(augmented("flip"), X, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_crop_is_the_image_shifted():
    shifts = set()
    for new, old in zip(augmented("crop"), X, strict=True):
        padded = torch.nn.functional.pad(old, [PAD] * 4)
        found = [
            (down, right)
            for down in range(2 * PAD + 1)
            for right in range(2 * PAD + 1)
            if torch.equal(new, padded[:, down : down + 16, right : right + 16])
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert {down for down, _ in shifts} == {right for _, right in shifts} == set(range(2 * PAD + 1))


def test_cutout_takes_a_square_of_all_channels_away():
    for new, old in zip(augmented("cutout"), X, strict=True):
        hole = new == 0
        assert torch.equal(new[~hole], old[~hole])
        assert torch.equal(hole[0], hole[1])
        rows, columns = hole[0].any(1), hole[0].any(0)
        assert torch.equal(hole[0], rows[:, None] & columns)
        assert 4 <= int(rows.sum()) <= 8
        assert 4 <= int(columns.sum()) <= 8


@pytest.mark.parametrize("names", [("flip",), ("crop", "flip", "cutout")])
def test_batches_are_augmented_by_their_generator(names):
    split, sizes = Split(X, torch.arange(64)), [16] * 4
    first, again = (Augmented(split, sizes, 7, names) for _ in range(2))
    one, other = list(first), list(first)
    assert not torch.equal(one[0][0], other[0][0])
    list(again)
    for (x, t), (x_again, t_again) in zip(other, again, strict=True):
        assert torch.equal(x, x_again)
        assert torch.equal(t, t_again)


def test_none_are_the_batches_as_they_are():
    split, sizes = Split(X, torch.arange(64)), [16] * 4
    for (x, t), (mine, own) in zip(Batches(split, sizes, 7), Augmented(split, sizes, 7, ()), strict=True):
        assert torch.equal(x, mine)
        assert torch.equal(t, own)
