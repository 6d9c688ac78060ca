"""Windows of a network trained in turn: from the bottom up or in rounds, saved and resumed, validated, cropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.contract import Hooks
from layerwise.gradient import loop
from layerwise.gradient.losses import loss_of
from layerwise.gradient.validation import Scored, validation
from layerwise.methods import _refits
from layerwise.methods._inputs import Samples
from layerwise.methods._windows import Builder, Window

DROPPED = 0.02  # share of dropped inputs above which batch normalisation takes its statistics anew


class LocalTraining:
    """The windows of a network in training; `options` are those of ``local``.

    Run it with `loop.kept_generators`: dropouts draw from the global generators.

    Parameters
    ----------
    module
        The layers, which end in scores, of the type and on the device of the samples. Weights that want no gradient
        are left as they are.
    cut
        Blocks before each partition but the first, where the windows are partitions that train at once.
    """

    def __init__(
        self, module: nn.Sequential, samples: Samples, options: Any, seed: int, cut: Sequence[int] | None = None
    ) -> None:
        self.module, self.samples, self.options, self.seed = module, samples, options, seed
        loss, targets = loss_of(options.loss, samples.task, samples.sample.dtype)
        self.frozen = {id(weight) for weight in module.parameters() if not weight.requires_grad}
        self.windows = Builder(module, samples, options, seed, loss, targets, cut=cut).windows()

    def run(self, hooks: Hooks) -> None:
        """Train the windows in turn, from where an interrupted run was saved."""
        turns, in_rounds = self._turns(), self.options.schedule != "bottom_up"
        clock, begin = loop.Clock(), 0
        saved = hooks.load()
        if saved is not None:
            begin = saved[1]["turn"]
            self._restore(*saved)
        for turn in range(begin, len(turns)):
            mine = self.windows[turns[turn]]
            if turn:
                torch.manual_seed(self.seed + 104729 * turn)  # of the dropouts of this turn
            self._enter(mine)
            mine.training.epochs = mine.epochs * turns[: turn + 1].count(turns[turn])
            part = loop.part(hooks, saved, self._around(turn))
            saved = None
            mine.training.run(part, clock)
            self._settle(mine)
            if not in_rounds:
                self._validate(mine)
        for mine in self.windows if in_rounds else ():
            self._validate(mine)

    def _turns(self) -> list[int]:
        """Return the numbers of the windows in the order in which they are trained."""
        if self.options.schedule == "bottom_up":
            return list(range(len(self.windows)))
        generator = torch.Generator().manual_seed(self.seed)
        count, random = len(self.windows), self.options.schedule == "random_robin"
        rounds = range(self.options.rounds)
        orders = [torch.randperm(count, generator=generator) if random else torch.arange(count) for _ in rounds]
        return torch.cat(orders).tolist()

    def _enter(self, mine: Window) -> None:
        """Freeze all but a window, and let its batches come from the layers before it."""
        self.module.requires_grad_(False)
        self._learn(*mine.trained, *mine.decision)
        if mine.head is not None:
            mine.head.requires_grad_(False)
        mine.inputs.enter(nn.Sequential(*mine.feed))

    def _learn(self, *parts: nn.Module) -> None:
        for weight in (weight for layer in parts for weight in layer.parameters()):
            weight.requires_grad_(id(weight) not in self.frozen)

    def _settle(self, mine: Window) -> None:
        """Take statistics of batch normalisation anew where inputs were dropped to the end, and refit a ridge head."""
        if mine.dropout is not None and mine.dropout.p > DROPPED:
            _refits.normalise(mine.training.module, mine.inputs.once, mine.dropout)
        if mine.head is not None:
            mine.row["strength"] = _refits.refit(mine.training.module, mine.inputs.once, self.samples.task)
        mine.training.module.eval()
        mine.inputs.leave()

    def _validate(self, mine: Window) -> None:
        """Record how good the network is that ends in a window and its decision block."""
        if self.samples.scored is not None:
            measured = self._validation(mine.network)
            mine.row[measured.column] = measured.measure()

    def _validation(self, network: nn.Module) -> loop.Validation:
        def scored() -> Scored:
            assert self.samples.scored is not None
            return self.samples.scored(network)

        return validation(self.samples.task, scored)

    # ------------------------------------------------------------ an interrupted run

    def _around(self, turn: int) -> loop.State:
        """Return the state of all but the window whose turn it is."""
        tensors = {f"network.{k}": v for k, v in self.module.state_dict().items()}
        for i, other in enumerate(self.windows):
            tensors |= {f"{i}.decision.{k}": v for k, v in other.decision.state_dict().items()}
            if self.options.schedule != "bottom_up" and other.training.history:
                tensors |= {f"{i}.training.{k}": v for k, v in other.training.state().items()}
        histories = [each.training.history for each in self.windows]
        return tensors, {"turn": turn, "rows": [each.row for each in self.windows], "histories": histories}

    def _restore(self, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        for i, other in enumerate(self.windows):
            other.row, history = notes["rows"][i], notes["histories"][i]
            if training := loop.under(f"{i}.training.", tensors):
                other.training.resume(training, {"history": history})
            other.training.history = history
        # Last, for windows that overlap have weights in common.
        self.module.load_state_dict(loop.under("network.", tensors))
        for i, other in enumerate(self.windows):
            other.decision.load_state_dict(loop.under(f"{i}.decision.", tensors))

    # ------------------------------------------------------------ the result

    def best(self) -> Window:
        """Return the window at which the network is cropped: the best one by validation, or the last."""
        if not self.options.crop or self.samples.scored is None:
            return self.windows[-1]
        measured = self._validation(self.module)
        pick = max if measured.more_is_better else min
        return pick(self.windows, key=lambda mine: mine.row[measured.column])

    def record(self) -> dict[str, Any]:
        """Return the rows of the windows, the last block that is kept, and the history, as JSON.

        Its measures are that block, and the share of the whole model's step that the largest window with a decision
        block takes.
        """
        shares = [mine.row["memory_share"] for mine in self.windows if mine.words and "memory_share" in mine.row]
        largest = {"memory_percent": 100 * max(shares)} if shares else {}
        history = [{"window": i, **row} for i, mine in enumerate(self.windows, 1) for row in mine.training.history]
        return {
            "blocks": [mine.row for mine in self.windows],
            "chosen": self.best().last,
            "history": history,
            "epochs": len(history),
            "steps": sum(row.get("steps", len(mine.inputs)) for mine in self.windows for row in mine.training.history),
            "measures": {"peak_block": self.best().last, **largest},
        }

    def network(self) -> tuple[nn.Sequential, int, Sequence[str]]:
        """Return the network that ends in the best window, how many layers it has of the model, and what comes then.

        The last is the words of the decision block.
        """
        mine = self.best()
        module = mine.network.eval()
        self._learn(module)
        return module, len(mine.feed) + len(mine.trained), mine.words
