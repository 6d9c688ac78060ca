"""How near random networks of some width come to the kernels of infinitely wide ones.

NNGP (Lee et al. 2018) and NTK (Jacot et al. 2018). For ReLU networks, drawn at random and run on training samples of
the data set: the relative difference between the mean of their output covariance and the NNGP, and between the mean of
their tangent kernels and the NTK. The network under the probe is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Annotated

import pandas as pd
import torch
from torch import Tensor, nn

from layerwise.contract import Dataset
from layerwise.maths import kernels
from layerwise.options import Bounded, Ge, Gt, MinLen


@dataclass(frozen=True)
class Options(Bounded):
    widths: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (10, 32, 100, 320, 1000)
    """Widths of the hidden layers."""
    depths: Annotated[tuple[Annotated[int, Ge(1)], ...], MinLen(1)] = (1, 2, 3)
    """Numbers of hidden layers."""
    draws: Annotated[int, Ge(1)] = 20
    """Random networks over which the mean is taken."""
    samples: Annotated[int, Ge(2)] = 100
    """Training samples, the first ones."""
    weight_variance: Annotated[float, Gt(0)] = 2.0
    """Variance of the weights, times the fan-in."""
    bias_variance: Annotated[float, Ge(0)] = 0.1
    """Variance of the biases."""


def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int, device: torch.device) -> pd.DataFrame:
    """Draw the networks.

    Returns
    -------
    One row a kernel (nngp or ntk), depth and width: error, the norm (Frobenius) of the difference over the kernel's.
    """
    x = data.train.x[: options.samples].flatten(1).double().to(device)
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for depth in options.depths:
        variances = [options.weight_variance] * (depth + 1), [options.bias_variance] * (depth + 1)
        exact = {"nngp": kernels.nngp(x, *variances), "ntk": kernels.ntk(x, *variances)}
        for width in options.widths:
            total = {name: torch.zeros_like(kernel) for name, kernel in exact.items()}
            for _ in range(options.draws):
                for name, kernel in zip(total, empirical(x, width, *variances, draw), strict=True):
                    total[name] += kernel / options.draws
            for name, kernel in exact.items():
                error = float((total[name] - kernel).norm() / kernel.norm())
                rows.append({"kernel": name, "depth": depth, "width": width, "error": error})
    return pd.DataFrame(rows)


def empirical(
    x: Tensor, width: int, weight_variances: list[float], bias_variances: list[float], draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a network with one output; return its output covariance over the last layer's weights, and its NTK.

    The NTK of a dense network is a sum over layers of (w h h' / n + b) d d', for the inputs h of the layer, n of them,
    and the gradients d of the output with respect to its pre-activations.
    """
    inputs, slopes, weights = [x], [], []
    for w, b in zip(weight_variances[:-1], bias_variances[:-1], strict=True):
        fan_in = inputs[-1].shape[1]
        weight = torch.randn(width, fan_in, dtype=x.dtype, generator=draw).to(x) * sqrt(w / fan_in)
        bias = torch.randn(width, dtype=x.dtype, generator=draw).to(x) * sqrt(b)
        z = inputs[-1] @ weight.T + bias
        weights.append(weight)
        slopes.append((z > 0).to(x))
        inputs.append(z.relu())
    sums = [
        b + w * h @ h.T / h.shape[1] for h, w, b in zip(inputs, weight_variances, bias_variances, strict=True)
    ]  # the last of these is the covariance of the output
    last = torch.randn(width, dtype=x.dtype, generator=draw).to(x) * sqrt(weight_variances[-1] / width)
    tangent, gradient = sums[-1].clone(), last.expand(len(x), width)
    for i in range(len(slopes) - 1, -1, -1):
        gradient = gradient * slopes[i]
        tangent += sums[i] * (gradient @ gradient.T)
        gradient = gradient @ weights[i]
    return sums[-1], tangent
