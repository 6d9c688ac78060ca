"""The least squares problems of Platonic projections: on the samples themselves, or on sums over them.

`options` are those of the method ``platonic``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from layerwise.closed.inputs import Inputs, Solution
from layerwise.closed.moments import moments
from layerwise.errors import LayerwiseError
from layerwise.layers.room import demand_room
from layerwise.maths.linalg import STRENGTHS, Equations, Gram, Normal, cholesky, lsd
from layerwise.methods._projections import Augmented

STRENGTHS_SINGLE = tuple(s for s in STRENGTHS if s > 1e-7)  # below lies the rounding of float32 products


class Direct:
    """Least squares on the inputs themselves, ``Z (m, n)`` with its column of ones, as the thesis has it."""

    def __init__(self, inputs: Inputs, y: Tensor, options: Any) -> None:
        demand_room(3 * len(inputs) * inputs.fan_in, inputs.device, inputs.name)
        z = inputs.x
        self.inputs, self.y, self.options = inputs, y, options
        self.z = torch.cat([z.new_ones(len(z), 1), z], dim=1) if options.bias else z
        self.given = self.z.shape[1] + y.shape[1]  # rows of P
        self.second = self.z.T @ self.z if options.solver == "solve" else None
        self.solve = self._solver()
        self.best = self.solve(y)
        self.errors = (y - self.z @ self.best).square().sum(dim=1)  # of the linear read-out, (m,)
        self.error = float(self.errors.mean())
        self.strength = options.strength
        # What rounding makes of it: the least error there is, in float64.
        rounds = options.solver in ("pinv", "lstsq") and (z.dtype == torch.float32 or _far(z))
        self.least = lsd(self.z, y, bias=False) if rounds else self.error

    def _solver(self) -> Callable[[Tensor], Tensor]:
        """Return what gives Z^+ T for targets ``T (m, w)``; what can be factorised is so once."""
        z, options = self.z, self.options
        if options.solver == "pinv":
            inverse = torch.linalg.pinv(z, atol=options.tolerance)
            return lambda target: inverse @ target
        if options.solver == "lstsq":
            return lambda target: torch.linalg.lstsq(z, target, rcond=options.tolerance).solution
        return lambda target: self._solved(z.T @ target)

    def _solved(self, right: Tensor) -> Tensor:
        """Return (Z^T Z + strength I)^-1 R (thesis section 7.6.2; the bias is penalised too)."""
        assert self.second is not None
        penalised = self.second.clone()
        penalised.diagonal().add_(float(self.options.strength or 0.0))
        return torch.linalg.solve(penalised, right)

    @property
    def gram(self) -> Gram:
        return _gram(self.inputs, self.y)

    def weights(self, projection: Tensor, given: Augmented | None = None) -> Solution:
        """Return the weights that lead to the targets of P, ``(n + k, width)`` without or with the ones among n."""
        n, y = self.z.shape[1], self.y if given is None else given.y
        scaled = self.options.alpha * _pad(projection, self.given).to(self.z.dtype)
        on_y = self.options.beta * scaled[n:]
        if self.second is not None:  # Z^T T without T, which has a row for every sample
            return self._split(self._solved(self.second @ scaled[:n] + (self.z.T @ y) @ on_y))
        return self._split(self.solve(self.z @ scaled[:n] + y @ on_y))  # thesis section 7.3.2, W = Z^+ T

    def identity(self) -> Solution:
        """Return the weights ``alpha Z^+``, one unit a sample."""
        return self._split(
            self.options.alpha * self.solve(torch.eye(len(self.z), dtype=self.z.dtype, device=self.z.device))
        )

    def readout(self) -> Solution:
        return self._split(self.best)

    def _split(self, weight: Tensor) -> Solution:
        return Solution(weight[1:].T, weight[0]) if self.options.bias else Solution(weight.T)


class Streamed:
    """Ridge regression from sums of second moments alone: memory does not depend on the number of samples.

    For T = alpha [Z | beta Y] P the right-hand side Z^T T is made of Z^T Z and Z^T Y. A strength that is given needs
    one Cholesky factorisation; to choose one by cross-validation, one eigenvalue decomposition serves them all.
    """

    def __init__(self, inputs: Inputs, y: Tensor, options: Any) -> None:
        self.inputs, self.y, self.options = inputs, y, options
        self.gram = _gram(inputs, y)
        self.given = 1 + inputs.fan_in + y.shape[1]  # rows of P
        if isinstance(options.strength, (int, float)):
            self.equations, self.strength = Equations(self.gram), float(options.strength)
            factor = cholesky(self.equations.correlation.clone(), self.strength)
            self.solve = lambda right: torch.cholesky_solve(right, factor)
        else:
            normal = Normal(self.gram)
            self.equations = normal
            self.strength = normal.best(STRENGTHS if inputs.dtype == torch.float64 else STRENGTHS_SINGLE)
            inverse = normal.inverse(self.strength)[:, None]
            self.solve = lambda right: normal.vectors @ (inverse * (normal.vectors.T @ right))
        self.best = self.solve(self.equations.cross)  # on scaled features
        explained = 2 * self.equations.cross - self.equations.correlation @ self.best
        self.error = self.least = max(float(self.equations.power - (self.best * explained).sum()), 0.0)

    @property
    def errors(self) -> Tensor:
        """Squared errors of the linear read-out on the samples of this process, ``(m,)``."""
        read = self.readout()
        assert read.bias is not None
        fits = [z.double() @ read.weight.T + read.bias for z, _ in self.inputs.batches()]
        return (self.y - torch.cat(fits)).square().sum(dim=1)

    def weights(self, projection: Tensor, given: Augmented | None = None) -> Solution:
        """Return the weights that lead to the targets of P, ``(n + k, width)`` without or with a row for the ones."""
        equations, options, n = self.equations, self.options, self.inputs.fan_in
        cross, mean_y = equations.cross, equations.mean_y
        if given is not None:
            mean_y, shift = given.gram.mean[n:], given.gram.sums / given.gram.n
            cross = given.gram.second[:n, n:] / given.gram.n - torch.outer(shift[:n], shift[n:])
            cross = equations.inverse_scale[:, None] * cross
        ones, on_z, on_y = _pad(projection, self.given).double().split([1, n, self.y.shape[1]])
        scale = torch.where(equations.inverse_scale > 0, 1 / equations.inverse_scale, 0.0)[:, None]
        right = equations.correlation @ (scale * on_z) + options.beta * (cross @ on_y)
        mean = ones[0] + equations.mean_z @ on_z + options.beta * (mean_y @ on_y)
        return self._centred(options.alpha * self.solve(right), options.alpha * mean)

    def readout(self) -> Solution:
        return self._centred(self.best, self.equations.mean_y)

    def _centred(self, scaled: Tensor, mean: Tensor) -> Solution:
        weight = self.equations.inverse_scale[:, None] * scaled
        return Solution(weight.T, mean - self.equations.mean_z @ weight)


def _far(z: Tensor) -> bool:
    """Tell whether a column lies so far from the origin beside its spread that a decomposition may not see it vary."""
    variance = z.var(dim=0, correction=0)
    return bool(((variance > 0) & (variance < 1e-8 * z.square().mean(dim=0))).any())


def _gram(inputs: Inputs, y: Tensor) -> Gram:
    """Return the sums of all samples, products of the type of the inputs."""
    demand_room(4 * inputs.fan_in**2, inputs.device, inputs.name)

    def samples() -> Iterator[tuple[Tensor, Tensor]]:
        return ((z, y[at]) for z, at in inputs.batches())

    gram = moments(samples, inputs.fan_in, y.shape[1], inputs.device, inputs.dtype)
    if not torch.isfinite(gram.second).all():
        raise LayerwiseError(f"{inputs.name}: its inputs overflow: lower alpha in the layers below, or use float64")
    return gram


def _pad(projection: Tensor, rows: int) -> Tensor:
    """Put a row of zeros, for the column of ones, before a projection that was found without it."""
    missing = rows - len(projection)
    return torch.cat([projection.new_zeros(missing, projection.shape[1]), projection]) if missing else projection
