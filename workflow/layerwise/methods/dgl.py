"""Deep Gaussian layer-wise losses (Ben-David and Ringel 2019): each layer alone, by what the layers above could do.

The layers above the one at hand are taken as infinitely wide, and so as a Gaussian process on its output. How well
that process predicts each sample from the others of a mini-batch is the loss of the layer (eq. 5), and Adam lowers it.
No gradient passes from one layer to another. Of the layers above only the variances of weights and biases are needed.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from itertools import product
from math import inf, isfinite, sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from layerwise import gaussian_process as gp
from layerwise import greedy, kernels, layers, optim
from layerwise.data import Features, Split
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.methods import NO_HOOKS, Fitted, Hooks, Segment
from layerwise.methods._wide import Wide, targets
from layerwise.words import parse

SAVE_SECONDS = 5.0  # between two savings of a long fit
MATRICES = 4  # of the size of the kernel, that a step holds at once, and as many more a layer above
NOISE_SAMPLES = 5000  # of a larger batch, whose root mean square eigenvalue grows with the root of its samples
EVIDENCE_SAMPLES = 500  # of the first mini-batch, that variances or a noise are fitted to


@dataclass(frozen=True)
class Options:
    kernel: Literal["nngp", "ntk"] = "nngp"
    """Kernel of the layers above: of random networks (``nngp``), or of some trained by gradient descent (``ntk``)."""
    objective: Literal["mse", "variance", "log_predictive", "bottleneck"] = "mse"
    """``mse``: squared error of the leave-one-out predictions, the published loss. ``variance`` adds their variance.
    ``log_predictive``: their negative log density. ``bottleneck``: the information bottleneck of the supplement."""
    variances: Literal["evidence", "initial", "used"] = "evidence"
    """Variances of weights and biases above. ``evidence``: those under which the labels are likeliest, given the
    layer's outputs before training. ``initial``: those of the first weights. ``used``: those of the network under the
    segment's ``uses``, the published way; it may be a trained one or a random one."""
    noise: Literal["evidence"] | float = 1e-3
    """Noise variance of the Gaussian process: a share of the root mean square eigenvalue of the kernel of the first
    mini-batch before training (1e-3 is the authors' rule), or fitted to the labels as the variances are."""
    init: Literal["xavier", "he"] = "xavier"
    """First weights: normal with Xavier's variance and the gain 5/3 (the authors'), or with He's variance."""
    bias: float = 0.5
    """Standard deviation of the first biases."""
    lr: tuple[float, ...] | float = 0.01
    """Learning rate of Adam; of several the best by the loss on the validation split, for each layer."""
    weight_decay: tuple[float, ...] | float = 0.0
    """Weight decay, or several to choose from as for `lr`."""
    epochs: int = 50
    """Passes over the training split for each layer, at most; 0 leaves the first weights."""
    batch: int = 500
    """Samples a step. The loss predicts each of them from the others."""
    landmarks: int = 0
    """Approximate the kernel of a batch by its values at so many of its samples (Nystroem), for batches of ten
    thousands; 0 takes the kernel itself."""
    patience: int = 0
    """Epochs without a better validation loss after which to stop and go back to the best; 0 is off."""
    centre: bool = True
    """Let the targets of a sample sum to zero: for k classes 1 - 1/k and -1/k, which a process of zero mean suits."""
    above: int = 0
    """Hidden layers between the segment and the read-out that belong to other segments."""
    width: float = 0.5
    """For ``bottleneck``: standard deviation of its noise, as a share of the median distance between samples."""
    beta: float = 100.0
    """For ``bottleneck``: weight of the information on the label."""

    def __post_init__(self) -> None:
        for name in ("lr", "weight_decay"):
            given = getattr(self, name)
            values = given if isinstance(given, tuple) else (given,)
            object.__setattr__(self, name, values)
            if not values or not all(isfinite(v) and v >= 0 for v in values) or (name == "lr" and 0 in values):
                raise LayerwiseError(f"option {name!r} is {given}: give positive numbers, such as 0.01")
        for name, least in (("epochs", 0), ("batch", 2), ("patience", 0), ("above", 0), ("landmarks", 0)):
            if getattr(self, name) < least:
                raise LayerwiseError(f"option {name!r} is {getattr(self, name)}: choose {least} or more")
        for name in ("noise", "width", "beta"):
            if not isinstance(getattr(self, name), str) and not 0 < getattr(self, name) < float("inf"):
                raise LayerwiseError(f"option {name!r} is {getattr(self, name)}: choose a number above 0")
        if not (isfinite(self.bias) and self.bias >= 0):
            raise LayerwiseError(f"option 'bias' is {self.bias}: a standard deviation is 0 or more")


