"""Labelled samples among their neighbours: pure neighbourhoods, and centres whose Voronoi cells are pure.

Distances are Euclidean between rows ``(N, d)``, taken block by block: no matrix of N x N is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 2**23  # distances that are held at once: 64 MiB in float64


def pure_runs(x: Tensor, labels: Tensor, *, batch: int = 0) -> Tensor:
    """Count, for each sample, the neighbours of its own class that are nearer than any of another class.

    The k nearest neighbours of a sample are all of its class exactly where its run is k or more (thesis section 5.4):
    one pass answers for every k, and no order among equal distances matters. An equal distance to another class ends
    the run; of distances that differ by no more than rounding, either may count as the nearer.

    Parameters
    ----------
    x, labels
        Samples ``(N, d)`` and classes ``(N,)``. Distances have the type of the samples: float64 where some lie a
        thousand times nearer to each other than to the others. MNIST and FashionMNIST keep the same in both.
    batch
        Samples of a mini-batch, in the order given, among which neighbours are sought; 0 is all. The last is smaller.

    Returns
    -------
    Tensor
        ``(N,)`` int64, the sample itself not counted. Where no other class is there, all others of the batch count.
    """
    size = batch or max(1, len(x))
    parts = zip(x.split(size), labels.split(size), strict=True)
    return torch.cat([_runs(part - part.mean(0), own) for part, own in parts]) if len(x) else labels.new_zeros(0)


def _runs(x: Tensor, labels: Tensor) -> Tensor:
    runs, squares = [], x.square().sum(1)
    for rows in torch.arange(len(x), device=x.device).split(max(1, BLOCK // len(x))):
        far = torch.addmm(squares, x[rows], x.T, alpha=-2)  # squared distances, but for what a row has in common
        own = labels[rows, None] == labels
        nearest_other = far.masked_fill(own, torch.inf).amin(1, keepdim=True)
        nearer = own & (far < nearest_other)
        nearer[torch.arange(len(rows), device=x.device), rows] = False
        runs.append(nearer.sum(1))
    return torch.cat(runs)


@dataclass(frozen=True)
class PureMap:
    """A pure Voronoi map of labelled samples (thesis definition 6).

    Parameters
    ----------
    centres
        Rows ``(m,)`` that are centres.
    cells
        For each sample, which of the centres is nearest ``(N,)``; of equal ones the first.
    rounds
        Rounds of additions until all cells were pure.
    """

    centres: Tensor
    cells: Tensor
    rounds: int

    @property
    def entropy(self) -> float:
        """Entropy of the cells' shares of the samples, in bits (thesis definition 7)."""
        shares = torch.bincount(self.cells, minlength=len(self.centres)).double() / len(self.cells)
        return float(-torch.special.xlogy(shares, shares).sum() / torch.log(torch.tensor(2.0)).double())


def pure_map(x: Tensor, labels: Tensor) -> PureMap:
    """Find samples whose Voronoi cells hold one class each, by fast condensed nearest neighbours.

    FCNN rule 1 (Angiulli, ICML 2005): begin with the sample nearest to the mean of each class; while a cell holds
    samples of another class than its centre's, the one of them that is nearest to the centre becomes a centre. The
    result does not depend on the order of the samples. It is small and not smallest: an upper bound of H*.

    Parameters
    ----------
    x, labels
        Samples ``(N, d)``, N > 0, and classes ``(N,)``. Equal samples of two classes cannot share a pure cell: each
        that was made a centre counts as nearest to itself. `conflicts` tells of them.
    """
    x = x.double()
    x = x - x.mean(0)
    n, squares = len(x), x.square().sum(1)
    nearest, distance = torch.zeros_like(labels), torch.full((n,), torch.inf, dtype=x.dtype, device=x.device)
    new = torch.stack([_first(x, labels == c) for c in labels.unique()])
    centres, rounds = new[:0], 0
    while len(new):
        for rows in new.split(max(1, BLOCK // n)):
            far = torch.addmm(squares[rows], x, x[rows].T, alpha=-2) + squares[:, None]
            far[rows, torch.arange(len(rows), device=x.device)] = -torch.inf
            least, which = far.min(1)
            nearer = least < distance
            distance = torch.where(nearer, least, distance)
            nearest = torch.where(nearer, len(centres) + which, nearest)
            centres = torch.cat([centres, rows])
        new = _representatives(nearest, distance, labels, centres)
        rounds += 1
    return PureMap(centres, nearest, rounds)


def conflicts(x: Tensor, labels: Tensor) -> int:
    """Count the samples that equal one of another class."""
    kinds = torch.unique(x, dim=0, return_inverse=True)[1]
    pairs, counts = torch.unique(torch.stack([kinds, labels], 1), dim=0, return_counts=True)
    several = torch.bincount(pairs[:, 0]) > 1
    return int(counts[several[pairs[:, 0]]].sum())


def _first(x: Tensor, mine: Tensor) -> Tensor:
    """Return the row, of those that are mine, nearest to their mean."""
    rows = mine.nonzero()[:, 0]
    return rows[(x[rows] - x[rows].mean(0)).square().sum(1).argmin()]


def _representatives(nearest: Tensor, distance: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Return, of each cell that is not pure, the sample of another class that is nearest to the centre."""
    wrong = (labels != labels[centres][nearest]).nonzero()[:, 0]
    order = wrong[distance[wrong].argsort(stable=True)]
    order = order[nearest[order].argsort(stable=True)]  # by cell, and within it by distance
    cell = nearest[order]
    first = torch.ones_like(cell, dtype=torch.bool)
    first[1:] = cell[1:] != cell[:-1]
    return order[first]
