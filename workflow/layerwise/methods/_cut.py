"""Where a network is cut into partitions that train at once: so that the slowest one is as fast as can be.

A partition's step takes as long as the forward and backward passes of its blocks and of its decision block, and all go
at the pace of the slowest (thesis section 6.8.3). Costs are counted in floating-point operations, which are the same on
every machine, or measured.
"""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from layerwise.contract import NO_HOOKS, Hooks
from layerwise.errors import LayerwiseError
from layerwise.gradient import partners
from layerwise.gradient.losses import loss_of
from layerwise.layers import zoo
from layerwise.methods._inputs import Samples
from layerwise.methods._windows import Builder

WARM, STEPS = 2, 3  # steps of a block before, and while, it is timed


def balanced(
    costs: Sequence[float], exits: Sequence[float], partitions: int, teams: Sequence[int] = ()
) -> tuple[int, ...]:
    """Return the cut into contiguous partitions whose dearest one is the cheapest, by dynamic programming.

    Parameters
    ----------
    costs
        Of each block.
    exits
        Of a decision block behind each block; the last partition takes none.
    partitions
        From 1 to the number of blocks.
    teams
        Processes that share the cost of each partition; one each, if not given.

    Returns
    -------
    The number of blocks before each partition but the first. Of several cuts the one with the fewest blocks below,
    from the last partition down.
    """
    teams = teams or [1] * partitions
    before, blocks = [0.0, *itertools.accumulate(costs)], len(costs)

    def stage(i: int, j: int) -> float:
        return before[j] - before[i] + (exits[j - 1] if j < blocks else 0.0)

    # steps[k][j]: the dearest of k + 1 partitions that hold the first j blocks, and where the last of them begins.
    steps = [[(inf, 0), *((stage(0, j) / teams[0], 0) for j in range(1, blocks + 1))]]
    for team in teams[1:]:
        below = steps[-1]
        best = [min((max(below[i][0], stage(i, j) / team), i) for i in range(j)) for j in range(1, blocks + 1)]
        steps.append([(inf, 0), *best])
    cut: list[int] = []
    at = blocks
    for step in reversed(steps):
        at = step[at][1]
        cut.append(at)
    return tuple(reversed(cut[:-1]))


def stages(
    costs: Sequence[float], exits: Sequence[float], cut: Sequence[int], teams: Sequence[int] = ()
) -> list[float]:
    """Return what each partition of a cut costs one of the processes that share it: one each, if not given."""
    teams = teams or [1] * (len(cut) + 1)
    ends = [*cut, len(costs)]
    begins = [0, *cut]
    last = [exits[end - 1] if end < len(costs) else 0.0 for end in ends]
    return [(sum(costs[i:j]) + more) / n for i, j, more, n in zip(begins, ends, last, teams, strict=True)]


def imbalance(costs: Sequence[float]) -> float:
    """Return how much longer the dearest takes than the mean: 0 where all take the same."""
    return max(costs) * len(costs) / sum(costs) - 1 if sum(costs) > 0 else 0.0


def counted(module: nn.Module, z: Tensor) -> tuple[float, Tensor]:
    """Return the operations of a forward and backward pass of a module in training, and what it gives; on fake tensors.

    Raises
    ------
    LayerwiseError
        For layers that go by numbers, which fake tensors do not have.
    """
    twin = copy.deepcopy(module).to("meta").train()
    start = z.detach().to("meta").requires_grad_(z.requires_grad)
    try:
        with FlopCounterMode(display=False) as counter:
            out = _step(twin, start)
    except zoo.NO_RUN as error:
        said = " ".join(str(error).split())[:120]
        raise LayerwiseError(f"method 'local': a block's operations cannot be counted ({said}): give the cut") from None
    return float(counter.get_total_flops()), out


def measured(module: nn.Module, z: Tensor) -> tuple[float, Tensor]:
    """Return the seconds of a forward and backward pass of a module in training, and what it gives."""
    twin, seconds = copy.deepcopy(module).to(z.device).train(), []
    for _ in range(WARM + STEPS):
        begin = _now(z.device)
        out = _step(twin, z)
        seconds.append(_now(z.device) - begin)
    return min(seconds[WARM:]), out


