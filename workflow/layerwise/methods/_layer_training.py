"""The training of one layer by its Gaussian-process loss, and what an interrupted fit of a segment goes on from."""

from __future__ import annotations

import warnings
from itertools import product
from math import inf, isfinite, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.closed.inputs import Inputs, Solution
from layerwise.contract import Hooks, Split
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.gradient import loop
from layerwise.gradient.batches import Batches, batch_sizes
from layerwise.gradient.optimisers import optimizer
from layerwise.layers import build as layers
from layerwise.layers.room import demand_room
from layerwise.maths import gaussian_process as gp
from layerwise.methods._wide import Wide, targets

MATRICES = 4  # of the size of the kernel, that a step holds at once, and as many more a layer above
NOISE_SAMPLES = 5000  # of a larger batch, whose root mean square eigenvalue grows with the root of its samples
EVIDENCE_SAMPLES = 500  # of the first mini-batch, that variances or a noise are fitted to


class Progress:
    """The layers of a segment that are finished, and how the one at hand is saved and resumed."""

    def __init__(self, hooks: Hooks) -> None:
        # A probe looks at a network, and here are layers alone.
        self.hooks, self.clock = Hooks(hooks.load, hooks.save), loop.Clock()
        self.saved = hooks.load()
        tensors, notes = self.saved or ({}, {"records": []})
        self.finished = [
            Solution(tensors[f"{i}.weight"], tensors[f"{i}.bias"], record) for i, record in enumerate(notes["records"])
        ]

    def hooks_of_layer(self) -> Hooks:
        """Return the hooks of the layer at hand; the first one asked for is the one that was interrupted."""
        tensors: dict[str, Tensor] = {}
        for i, solution in enumerate(self.finished):
            assert solution.bias is not None
            tensors |= {f"{i}.weight": solution.weight, f"{i}.bias": solution.bias}
        saved, self.saved = self.saved, None
        return loop.part(self.hooks, saved, (tensors, {"records": [s.record for s in self.finished]}))

    def finish(self, solution: Solution) -> Solution:
        self.finished.append(solution)
        return solution


