"""What flows back through a network while it is trained: the gradient at the outputs, and in every layer below.

Thesis figure 4.2 shows how the gradients at the outputs are distributed, figure 4.3 the root mean square by layer,
figure 4.5 the normaliser of the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Features
from layerwise.options import Bounded, Ge
from layerwise.probes._stages import NAMES, WEIGHTED


@dataclass(frozen=True)
class Options(Bounded):
    every: Annotated[int, Ge(1)] = 50
    """Steps between two records; the first batch is always recorded."""
    bins: Annotated[int, Ge(0)] = 0
    """Equal bins, from the least to the largest gradient at the outputs, by which its distribution is recorded."""


def follow(fitted: nn.Sequential, features: Features, options: Options, *, seed: int, device: torch.device) -> Recorder:
    """Record the gradients of batches 1, 1 + every, 1 + 2 every, and so on.

    They are of the training's own backward pass, whatever its loss. The gradient of a layer is that of a sample's loss
    at the layer's output, before its activation function; of the last layer it is ``y - t`` for a canonical loss.

    Returns
    -------
    Its table has one row a batch and weighted layer: step (1 for the first batch, which the first weights see), layer
    (1 is the lowest), stage (such as ``dense``), rms of the gradient over samples and units, weights_rms, that of the
    gradient of the layer's weights, and, of the last layer, the least and the largest gradient, ``bin_1``, ... (the
    share of the gradients in each bin) and the normaliser of the softmax, ``sum exp(x)`` over the outputs, as a mean
    over the batch and, in ``normaliser_sum``, a sum over it.
    """
    return Recorder(options)


class Recorder:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.module: nn.Module | None = None
        self.outputs: dict[nn.Module, Tensor] = {}  # of the layers, in the batch that is recorded
        self.gradients: dict[nn.Module, Tensor] = {}
        self.armed = False
        self.rows: list[dict[str, Any]] = []

    def __call__(self, module: nn.Module, step: int) -> None:
        if module is not self.module:
            self._hang_into(module)
        if self.armed and self.gradients:
            self._record(step)
        self.outputs, self.gradients = {}, {}
        self.armed = step % self.options.every == 0  # the batch to come

    def _hang_into(self, module: nn.Module) -> None:
        self.module = module
        for layer in _layers(module):
            layer.register_forward_hook(self._after)

    def _after(self, layer: nn.Module, _: Any, out: Tensor) -> None:
        if self.armed and out.requires_grad:  # a validation has none
            self.outputs[layer] = out.detach().clone()  # the activation function may overwrite it
            # Of the tensor, not of the module: a module's hook gives views, which in-place layers may not change.
            out.register_hook(lambda gradient: self.gradients.__setitem__(layer, gradient))

    def _record(self, step: int) -> None:
        assert self.module is not None
        layers = [layer for layer in _layers(self.module) if layer in self.gradients]
        for i, layer in enumerate(layers, 1):
            # The loss is a mean over the batch.
            gradient = self.gradients[layer].double() * len(self.gradients[layer])
            kind = type(layer).__name__
            row = {
                "step": step,
                "layer": i,
                "stage": NAMES.get(kind, kind.lower()),
                "rms": float(gradient.square().mean().sqrt()),
                "weights_rms": float(layer.weight.grad.double().square().mean().sqrt()),  # type: ignore[union-attr,operator]
            }
            self.rows.append(row | (self._of_outputs(layer, gradient) if layer is layers[-1] else {}))

    def _of_outputs(self, layer: nn.Module, gradient: Tensor) -> dict[str, float]:
        normaliser = self.outputs[layer].double().exp().sum(dim=1)
        least, largest = float(gradient.min()), float(gradient.max())
        row = {"least": least, "largest": largest}
        if self.options.bins:
            counts = torch.histc(gradient.cpu(), self.options.bins, least, largest) / gradient.numel()
            row |= {f"bin_{i}": share for i, share in enumerate(counts.tolist(), 1)}
        return row | {"normaliser": float(normaliser.mean()), "normaliser_sum": float(normaliser.sum())}

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


def _layers(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, WEIGHTED)]