def fit(
    segment: Segment,
    features: Features,
    options: Options,
    *,
    seed: int,
    device: torch.device,
    hooks: Hooks = NO_HOOKS,
) -> Fitted:
    """Train the dense layers of a segment one after the other; a last ``dense outputs`` is read out by ridge.

    Returns
    -------
    Fitted
        Its record has ``layers`` (for each the variances and the noise of its process, the rate and decay chosen, its
        loss on the training and on the validation split) and ``history``, a row an epoch of each layer.

    Raises
    ------
    LayerwiseError
        For a convolution, an activation above without a kernel, options that need a validation split where there is
        none, a batch whose kernel does not fit into memory, and where the training diverges.
    """
    _check(segment, features, options)
    state = _State(hooks)

    def solve(inputs: greedy.Inputs) -> greedy.Solution:
        if inputs.depth < len(state.finished):
            return state.finished[inputs.depth]
        return state.finish(_Trainee(inputs, _above(segment, inputs, options), options, seed, state).train())

    module, words, records = greedy.fit(segment, features, solve, device=device)
    history = [row for solution in state.finished for row in solution.record["history"]]
    rows = [{key: value for key, value in record.items() if key != "history"} for record in records]
    return Fitted(module, words, {"layers": rows, "history": history})


def _above(segment: Segment, inputs: greedy.Inputs, options: Options) -> Wide:
    """Return what is known of the layers above the one at hand."""
    behind = [parse(word) for word in segment.layers[inputs.number :]]
    kinds = sorted({layer.kind for layer in behind if layer.kind in layers.ACTIVATIONS})
    hidden = sum(layer.kind == "dense" and layer.width != "outputs" for layer in behind)
    count = hidden + options.above + 1  # with the read-out
    activation = kinds[0] if kinds else "relu"
    if count > 1 and (len(kinds) != 1 or activation not in kernels.ACTIVATIONS):
        raise LayerwiseError(
            f"{inputs.name}: there is no kernel of layers with {' and '.join(kinds) or 'no activation'} above it: use "
            f"one of {', '.join(kernels.ACTIVATIONS)} throughout, or another method"
        )
    if options.variances != "used":
        weight = 2.0 if options.init == "he" else (5 / 3) ** 2  # Xavier's, between layers of equal width
        return Wide(activation, [weight] * count, [options.bias**2] * count, options.kernel == "ntk")
    if len(segment.uses) != 1:
        raise LayerwiseError(
            f"method 'dgl': variances: used needs one network under uses, and there are {len(segment.uses)}"
        )
    path, network = next(iter(segment.uses.items()))
    known = [m for m in network.modules() if isinstance(m, nn.Linear)]
    if len(known) <= count:
        raise LayerwiseError(
            f"{inputs.name}: there are {count} layers above it and {len(known)} in all of {path!r}: use a network of "
            "the same depth"
        )
    return Wide.of(known[-count:], activation, options.kernel == "ntk")


