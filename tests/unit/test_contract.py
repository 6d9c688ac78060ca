"""Tasks and splits."""

import pytest
import torch

from layerwise.contract import Features, Split, Task

ONEHOT = Task("onehot", 3, ("a", "b", "c"))
SIGNS = Task("signs", 1, ("a", "b"))
VALUES = Task("values", 2)


def test_targets_of_classes():
    y = torch.tensor([2, 0, 1])
    assert torch.equal(ONEHOT.targets(y), torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]))
    assert torch.equal(SIGNS.targets(torch.tensor([0, 1, 1])), torch.tensor([[-1.0], [1], [1]]))
    assert ONEHOT.targets(y, torch.float64).dtype == torch.float64


def test_a_class_without_a_sample_keeps_its_column():
    assert ONEHOT.targets(torch.tensor([0, 1])).shape == (2, 3)


def test_targets_of_values_are_the_values():
    y = torch.randn(4, 2)
    assert torch.equal(VALUES.targets(y), y)
    assert VALUES.targets(y, torch.float64).dtype == torch.float64


@pytest.mark.parametrize(("task", "classes"), [(ONEHOT, 3), (SIGNS, 2)])
def test_labels_undo_targets(task, classes):
    y = torch.arange(12) % classes
    found = task.labels(task.targets(y))
    assert torch.equal(found, y)
    assert found.dtype == torch.int64


def test_values_have_no_labels():
    assert not VALUES.classifies
    assert ONEHOT.classifies
    assert SIGNS.classifies
    with pytest.raises(ValueError, match="no labels"):
        VALUES.labels(torch.randn(4, 2))


def test_features_know_the_shape_of_a_sample():
    split = Split(torch.randn(7, 2, 5, 4), torch.zeros(7, dtype=torch.int64))
    features = Features(split, split.rows(torch.tensor([], dtype=torch.int64)), SIGNS, {"digest": "d"})
    assert features.shape == (2, 5, 4)
    assert (len(features.train), len(features.valid)) == (7, 0)
    moved = features.to(torch.device("cpu"))
    assert moved.record == {"digest": "d"}
    assert moved.task is SIGNS


def test_rows_of_a_split():
    split = Split(torch.arange(5.0)[:, None], torch.arange(5))
    some = split.rows(torch.tensor([3, 0]))
    assert some.x.flatten().tolist() == [3, 0]
    assert some.y.tolist() == [3, 0]
