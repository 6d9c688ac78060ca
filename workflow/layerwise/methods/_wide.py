"""Layers taken as infinitely wide: what a Gaussian process knows of the top of a network (DGL section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.contract import Task
from layerwise.errors import LayerwiseError
from layerwise.maths import gaussian_process as gp
from layerwise.maths import kernels

STEPS = 50  # of L-BFGS on the logarithms of variances
FURTHEST = 10.0  # that a logarithm may move: beyond, a kernel is singular to rounding


@dataclass
class Wide:
    """The layers above one at hand, from the next to the linear read-out.

    Parameters
    ----------
    activation
        That of all layers up to the read-out.
    weights, biases
        Variances, one a layer, as `kernels.nngp` takes them.
    tangent
        Use the NTK, of networks trained by gradient descent.
    landmarks
        Approximate the kernel by its values at the first so many samples (Nystroem); 0 for the kernel itself.
    """

    activation: str
    weights: list[float]
    biases: list[float]
    tangent: bool = False
    landmarks: int = 0

    @classmethod
    def of(cls, linears: Sequence[nn.Linear], activation: str, tangent: bool = False) -> Wide:
        """Return the layers with the variances that those of a network have: mean squares, times the fan-in."""
        weights = [float(m.weight.detach().double().square().sum() / len(m.weight)) for m in linears]
        return cls(activation, weights, [float(m.bias.detach().double().square().mean()) for m in linears], tangent)

    def kernel(self, h: Tensor, weights: Any = None, biases: Any = None) -> Tensor:
        """Return the kernel ``(n, n)`` of outputs ``(n, d)`` of the layer at hand."""
        make = kernels.ntk if self.tangent else kernels.nngp
        return make(h, weights or self.weights, biases or self.biases, activation=self.activation)

    def leave_one_out(self, h: Tensor, y: Tensor, noise: float) -> tuple[Tensor, Tensor]:
        """Return errors ``(n, k)`` and variances ``(n,)`` of the predictions of each sample from the others.

        With m landmarks this takes O(n m^2) instead of O(n^3), and memory for n m numbers instead of n^2.
        """
        if 0 < self.landmarks < len(h) and len(self.weights) > 1:
            make = kernels.ntk if self.tangent else kernels.nngp
            cross = make(h, self.weights, self.biases, h[: self.landmarks], activation=self.activation)
            own = cross[: self.landmarks]
            # A hundredth of the noise is above the rounding of float32, and changes no prediction to speak of.
            features = gp.nystroem(cross, (own + own.T) / 2, noise / 100)
            return gp.linear_leave_one_out(features, y, noise)
        if len(self.weights) > 1 or h.shape[1] >= len(h):
            return gp.leave_one_out(self.kernel(h), y, noise)
        constant = h.new_full((len(h), 1), sqrt(self.biases[0]))  # a read-out alone: its kernel has these features
        return gp.linear_leave_one_out(torch.cat([h * sqrt(self.weights[0] / h.shape[1]), constant], 1), y, noise)

    @torch.enable_grad()
    def fit(self, h: Tensor, y: Tensor, noise: float, *, variances: bool) -> float:
        """Fit the noise, and the variances if asked, to the likelihood of the targets; returns the noise.

        By L-BFGS from where they are, on logarithms.
        """
        h, y = h.double(), y.double()
        start = [*self.weights, *(max(b, 1e-3) for b in self.biases), noise]
        first = torch.tensor(start, dtype=torch.float64, device="cpu").log()
        free = torch.tensor([variances] * (len(first) - 1) + [True], device="cpu")
        moved = torch.zeros_like(first, requires_grad=True)
        search = torch.optim.LBFGS([moved], max_iter=STEPS, line_search_fn="strong_wolfe")

        def values() -> tuple[list[Tensor], list[Tensor], Tensor]:
            every = (first + free * moved.clamp(-FURTHEST, FURTHEST)).exp().to(h.device)
            return list(every[: len(self.weights)]), list(every[len(self.weights) : -1]), every[-1]

        def against() -> Tensor:
            search.zero_grad()
            weights, biases, now = values()
            loss = -gp.log_evidence(self.kernel(h, weights, biases), y, now)
            loss.backward()
            return loss

        try:
            search.step(against)
        except torch.linalg.LinAlgError:
            moved = moved.detach() * torch.nan
        weights, biases, now = values()
        if not bool(moved.isfinite().all()):
            raise LayerwiseError(
                "the kernel of the layers above is singular to rounding, and tells nothing of variances or noise: "
                "scale the samples to about 1, or use variances: initial and a number for noise"
            )
        if variances:
            self.weights, self.biases = [float(w.detach()) for w in weights], [float(b.detach()) for b in biases]
        return float(now.detach())


def targets(task: Task, labels: Tensor, dtype: torch.dtype, centre: bool = True) -> Tensor:
    """Return the targets ``(N, outputs)`` of the Gaussian process: those of the task, for classes summing to zero."""
    y = task.targets(labels, dtype)
    return y - y.mean(dim=1, keepdim=True) if centre and task.kind == "onehot" else y
