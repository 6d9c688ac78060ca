"""What a segment is fitted on: stored, held or streamed through frozen segments, the numbers are the same."""

from __future__ import annotations

import pytest
import torch

from layerwise import store
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.methods import dmn, patches, pca, platonic, random, ridge
from layerwise.run import source

CPU = torch.device("cpu")
N = 700
CONV, HEAD = ("conv 3 5", "relu"), ("dense outputs",)
FITS = {
    "dmn": (dmn, dmn.Options(count=5), CONV),
    "dmn of a fraction": (dmn, dmn.Options(fraction=0.3, count=5), CONV),
    "pca": (pca, pca.Options(whiten=0.1), CONV),
    "patches": (patches, patches.Options(samples=200), CONV),
    "random": (random, random.Options(), (*CONV, "flatten", "batchnorm")),
    "ridge": (ridge, ridge.Options(), HEAD),
    "ridge iterative": (ridge, ridge.Options(form="iterative", strengths=(0.01,)), HEAD),
    "ridge by validation": (ridge, ridge.Options(select="valid"), HEAD),
    "platonic": (platonic, platonic.Options(solver="ridge", dtype="float32"), ("dense 20", "relu", *HEAD)),
    "platonic pca": (platonic, platonic.Options(solver="ridge", projection="pca", ema=0.2), ("dense 9", "relu", *HEAD)),
    "sorted": (platonic, platonic.Options(solver="ridge", projection="sorted"), ("dense 20", "relu", *HEAD)),
    "differences": (platonic, platonic.Options(solver="ridge", projection="differences"), ("dense 9", "relu", *HEAD)),
}
# Equal up to rounding alone: a sum over all samples at once, and second layers, which other batches reach.
ROUNDS = {"ridge iterative", "ridge by validation", "random", "platonic", "platonic pca", "sorted", "differences"}


@pytest.fixture
def images() -> Split:
    draw = torch.Generator().manual_seed(0)
    return Split(torch.rand(N, 2, 9, 9, generator=draw), torch.arange(N) % 3)


@pytest.fixture
def frozen() -> torch.nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return layers.build(("conv 3 6", "relu", "maxpool 2"), (2, 9, 9), 3)[0]


def fit(name, train, valid):
    method, options, words = FITS[name]
    segment = Segment(words, train.shape, 3)
    features = Features(train, valid, Task("onehot", 3, ("a", "b", "c")))
    return method.fit(segment, features, options, seed=3, device=CPU).module.state_dict()


@pytest.mark.parametrize("name", FITS)
def test_a_fit_on_a_stream_is_that_on_the_whole(name, images, frozen, monkeypatch):
    """And nobody asks a stream for all samples at once, so that batches bound the memory."""
    valid = source.held(source.Through(images.rows(torch.arange(90)), frozen, CPU))
    whole = fit(name, source.held(source.Through(images, frozen, CPU)), valid)
    monkeypatch.setitem(source.HELD, "cpu", 0)
    stream = source.Through(images, frozen, CPU)
    assert stream.streams
    assert source.held(stream) is stream

    def asked(self):
        raise AssertionError("all samples at once")

    monkeypatch.setattr(source.Through, "x", property(asked))
    streamed = fit(name, stream, valid)
    for key, value in whole.items():
        if name in ROUNDS:
            torch.testing.assert_close(streamed[key], value, rtol=1e-3, atol=1e-5)
        else:
            assert torch.equal(streamed[key], value), key


def test_segments_run_over_the_batches_that_they_run_over_alone(images, frozen):
    """One after the other through two segments gives the bytes of one whole after the other."""
    second = layers.build(("conv 2 4", "tanh"), (6, 3, 3), 3)[0]
    first = source.Through(images, frozen, CPU)
    through = source.Through(first, second, CPU)
    alone = layers.apply(second, layers.apply(frozen, images.x))
    assert torch.equal(through.x, alone)
    assert (through.shape, through.dtype, len(through)) == ((4, 2, 2), torch.float32, N)
    assert torch.equal(torch.cat(list(source.Through(first, second, CPU).batches())), alone)


def test_a_checkpoint_is_read_whole_or_in_batches(images, frozen, tmp_path, monkeypatch):
    path = tmp_path / "train.safetensors"
    store.write_tensors(path, {"x": images.x})
    stored = source.Stored(path, images.y)
    assert (stored.shape, stored.dtype, stored.streams) == ((2, 9, 9), torch.float32, False)
    assert torch.equal(stored.x, images.x)
    monkeypatch.setitem(source.HELD, "cpu", 0)
    monkeypatch.setattr(source, "ROWS", 64)
    stored = source.Stored(path, images.y)
    assert stored.streams
    assert [len(batch) for batch in stored.batches()] == [64] * 10 + [60]
    behind = source.Through(stored, frozen, CPU)
    assert torch.equal(torch.cat(list(behind.batches())), source.Through(images, frozen, CPU).x)
    with pytest.raises(LayerwiseError, match=r"train\.safetensors: 700 samples where the data set has 699; delete it"):
        source.Stored(path, images.y[:-1])


@pytest.mark.parametrize("sizes", [[5], [2, 3, 1], [7, 7, 7], [1] * 9, [4, 8, 3], []])
@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_batches_are_cut_anew_as_the_whole_would_be(sizes, size):
    whole = torch.arange(sum(sizes))
    cut = list(layers.rebatched(iter(whole.split(sizes)) if sizes else iter(()), size))
    assert [part.tolist() for part in cut] == [part.tolist() for part in whole.split(size) if len(part)]


def test_no_samples_have_a_shape_too(images, frozen):
    none = source.Through(images.rows(torch.arange(0)), frozen, CPU)
    assert none.x.shape == (0, 6, 3, 3)
