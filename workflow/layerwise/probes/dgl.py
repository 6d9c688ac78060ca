"""The layer-wise loss of every hidden layer while a network is trained end to end (DGL figure 2).

The layers above each are taken as infinitely wide, with the variances of weights and biases that they have in the
trained network. Beside it, on the same samples, the network's own errors; and for the layer before the read-out the
loss of the information bottleneck (DGL supplement 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Features
from layerwise.errors import LayerwiseError
from layerwise.maths import gaussian_process as gp
from layerwise.maths import kernels
from layerwise.methods._wide import Wide, targets
from layerwise.options import Bounded, Ge, Gt


@dataclass(frozen=True)
class Options(Bounded):
    every: Annotated[int, Ge(1)] = 1000
    """Steps between two records."""
    samples: Annotated[int, Ge(2)] = 2000
    """Training samples that are looked at, the first ones."""
    kernel: Literal["nngp", "ntk"] = "nngp"
    """Kernel of the layers above, as in the method ``dgl``."""
    noise: Annotated[float, Gt(0)] = 1e-3
    """Noise variance of the process, a share of the root mean square eigenvalue of each layer's kernel at the start."""


def follow(fitted: nn.Sequential, features: Features, options: Options, *, seed: int, device: torch.device) -> Monitor:
    """Record the losses of the hidden layers of a training.

    Returns
    -------
    Its table has one row a step and hidden layer: step, layer (1 is the lowest), loss (DGL), noise, bottleneck (nan but
    for the highest hidden layer, and for values), and the network's own mse (a sum over outputs, as DGL is) and
    cross_entropy (nan for values) on the same samples.
    """
    linears = [m for m in fitted if isinstance(m, nn.Linear)]
    names = [type(m).__name__.lower() for m in fitted if not isinstance(m, (nn.Linear, nn.Flatten))]
    if len(linears) < 2 or not set(names) <= set(kernels.ACTIVATIONS):
        raise LayerwiseError(
            "probe dgl: it looks at dense layers with one of the activations "
            f"{', '.join(kernels.ACTIVATIONS)} between them, and these are {', '.join(map(str, fitted))}"
        )
    above = [Wide.of(linears[i:], names[0], options.kernel == "ntk") for i in range(1, len(linears))]
    return Monitor(above, features, options)


class Monitor:
    def __init__(self, above: list[Wide], features: Features, options: Options) -> None:
        self.above, self.options, self.task = above, options, features.task
        self.x, self.labels = features.train.x[: options.samples], features.train.y[: options.samples]
        self.noises: list[float] = []
        self.width = 0.0
        self.rows: list[dict[str, float]] = []

    @torch.no_grad()
    def __call__(self, module: nn.Module, step: int) -> None:
        if step % self.options.every:
            return
        module.eval()
        hidden, scores = self._outputs(module)
        y = targets(self.task, self.labels, scores.dtype)
        if not self.noises:
            pairs = zip(self.above, hidden, strict=True)
            self.noises = [gp.noise_of(wide.kernel(h), self.options.noise) for wide, h in pairs]
            self.width = float(torch.pdist(hidden[-1][:500]).median())
        given = self.task.targets(self.labels, scores.dtype)
        own = {"mse": float((scores - given).square().sum(dim=1).mean()), "cross_entropy": float("nan")}
        if self.task.kind == "onehot":
            own["cross_entropy"] = float(nn.functional.cross_entropy(scores, self.labels))
        for i, (wide, h, noise) in enumerate(zip(self.above, hidden, self.noises, strict=True)):
            loss = float(gp.loss(*wide.leave_one_out(h, y, noise)))
            bottleneck = float("nan")
            if i == len(hidden) - 1 and self.task.classifies:
                bottleneck = float(gp.bottleneck(h, self.labels, self.width))
            row = {"step": step, "layer": i + 1, "loss": loss, "noise": noise, "bottleneck": bottleneck}
            self.rows.append({**row, **own})

    def _outputs(self, module: nn.Module) -> tuple[list[Tensor], Tensor]:
        """Return what each hidden layer gives, behind its activation, and the scores."""
        hidden: list[Tensor] = []
        x, first = self.x, True
        for layer in module.children():
            if isinstance(layer, nn.Linear):
                hidden += [] if first else [x]
                first = False
            x = layer(x)
        return hidden, x

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)
