"""The memory of a training step on fake tensors, against sums by hand and against the allocator."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerwise.errors import LayerwiseError
from layerwise.gradient import memory
from layerwise.layers import zoo
from layerwise.layers.words import parse


def convolutions() -> list[nn.Module]:
    return [
        nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(32 * 8 * 8, 10)),
    ]


def allocated(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    """Return the most bytes that the CPU's allocator had out at once in a step, beside what stood before."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        nn.functional.cross_entropy(module(x), y).backward()
    now = most = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def test_a_linear_layer_takes_what_it_takes_by_hand():
    found = memory.step(nn.Linear(1024, 256, bias=False), (1024,), 64)
    weight = 4 * 1024 * 256
    assert found.parameters == weight
    assert found.optimiser == 2 * weight
    # The batch, the logarithms of the probabilities, and the loss.
    assert abs(found.saved - 4 * 64 * (1024 + 256)) <= 4 * 64 * 256 + 4096
    assert found.feed == 0
    assert found.peak >= 4 * weight  # with its gradient


@pytest.mark.parametrize("batch", [16, 64])
def test_a_step_takes_what_the_allocator_says(batch):
    module = nn.Sequential(*convolutions()).train()
    x, y = torch.randn(batch, 3, 32, 32), torch.zeros(batch, dtype=torch.long)
    found = memory.step(module, (3, 32, 32), batch)
    real = allocated(module, x, y)
    counted = found.peak - found.parameters - found.optimiser - 4 * x.numel() - 8 * batch
    assert counted == pytest.approx(real, rel=0.05)


def test_a_view_and_a_shared_weight_count_once():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(128, 128, bias=False)
            self.other = nn.Linear(128, 128, bias=False)
            self.other.weight = self.one.weight

        def forward(self, x):
            return self.other(self.one(x).view(-1, 128).reshape(-1, 128))

    assert memory.step(Twice(), (128,), 32).parameters == 4 * 128 * 128


def test_the_optimisers_differ_by_their_states():
    steps = {name: memory.step(nn.Linear(512, 512), (512,), 8, optimiser=name) for name in ("sgd", "adamw")}
    assert steps["adamw"].optimiser == 2 * steps["sgd"].optimiser


def fed(frozen: list[nn.Module], x: torch.Tensor, chunk: int) -> int:
    """Return the most bytes that are alive while frozen layers run in chunks, the batch among them."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), memory._Live() as live, torch.no_grad():
        twins = [memory._twin(layer).eval() for layer in frozen]
        held = live.now
        z = torch.empty(x.shape)
        live.most = live.now
        parts = []
        for rows in z.split(chunk):
            for layer in twins:
                rows = layer(rows)
            parts.append(rows)
        torch.cat(parts) if len(parts) > 1 else parts[0]
        return live.most - held


@pytest.mark.parametrize("chunk", [8, 16, 64])
def test_frozen_layers_in_one_pass_take_what_they_take_one_by_one(chunk):
    frozen, x = convolutions(), torch.empty(64, 3, 32, 32)
    found = memory.feeds(frozen, (3, 32, 32), 64, chunk)
    assert found[0] == memory.NONE
    for count in (1, 2, 3):
        assert found[count].peak == fed(frozen[:count], x, chunk)
    assert found[3].parameters > found[2].parameters > found[1].parameters > 0


def test_chunks_make_frozen_layers_smaller_and_they_save_nothing():
    one, two, head = convolutions()
    whole, parts = (memory.feeds([one], (3, 32, 32), 64, chunk)[1] for chunk in (64, 8))
    assert parts.peak < whole.peak / 1.5
    alone = memory.step(nn.Sequential(two, head), (16, 16, 16), 64)
    behind = memory.step(nn.Sequential(two, head), (16, 16, 16), 64, feed=parts, images=3 * 32 * 32)
    assert behind.saved - alone.saved == 4 * 64 * 3 * 32 * 32  # the images, no map of the frozen layer
    assert behind.parameters - alone.parameters == parts.parameters


def test_counting_leaves_the_model_as_it_was():
    module = nn.Sequential(*convolutions()).eval()
    before = {n: w.clone() for n, w in module.state_dict().items()}
    memory.step(module, (3, 32, 32), 8)
    assert not module.training
    assert all(torch.equal(w, module.state_dict()[n]) for n, w in before.items())
    assert all(w.grad is None for w in module.parameters())


def test_an_optimiser_that_is_not_known():
    with pytest.raises(LayerwiseError, match="adamw, adam, sgd"):
        memory.step(nn.Linear(2, 2), (2,), 2, optimiser="lion")


def test_frozen_blocks_that_torch_fx_made_hold_their_own_parameters_and_no_others():
    blocks = zoo.run(parse("torchvision shufflenet_v2_x0_5"), (3, 32, 32), 10)
    tensors = [[*block.module.parameters(), *block.module.buffers()] for block in blocks]
    sizes = [sum(-(-w.numel() * w.element_size() // 512) * 512 for w in each) for each in tensors]
    found = memory.feeds([block.module for block in blocks], (3, 32, 32), 16, 8)
    assert [feed.parameters for feed in found] == [sum(sizes[:n]) for n in range(len(blocks) + 1)]
