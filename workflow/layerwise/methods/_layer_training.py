"""The training of one layer by its Gaussian-process loss, and what an interrupted fit of a segment goes on from."""

from __future__ import annotations

import time
import warnings
from itertools import product
from math import inf, isfinite, sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from layerwise.closed.inputs import Inputs, Solution, demand_room
from layerwise.contract import Hooks, Split
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.gradient import optim
from layerwise.layers import build as layers
from layerwise.maths import gaussian_process as gp
from layerwise.methods._wide import Wide, targets

if TYPE_CHECKING:
    from layerwise.methods.dgl import Options

SAVE_SECONDS = 5.0  # between two savings of a long fit
MATRICES = 4  # of the size of the kernel, that a step holds at once, and as many more a layer above
NOISE_SAMPLES = 5000  # of a larger batch, whose root mean square eigenvalue grows with the root of its samples
EVIDENCE_SAMPLES = 500  # of the first mini-batch, that variances or a noise are fitted to


class Progress:
    """What an interrupted fit goes on from: the layers that are finished, and the one at hand half way."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks, self.saved = hooks, time.monotonic()
        self.tensors, self.notes = hooks.load() or ({}, {"records": []})
        self.finished = [
            Solution(self.tensors[f"{i}.weight"], self.tensors[f"{i}.bias"], record)
            for i, record in enumerate(self.notes["records"])
        ]

    def resumed(self) -> tuple[dict[str, Tensor], dict] | None:
        """Return, once, what was saved of the layer at hand."""
        found = (self.tensors, self.notes["now"]) if "now" in self.notes else None
        self.notes = {}
        return found

    def finish(self, solution: Solution) -> Solution:
        self.finished.append(solution)
        return solution

    def save(self, tensors: dict[str, Tensor], now: dict) -> None:
        """Keep the finished layers and the one at hand, every few seconds."""
        if time.monotonic() - self.saved < SAVE_SECONDS:
            return
        for i, solution in enumerate(self.finished):
            assert solution.bias is not None
            tensors |= {f"{i}.weight": solution.weight, f"{i}.bias": solution.bias}
        copies = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        self.hooks.save(copies, {"records": [s.record for s in self.finished], "now": now})
        self.saved = time.monotonic()


class LayerTraining:
    """The layer at hand, trained with every rate and decay that may be chosen."""

    def __init__(self, inputs: Inputs, above: Wide, options: Options, seed: int, state: Progress) -> None:
        self.inputs, self.above, self.options, self.state = inputs, above, options, state
        self.name, self.task = inputs.name, inputs.task
        self.train_split, self.valid = (Split(s.x.flatten(1), s.y) for s in (Split(inputs.x, inputs.y), inputs.valid))
        self.centre = options.centre
        self.sizes = optim.batch_sizes(len(self.train_split), options.batch, least=2)
        self.after = nn.Sequential(*(layers.make(layer, (inputs.width,)) for layer in inputs.following)).to(
            inputs.device
        )
        self.seed = seed + 7919 * inputs.depth
        draw = torch.Generator().manual_seed(self.seed)
        scale = sqrt(2 / inputs.fan_in)
        if options.init == "xavier":
            scale = 5 / 3 * sqrt(2 / (inputs.fan_in + inputs.width))
        weight = scale * torch.randn(inputs.width, inputs.fan_in, generator=draw, dtype=torch.float64)
        bias = options.bias * torch.randn(inputs.width, generator=draw, dtype=torch.float64)
        self.first = [t.to(inputs.device, inputs.dtype) for t in (weight, bias)]
        above.landmarks = options.landmarks
        numbers = MATRICES * (1 + len(above.weights)) * max(self.sizes) * min(max(self.sizes), options.landmarks or inf)
        demand_room(int(numbers) * inputs.dtype.itemsize // 8, inputs.device, self.name)
        self.noise = self._noise()
        self.said_missing = False

    def _noise(self) -> float:
        """Return the noise of the process, or of the bottleneck, from the layer's outputs before training."""
        o = self.options
        if not o.epochs:
            return 0.0
        x, y = self.train_split.x[: self.sizes[0]], self._targets(self.train_split.y[: self.sizes[0]])
        h = self._outputs(x, *self.first)
        if o.objective == "bottleneck":
            return o.width * float(torch.pdist(h[:EVIDENCE_SAMPLES]).median())
        share = 1e-3 if isinstance(o.noise, str) else o.noise
        if "evidence" in (o.variances, o.noise):
            h_, y_ = h[:EVIDENCE_SAMPLES], y[:EVIDENCE_SAMPLES]
            start = gp.noise_of(self.above.kernel(h_), share)
            fitted = self.above.fit(h_, y_, start, variances=o.variances == "evidence")
            if o.noise == "evidence":
                return fitted
        return gp.noise_of(self.above.kernel(h[:NOISE_SAMPLES]), share) * sqrt(max(1.0, len(h) / NOISE_SAMPLES))

    def _targets(self, labels: Tensor) -> Tensor:
        return targets(self.task, labels, self.inputs.dtype, self.centre)

    def _outputs(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.after(nn.functional.linear(x, weight, bias))

    def loss(self, x: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        h = self._outputs(x, weight, bias)
        if self.options.objective == "bottleneck":
            return gp.bottleneck(h, labels, self.noise, self.options.beta)
        found = self.above.leave_one_out(h, self._targets(labels), self.noise)
        return gp.loss(*found, objective=self.options.objective, noise=self.noise)

    def train(self) -> Solution:
        """Return the weights of the rate and decay with the least validation loss."""
        o = self.options
        candidates = list(product(o.lr, o.weight_decay)) if o.epochs else []  # type: ignore[arg-type]
        best: dict[str, Any] = {"valid_loss": inf, "weight": self.first[0], "bias": self.first[1], "history": []}
        kept = self.state.resumed()
        begin = 0
        if kept:
            tensors, now = kept
            begin = now["candidate"]
            if now["best"]:
                best = {**now["best"], "weight": tensors["best.weight"], "bias": tensors["best.bias"]}
        for number in range(begin, len(candidates)):
            run = _Run(self, *candidates[number], number, best)
            if kept and number == begin:
                run.resume(*kept)
            found = run.train()
            if found["valid_loss"] < best["valid_loss"] or len(candidates) == 1:
                best = found
        record = {key: best.get(key) for key in ("lr", "weight_decay", "train_loss")}
        record["valid_loss"] = best["valid_loss"] if isfinite(best["valid_loss"]) else None
        process = {"noise": self.noise, "weight_variances": self.above.weights, "bias_variances": self.above.biases}
        history = [{"layer": self.inputs.depth + 1, **row} for row in best["history"]]
        return Solution(best["weight"], best["bias"], {**record, **process, "history": history})

    @torch.no_grad()
    def validate(self, weight: Tensor, bias: Tensor) -> float:
        """Return the loss on the validation split, in batches of the size of those trained on; infinite without one."""
        if len(self.valid) < 2:
            return inf
        sizes = optim.batch_sizes(len(self.valid), self.options.batch, least=2)
        pairs = zip(self.valid.x.split(sizes), self.valid.y.split(sizes), strict=True)
        return sum(len(x) * float(self.loss(x, y, weight, bias)) for x, y in pairs) / len(self.valid)

    def look_for_missing(self, labels: Tensor) -> None:
        """Warn, once a fit, of a class that a mini-batch has no two samples of: none is predicted from another."""
        if self.said_missing or not self.task.classifies:
            return
        counts = torch.bincount(labels, minlength=len(self.task.classes))
        if int(counts.min()) < 2:
            self.said_missing = True
            name = self.task.classes[int(counts.argmin())]
            text = (
                f"{self.name}: a batch of {len(labels)} has {int(counts.min())} samples of class {name!r}, which then "
            )
            warnings.warn(LayerwiseWarning(text + "cannot be predicted from one another: raise batch"), stacklevel=2)


class _Run:
    """One training of the layer at hand, with one rate and decay."""

    def __init__(self, training: LayerTraining, lr: float, weight_decay: float, number: int, best: dict) -> None:
        self.training, self.lr, self.weight_decay, self.number, self.other = training, lr, weight_decay, number, best
        self.weight, self.bias = (nn.Parameter(t.clone()) for t in training.first)
        self.adam = optim.optimizer("adam", [self.weight, self.bias], lr, weight_decay=weight_decay)
        self.order = torch.Generator().manual_seed(training.seed)
        self.history: list[dict[str, float]] = []
        self.stopped: dict[str, Any] = {}  # the best epoch, under patience

    def train(self) -> dict[str, Any]:
        o = self.training.options
        while len(self.history) < o.epochs and not self._has_stalled():
            self._epoch()
            self.training.state.save(*self._state())
        weight, bias = self.weight.detach(), self.bias.detach()
        if self.stopped:
            weight, bias = self.stopped["weight"], self.stopped["bias"]
        valid = self.history[self.stopped["epoch"] - 1]["valid_loss"] if self.stopped else None
        return {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "train_loss": self.history[-1]["train_loss"],
            "valid_loss": self.training.validate(weight, bias) if valid is None else valid,
            "weight": weight,
            "bias": bias,
            "history": self.history,
        }

    @torch.enable_grad()
    def _epoch(self) -> None:
        training, total = self.training, 0.0
        for x, labels in optim.batches(training.train_split, training.sizes, self.order):
            training.look_for_missing(labels)
            self.adam.zero_grad()
            loss = training.loss(x, labels, self.weight, self.bias)
            loss.backward()
            self.adam.step()
            total += float(loss.detach()) * len(x)
        row = {"epoch": len(self.history) + 1, "lr": self.lr, "train_loss": total / len(training.train_split)}
        if not isfinite(row["train_loss"]):
            raise LayerwiseError(
                f"{training.name}: the training diverged in epoch {row['epoch']} (lr {self.lr:g}); choose a lower lr"
            )
        if training.options.patience:
            row["valid_loss"] = training.validate(self.weight, self.bias)
        self.history.append(row)
        if training.options.patience and row["valid_loss"] <= min(r["valid_loss"] for r in self.history):
            weight, bias = self.weight.detach().clone(), self.bias.detach().clone()
            self.stopped = {"epoch": row["epoch"], "weight": weight, "bias": bias}

    def _has_stalled(self) -> bool:
        patience = self.training.options.patience
        return bool(patience and self.stopped and len(self.history) - self.stopped["epoch"] >= patience)

    def _state(self) -> tuple[dict[str, Tensor], dict]:
        tensors = {"now.weight": self.weight, "now.bias": self.bias, "random.order": self.order.get_state()}
        tensors |= {f"adam.{key}": value for key, value in optim.state_tensors(self.adam).items()}
        now: dict[str, Any] = {"candidate": self.number, "history": self.history, "best": None, "stopped": 0}
        if isfinite(self.other["valid_loss"]):
            tensors |= {"best.weight": self.other["weight"], "best.bias": self.other["bias"]}
            now["best"] = {key: value for key, value in self.other.items() if key not in ("weight", "bias")}
        if self.stopped:
            tensors |= {"stopped.weight": self.stopped["weight"], "stopped.bias": self.stopped["bias"]}
            now["stopped"] = self.stopped["epoch"]
        return tensors, now

    def resume(self, tensors: dict[str, Tensor], now: dict) -> None:
        """Go back to a saved state."""
        with torch.no_grad():
            self.weight.copy_(tensors["now.weight"])
            self.bias.copy_(tensors["now.bias"])
        prefix = "adam."
        kept = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        optim.load_state_tensors(self.adam, kept)
        self.order.set_state(tensors["random.order"].cpu())
        self.history = list(now["history"])
        if now["stopped"]:
            places = {name: tensors[f"stopped.{name}"].to(self.weight.device) for name in ("weight", "bias")}
            self.stopped = {"epoch": now["stopped"], **places}