class _State:
    """What an interrupted fit goes on from: the layers that are finished, and the one at hand half way."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks, self.saved = hooks, time.monotonic()
        self.tensors, self.notes = hooks.load() or ({}, {"records": []})
        self.finished = [
            greedy.Solution(self.tensors[f"{i}.weight"], self.tensors[f"{i}.bias"], record)
            for i, record in enumerate(self.notes["records"])
        ]

    def resumed(self) -> tuple[dict[str, Tensor], dict] | None:
        """Return, once, what was saved of the layer at hand."""
        found = (self.tensors, self.notes["now"]) if "now" in self.notes else None
        self.notes = {}
        return found

    def finish(self, solution: greedy.Solution) -> greedy.Solution:
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


class _Trainee:
    """The layer at hand, trained with every rate and decay that may be chosen."""

    def __init__(self, inputs: greedy.Inputs, above: Wide, options: Options, seed: int, state: _State) -> None:
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
        greedy.demand_room(int(numbers) * inputs.dtype.itemsize // 8, inputs.device, self.name)
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

    def train(self) -> greedy.Solution:
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
        return greedy.Solution(best["weight"], best["bias"], {**record, **process, "history": history})

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

    def __init__(self, trainee: _Trainee, lr: float, weight_decay: float, number: int, best: dict) -> None:
        self.trainee, self.lr, self.weight_decay, self.number, self.other = trainee, lr, weight_decay, number, best
        self.weight, self.bias = (nn.Parameter(t.clone()) for t in trainee.first)
        self.adam = optim.optimizer("adam", [self.weight, self.bias], lr, weight_decay=weight_decay)
        self.order = torch.Generator().manual_seed(trainee.seed)
        self.history: list[dict[str, float]] = []
        self.stopped: dict[str, Any] = {}  # the best epoch, under patience

    def train(self) -> dict[str, Any]:
        o = self.trainee.options
        while len(self.history) < o.epochs and not self._has_stalled():
            self._epoch()
            self.trainee.state.save(*self._state())
        weight, bias = self.weight.detach(), self.bias.detach()
        if self.stopped:
            weight, bias = self.stopped["weight"], self.stopped["bias"]
        valid = self.history[self.stopped["epoch"] - 1]["valid_loss"] if self.stopped else None
        return {
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "train_loss": self.history[-1]["train_loss"],
            "valid_loss": self.trainee.validate(weight, bias) if valid is None else valid,
            "weight": weight,
            "bias": bias,
            "history": self.history,
        }

    @torch.enable_grad()
    def _epoch(self) -> None:
        trainee, total = self.trainee, 0.0
        for x, labels in optim.batches(trainee.train_split, trainee.sizes, self.order):
            trainee.look_for_missing(labels)
            self.adam.zero_grad()
            loss = trainee.loss(x, labels, self.weight, self.bias)
            loss.backward()
            self.adam.step()
            total += float(loss.detach()) * len(x)
        row = {"epoch": len(self.history) + 1, "lr": self.lr, "train_loss": total / len(trainee.train_split)}
        if not isfinite(row["train_loss"]):
            raise LayerwiseError(
                f"{trainee.name}: the training diverged in epoch {row['epoch']} (lr {self.lr:g}); choose a lower lr"
            )
        if trainee.options.patience:
            row["valid_loss"] = trainee.validate(self.weight, self.bias)
        self.history.append(row)
        if trainee.options.patience and row["valid_loss"] <= min(r["valid_loss"] for r in self.history):
            weight, bias = self.weight.detach().clone(), self.bias.detach().clone()
            self.stopped = {"epoch": row["epoch"], "weight": weight, "bias": bias}

    def _has_stalled(self) -> bool:
        patience = self.trainee.options.patience
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


def _check(segment: Segment, features: Features, options: Options) -> None:
    for word in segment.layers:
        if parse(word).kind not in ("dense", "flatten") and parse(word).kind not in layers.ACTIVATIONS:
            raise LayerwiseError(f"layer '{word}': dgl trains dense layers and their activations; use another method")
    several = len(options.lr) * len(options.weight_decay) > 1  # type: ignore[arg-type]
    if (several or options.patience) and len(features.valid) < 2:
        raise LayerwiseError(
            "method 'dgl': patience, and a choice of lr or weight_decay, need a validation split: give the data set one"
        )
    if len(features.train) < 2:
        raise LayerwiseError("method 'dgl': one sample cannot be predicted from others: give more")
    if options.objective == "bottleneck" and not features.task.classifies:
        raise LayerwiseError("method 'dgl': objective bottleneck is for classes; this data set has values")
