"""The lenses of thesis chapter 5: what each measures, against brute force and numpy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from test_probes import CPU, THREE, data, network
from torch import nn

from layerwise.contract import Dataset, Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers import zoo
from layerwise.layers.words import parse
from layerwise.maths.neighbours import pure_runs
from layerwise.probes import cells, components, rank, redundancy, selections

VALUES = Task("values", 1)


def looked(probe, given=None, of=None, **options) -> pd.DataFrame:
    d = data() if given is None else given
    return probe.look(of or network(), d, probe.Options(**options), seed=0, device=CPU)


def at(depth: int) -> torch.Tensor:
    """What the network of these tests gives at a depth for the training samples."""
    x = data().train.x
    return (x if depth == 0 else layers.apply(network()[: {1: 3, 2: 6, 3: 7}[depth]], x)).flatten(1)


# ---------------------------------------------------------------- rank


def test_stable_ranks_are_those_of_numpy():
    table = looked(rank)
    weights = [m.weight.detach().flatten(1).numpy() for m in network() if hasattr(m, "weight")]
    assert list(table["outputs"]) == [4, 7, 3]
    assert list(table["inputs"]) == [9, 16, 7]
    for row, w in zip(table.itertuples(), weights, strict=True):
        values = np.linalg.svd(w.astype(np.float64), compute_uv=False)
        assert row.largest == pytest.approx(values[0])
        assert row.frobenius == pytest.approx(np.linalg.norm(w))
        assert row.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2)


def test_a_rank_of_one_of_orthogonal_rows_and_of_zeros():
    flat = nn.Linear(5, 3, bias=False)
    for weight, expected in ((torch.ones(3, 5), 1), (torch.eye(3, 5), 3), (torch.zeros(3, 5), 0)):
        with torch.no_grad():
            flat.weight.copy_(weight)
        assert looked(rank, of=nn.Sequential(flat))["stable_rank"].item() == pytest.approx(expected)


def test_blocks_of_a_model_are_depths():
    torch.manual_seed(0)
    model = layers.build(["torchvision vgg11_bn"], (3, 32, 32), 10)[0]
    d = data(shape=(3, 32, 32))
    table = looked(redundancy, d, model, k=(2,), samples=20)
    assert table["stage"].iloc[-1] == "block (output)"
    assert list(table["depth"]) == list(range(len(model) + 1))
    z = layers.apply(model[:3], d.train.x)
    assert table["features"].iloc[3] == z[0].numel()


def test_every_weight_of_a_model_s_blocks_counts_and_no_norm_s():
    torch.manual_seed(0)
    model = nn.Sequential(*(b.module for b in zoo.run(parse("torchvision resnet18 1-2"), (3, 32, 32), 10)))
    table = looked(rank, of=model)
    kernels = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(table["outputs"]) == [len(m.weight) for m in kernels]
    assert table["stable_rank"].between(1, table["outputs"]).all()


# ---------------------------------------------------------------- redundancy


@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("batch", [0, 25])
def test_redundancy_is_the_share_of_runs(itself, batch):
    table = looked(redundancy, k=(1, 2, 3), itself=itself, batch=batch)
    assert list(table["depth"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for row in table.itertuples():
        runs = pure_runs(at(row.depth), data().train.y, batch=batch) + itself
        assert row.redundancy == pytest.approx(100 * (runs >= row.k).double().mean().item())
        assert row.redundancy + row.kept_percent == pytest.approx(100)
    if itself:
        assert (table[table["k"] == 1]["redundancy"] == 100).all()


def test_no_deeper_than_asked():
    assert set(looked(redundancy, depth=0)["depth"]) == {0}
    assert set(looked(redundancy, depth=9)["depth"]) == {0, 1, 2, 3}


# ---------------------------------------------------------------- cells


def test_cells_are_fewer_where_classes_are_apart():
    d = data()
    apart = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    with torch.no_grad():
        apart[1].weight.zero_()
        apart[1].bias.zero_()
    x = d.train.x.clone()
    x.flatten(1)[:, :3] = 50 * nn.functional.one_hot(d.train.y, 3).float()
    with torch.no_grad():
        apart[1].weight[:, :3] = torch.eye(3)
    table = looked(cells, Dataset(type(d.train)(x, d.train.y), d.valid, d.test, d.task, {}), apart)
    assert list(table["cells"]) == [3, 3]
    shares = torch.bincount(d.train.y).double() / 90
    assert table["entropy"].tolist() == pytest.approx([float(-(shares * shares.log2()).sum())] * 2)
    assert list(table["conflicts"]) == [0, 0]
    assert looked(cells)["cells"].iloc[0] > 3


def test_samples_that_a_dead_layer_makes_equal_are_told():
    dead = network()
    with torch.no_grad():
        dead[0].weight.zero_()
        dead[0].bias.fill_(-1)
    assert looked(cells, of=dead)["conflicts"].tolist() == [0, 90, 90, 90]


# ---------------------------------------------------------------- selections of units


def test_entropies_are_those_of_the_selected_classes():
    table = looked(selections)
    y = data().train.y
    for row in table.itertuples():
        chosen = y[at(row.depth)[:, row.unit - 1] > 0]
        counts = torch.bincount(chosen, minlength=3)
        assert [row.class_a, row.class_b, row.class_c] == counts.tolist()
        shares = counts[counts > 0].double() / max(1, len(chosen))
        assert row.dead == (len(chosen) == 0)
        assert row.dead or row.entropy == pytest.approx(float(-(shares * shares.log2()).sum()))
        assert row.selected == pytest.approx(100 * len(chosen) / 90)
    assert table.groupby("depth").size().tolist() == [16, 7, 3]


def test_a_unit_that_selects_nothing_has_no_entropy():
    dead = network()
    with torch.no_grad():
        dead[0].weight[1].zero_()
        dead[0].bias[1] = -1
    table = looked(selections, of=dead)
    first = table[table["depth"] == 1]
    assert first["dead"].tolist() == [0] * 4 + [1] * 4 + [0] * 8  # the four places of the second channel
    assert first["entropy"].isna().tolist() == [bool(d) for d in first["dead"]]


def test_the_first_units_alone_are_listed():
    assert looked(selections, units=2).groupby("depth")["unit"].apply(list).tolist() == [[1, 2]] * 3


def test_two_classes_in_one_column():
    table = looked(selections, data(Task("signs", 1, ("-", "+"))), units=1)
    assert {"class_-", "class_+"} <= set(table)


# ---------------------------------------------------------------- components


def test_places_are_those_of_pca():
    table = looked(components, split="train", classes=0)
    for depth in (0, 1, 2, 3):
        mine = table[table["depth"] == depth]
        peer = PCA(2, svd_solver="full").fit(at(depth).double().numpy())
        expected = peer.transform(at(depth).double().numpy())
        np.testing.assert_allclose(np.abs(mine[["first", "second"]]), np.abs(expected), atol=1e-6)
        assert mine["share"].iloc[0] == pytest.approx(peer.explained_variance_ratio_.sum())


def test_the_first_classes_alone_are_placed():
    table = looked(components, classes=2)
    assert set(table["class"]) == {"a", "b"}
    assert (table.groupby("depth").size() == int((data().test.y < 2).sum())).all()


# ---------------------------------------------------------------- what they refuse


@pytest.mark.parametrize("probe", [redundancy, cells, selections, components])
def test_values_have_no_classes(probe):
    with pytest.raises(LayerwiseError, match="values; name another data set"):
        looked(probe, data(VALUES), network(shape=(1, 6, 6)))


@pytest.mark.parametrize("probe", [redundancy, cells, selections, components])
def test_an_empty_split_is_named(probe):
    with pytest.raises(LayerwiseError, match="the valid split is empty"):
        looked(probe, data(THREE), split="valid")
