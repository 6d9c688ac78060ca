"""Whether the eigenvalues of the density matrix fluctuate as dmn eq. 18 says, as the probe ``density`` saw them.

With N images, a step of dN images moves an eigenvalue by dN / N times the difference between what the new images have
along its direction and the eigenvalue itself. Eq. 18 gives this move the variance 2 dN lambda^2 / N^2, so that

    z = (lambda(N) - lambda(N - dN)) / lambda(N) * N / sqrt(dN)

has one standard deviation at every N and for every eigenvalue: the square root of 2, were an image one Gaussian sample.
An image is hundreds of patches that overlap, which changes the number but not the claim. For dmn figure 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, ladder, looked_at, probed, ran, seen
from layerwise.figures._style import new, provenance
from layerwise.options import Bounded, Ge
from layerwise.results.study_results import StudyResults

SKIP = 10  # steps at the start in which the estimate itself still wanders
FLOOR = 1e-9  # of the largest eigenvalue: what float64 leaves of a zero


@dataclass(frozen=True)
class Options(Bounded):
    probe: str = "density"
    """The probe of the study that took the eigenvalues, samples added in equal steps."""
    network: str = ""
    """The network, as dataset/path, beside which it lies; the first that the probe looks at where absent."""
    bins: Annotated[int, Ge(3)] = 41
    """Bins of the histogram, over four standard deviations to either side."""
    blocks: Annotated[int, Ge(2)] = 10
    """Ranges of N in which the standard deviation is taken."""


def draw(results: StudyResults, options: Options) -> Figure:
    network = options.network or looked_at(results, options.probe, ())[0]
    table = probed(results, options.probe, ("samples", "rank", "value"), "fluctuations")
    mine = seen(results, table, network, "fluctuations")
    figure = new(7.6, 3.1)
    axes = list(figure.subplots(1, 2))
    axes[0].set_title(f"{network.partition('/')[0]}: all steps", loc="left")
    axes[1].set_title("by the number of images", loc="left")
    axes[0].set_xlabel("z = dλ / λ · N / √dN")
    axes[0].set_ylabel("density, mean over the eigenvalues")
    axes[1].set_xlabel("N, images")
    axes[1].set_ylabel("root mean square of z")
    if mine is None:
        for ax in axes:
            empty(ax)
        return figure
    z = scaled(mine)
    if z.empty or z.groupby(["seed", "rank"]).size().min() < 2 * options.blocks:
        raise LayerwiseError(
            f"figure fluctuations: too few steps in the probe {options.probe}: {2 * options.blocks} are needed beyond "
            f"N = {SKIP} dN; give it 'every' and a larger 'until'"
        )
    _histogram(axes[0], z, options.bins)
    _deviations(axes[1], z, options.blocks, figure)
    return figure


def scaled(table: pd.DataFrame) -> pd.DataFrame:
    """Return seed, rank, samples (N) and ``z`` of each eigenvalue and step, without the first `SKIP` steps."""
    table = table.sort_values(["seed", "rank", "samples"])
    groups = table.groupby(["seed", "rank"])
    step = groups["samples"].diff()
    z = groups["value"].diff() / table["value"] * table["samples"] / np.sqrt(step)
    some = table["value"] > FLOOR * table.groupby(["seed", "samples"])["value"].transform("max")
    told = table[["seed", "rank", "samples"]].assign(z=z)
    return told[some & (table["samples"] >= SKIP * step)]


def _histogram(ax: Axes, z: pd.DataFrame, bins: int) -> None:
    """Draw the mean over the eigenvalues of their histograms, and a normal density of the same deviation."""
    sigma = float(np.sqrt(np.mean(z["z"] ** 2)))
    edges = np.linspace(-4 * sigma, 4 * sigma, bins + 1)
    width, centres = edges[1] - edges[0], (edges[:-1] + edges[1:]) / 2
    # Over all values, so that what lies beyond the ends is missing rather than spread over the bins.
    told = np.array([np.histogram(v, edges)[0] / (len(v) * width) for _, v in z.groupby("rank")["z"]])
    spread = told.std(axis=0, ddof=1) if len(told) > 1 else np.zeros(bins)
    label = f"{len(told)} eigenvalues, ± 1 σ"
    ax.errorbar(centres, told.mean(axis=0), yerr=spread, fmt="o", ms=3, color="#0072B2", elinewidth=0.9, label=label)
    x = np.linspace(edges[0], edges[-1], 201)
    normal = np.exp(-(x**2) / (2 * sigma**2)) / (sigma * np.sqrt(2 * np.pi))
    ax.plot(x, normal, color="#D55E00", label=f"normal, σ = {sigma:.2f}")
    ax.set_ylim(0, 1.5 * float((told.mean(axis=0) + spread).max()))  # room for the legend
    ax.legend(loc="upper left", handlelength=1.5)


def _deviations(ax: Axes, z: pd.DataFrame, blocks: int, figure: Figure) -> None:
    """Draw the standard deviation of each eigenvalue in ranges of N."""
    edges = np.linspace(z["samples"].min(), z["samples"].max() + 1, blocks + 1)
    block = np.digitize(z["samples"], edges) - 1
    ranks = sorted(z["rank"].unique())
    colours = ladder(len(ranks))
    for rank, colour in zip(ranks, colours, strict=True):
        mine = z["rank"] == rank
        # About zero, which is what eq. 18 is about, over all steps and seeds in the range.
        told = np.sqrt((z.loc[mine, "z"] ** 2).groupby(block[mine]).mean())
        x = (edges[:-1] + edges[1:])[told.index] / 2
        ends = rank in (ranks[0], ranks[-1])
        ax.plot(x, told, color=colour, lw=1, marker="o", ms=2.5, label=f"rank {rank}" if ends else None)
    ax.axhline(2**0.5, color="black", lw=1, ls=":", label="eq. 18, √2")
    top = max(float(np.max(line.get_ydata())) for line in ax.get_lines())
    ax.set_ylim(0, 1.05 * top)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside right upper")


def caption(results: StudyResults, options: Options) -> str:
    network = options.network or looked_at(results, options.probe, ())[0]
    _, out = ran(results, [network])
    dataset = network.partition("/")[0]
    n = len(results.study.seeds_of(dataset))
    orders = f"{n} orders of the images, one a seed" if n > 1 else "one order of the images"
    return (
        f"Fluctuations of the eigenvalues λ of the second moment of image patches on {dataset} as dN images at a time "
        f"are added, scaled as dmn eq. 18, Var[δρ] = 2 δN ρ²/N², has them: z = (λ(N) - λ(N - dN)) / λ(N) · N / √dN, "
        f"which would have the standard deviation √2 if an image were one Gaussian sample. Left: histogram of z, mean "
        f"and standard deviation over the eigenvalues, and a normal density. Right: root mean square of z in ranges of "
        f"N, a line an eigenvalue from the largest (dark) down; flat is the 1/N, lines on one another the λ of eq. 18. "
        f"Over {orders}, without N < {SKIP} dN.{out} "
        f"{provenance(results, f'networks/*/{options.probe}.csv')}"
    )