class LayerTraining:
    """The layer at hand, trained with every rate and decay that may be chosen; `options` are those of ``dgl``."""

    def __init__(self, inputs: Inputs, above: Wide, options: Any, seed: int, state: Progress) -> None:
        self.inputs, self.above, self.options, self.state = inputs, above, options, state
        self.name, self.task = inputs.name, inputs.task
        self.train_split, self.valid = (Split(s.x.flatten(1), s.y) for s in (Split(inputs.x, inputs.y), inputs.valid))
        self.centre = options.centre
        self.sizes = batch_sizes(len(self.train_split), options.batch, least=2)
        self.after = nn.Sequential(*(layers.make(layer, (inputs.width,)) for layer in inputs.following)).to(
            inputs.device
        )
        self.seed = seed + 7919 * inputs.depth
        draw = torch.Generator().manual_seed(self.seed)
        scale = sqrt(2 / inputs.fan_in)
        if options.init == "xavier":
            scale = 5 / 3 * sqrt(2 / (inputs.fan_in + inputs.width))
        normal: dict[str, Any] = {"generator": draw, "dtype": torch.float64, "device": "cpu"}
        weight = scale * torch.randn(inputs.width, inputs.fan_in, **normal)
        bias = options.bias * torch.randn(inputs.width, **normal)
        self.first = [t.to(inputs.device, inputs.dtype) for t in (weight, bias)]
        above.landmarks = options.landmarks
        numbers = MATRICES * (1 + len(above.weights)) * max(self.sizes) * min(max(self.sizes), options.landmarks or inf)
        demand_room(int(numbers) * inputs.dtype.itemsize // 8, inputs.device, self.name)
        self.noise = self._noise()
        self.said_missing = False

    def _noise(self) -> float:
        """Return the noise of the process, or of the bottleneck, from the layer's outputs before training.

        LayerwiseError where these do not tell samples apart, or overflow.
        """
        if not self.options.epochs:
            return 0.0
        try:
            noise = self._found_noise()
        except LayerwiseError as error:
            raise LayerwiseError(f"{self.name}: {error}") from None
        if not 0 < noise < inf:
            what = "are all alike or zero" if noise == 0 else "overflow"
            raise LayerwiseError(
                f"{self.name}: its outputs before training {what}, and no loss tells samples apart: scale the samples "
                "to about 1, leave out those that are the same, or give the layer a bias"
            )
        return noise

    def _found_noise(self) -> float:
        o = self.options
        x, y = self.train_split.x[: self.sizes[0]], self._targets(self.train_split.y[: self.sizes[0]])
        h = self._outputs(x, *self.first)
        if o.objective == "bottleneck":
            distances = torch.pdist(h[:EVIDENCE_SAMPLES])
            median = distances.median()
            if not median and bool(distances.any()):  # most samples are the same: the width that tells the others apart
                median = distances[distances > 0].median()
            return o.width * float(median)
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
        candidates = list(product(o.lr, o.weight_decay)) if o.epochs else []
        best: dict[str, Any] = {"valid_loss": inf, "history": []}
        weight, bias = self.first
        hooks, begin = self.state.hooks_of_layer(), 0
        saved = hooks.load()
        if saved is not None:
            tensors, notes = saved
            begin = notes["candidate"]
            if notes["best"]:
                best, weight, bias = notes["best"], tensors["best.weight"], tensors["best.bias"]
        for number in range(begin, len(candidates)):
            chosen = isfinite(best["valid_loss"])
            tensors = {"best.weight": weight, "best.bias": bias} if chosen else {}
            around = tensors, {"candidate": number, "best": best if chosen else None}
            layer, result = self._trained(*candidates[number], loop.part(hooks, saved, around))
            saved = None  # the interrupted candidate alone was saved half way
            if result["valid_loss"] < best["valid_loss"] or len(candidates) == 1:
                best, weight, bias = result, layer.weight.detach(), layer.bias.detach()
        record = {key: best.get(key) for key in ("lr", "weight_decay", "train_loss")}
        record["valid_loss"] = best["valid_loss"] if isfinite(best["valid_loss"]) else None
        process = {"noise": self.noise, "weight_variances": self.above.weights, "bias_variances": self.above.biases}
        history = [{"layer": self.inputs.depth + 1, **row} for row in best["history"]]
        return Solution(weight, bias, {**record, **process, "history": history})

    def _trained(self, lr: float, weight_decay: float, hooks: Hooks) -> tuple[nn.Linear, dict[str, Any]]:
        """Return the layer as one rate and decay train it from its first weights, and what to record of that."""
        weight, bias = self.first
        layer = nn.Linear(self.inputs.fan_in, self.inputs.width, device=weight.device, dtype=weight.dtype)
        layer.load_state_dict({"weight": weight, "bias": bias})

        def loss(x: Tensor, labels: Tensor) -> Tensor:
            self.look_for_missing(labels)
            return self.loss(x, labels, layer.weight, layer.bias).double()  # a loss in float32 is summed in float64

        def measure() -> float:
            return self.validate(layer.weight, layer.bias)

        patience = self.options.patience
        training = loop.Training(
            name=self.name,
            module=layer,
            loss=loss,
            batches=Batches(self.train_split, self.sizes, self.seed),
            optimizer=optimizer("adam", layer.parameters(), lr, weight_decay=weight_decay),
            epochs=self.options.epochs,
            rate=lambda epoch: lr,
            validation=loop.Validation("valid_loss", measure) if patience else None,
            patience=patience,
        )
        with loop.kept_generators(self.inputs.device):
            training.run(hooks, self.state.clock)
        best = training.best_epoch
        return layer, {
            "lr": lr,
            "weight_decay": weight_decay,
            "train_loss": training.history[-1]["train_loss"],
            "valid_loss": training.history[best - 1]["valid_loss"] if best else measure(),
            "history": training.history,
        }

    @torch.no_grad()
    def validate(self, weight: Tensor, bias: Tensor) -> float:
        """Return the loss on the validation split, in batches of the size of those trained on; infinite without one."""
        if len(self.valid) < 2:
            return inf
        sizes = batch_sizes(len(self.valid), self.options.batch, least=2)
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