@torch.enable_grad()
def _step(module: nn.Module, z: Tensor) -> Tensor:
    """Run a module forward and backward; returns what it gives, which wants a gradient as inputs of blocks above do."""
    out = module(z.clone())  # a layer may overwrite its input
    out.sum().backward()
    return out.detach().requires_grad_()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def costs(
    blocks: Sequence[nn.Module], decision: Callable[[int, Tensor], nn.Module | None], z: Tensor, how: Callable
) -> tuple[list[float], list[float], list[int]]:
    """Return what each block costs, the decision block behind each, and the bytes of a batch that each gives.

    Parameters
    ----------
    decision
        Makes the decision block behind so many blocks, which give a batch like the second argument; None without one.
    z
        A batch.
    how
        `counted` or `measured`.
    """
    own, exits, sizes = [], [], []
    for number, block in enumerate(blocks, 1):
        cost, z = how(block, z)
        own.append(cost)
        sizes.append(z.numel() * z.element_size())
        end = decision(number, z) if number < len(blocks) else None
        exits.append(how(end, z)[0] if end is not None else 0.0)
    return own, exits, sizes


def plan(
    module: nn.Sequential,
    samples: Samples,
    options: Any,
    seed: int,
    hooks: Hooks = NO_HOOKS,
    group: partners.Group | None = None,
) -> dict[str, Any]:
    """Return where a network is cut, and what the partitions cost; a cut that was measured is that of the first run.

    Raises
    ------
    LayerwiseError
        Where there are more partitions than blocks below the head, or the cut is none of so many partitions.
    """
    loss, targets = loss_of(options.loss, samples.task, samples.sample.dtype)
    builder = Builder(module, samples, options, seed, loss, targets, nearest=True, cut=())
    body, given = builder.body, options.cut if isinstance(options.cut, tuple) else None
    if options.partitions > body:
        raise LayerwiseError(
            f"method 'local': {options.partitions} partitions, and {body} blocks lie below the head: ask for fewer"
        )
    if given is not None and given[-1] >= body:
        raise LayerwiseError(
            f"method 'local': option 'cut' is {list(given)}: the blocks below the head end at {body}; cut below"
        )
    measures = options.cut == "measured"
    how = measured if measures else counted
    if measures:
        saved = hooks.named("cut").load()
        known = [saved and saved[1]] if group is None else group.told(saved and saved[1])
        if earlier := next(filter(None, known), None):
            return earlier
    blocks = [nn.Sequential(*block) for block in builder.blocks[:body]]
    blocks[-1] = nn.Sequential(*blocks[-1], *(layer for block in builder.blocks[body:] for layer in block))

    def decision(number: int, z: Tensor) -> nn.Module | None:
        if not options.decision:
            return None  # it is searched for once the cut is known
        return builder.decision(number, [layer for block in blocks[:number] for layer in block], [])[0]

    z = samples.sample.expand(options.batch, *samples.shape)
    with torch.random.fork_rng(devices=[]):
        try:
            own, exits, sizes = costs(blocks, decision, z, how)
        except LayerwiseError:
            if given is None:
                raise
            # Layers that go by numbers: the cut is given, and nothing is foreseen.
            own, exits, sizes = [0.0] * body, [0.0] * body, [0] * body
    cut = given or balanced(own, exits, options.partitions, options.teams)
    dear = stages(own, exits, cut, options.teams)
    found = {"cut": list(cut), "cut_by": "given" if given else options.cut, "costs": dear}
    found |= {"block_costs": own, "exit_costs": exits, "block_bytes": sizes}
    found["block_parameters"] = [sum(p.numel() for p in block.parameters()) for block in blocks]
    found |= {"allocation": list(options.allocation)} if options.allocation else {}
    found["imbalance_forecast"] = round(imbalance(dear), 4)
    if measures:
        found = group.told(found)[0] if group is not None else found
        hooks.named("cut").save({}, found)
    return found
