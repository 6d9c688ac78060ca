"""How soon the eigenvalues of the density matrix settle, as the probe ``density`` saw them at few numbers of samples.

For dmn supplement figure 7.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from layerwise.errors import LayerwiseError
from layerwise.figures._panels import empty, ladder, legend, line, looked_at, over, probed, ran, seen
from layerwise.figures._style import MARKERS, grid, over_seeds, provenance
from layerwise.results.study_results import StudyResults

MOST = 10  # lines in a panel


@dataclass(frozen=True)
class Options:
    probe: str = "density"
    """The probe of the study that took the eigenvalues."""
    networks: tuple[str, ...] = ()
    """Networks, as dataset/path, beside which they lie, a panel each; all that the probe looks at where absent."""
    samples: tuple[int, ...] = ()
    """Numbers of samples to show; all where absent."""


def draw(results: StudyResults, options: Options) -> Figure:
    networks = looked_at(results, options.probe, options.networks)
    table = probed(results, options.probe, ("samples", "rank", "value"), "eigenvalues")
    known = sorted(table["samples"].unique()) if len(table) else []
    samples = options.samples or tuple(known)
    for n in options.samples:
        if len(table) and n not in known:
            raise LayerwiseError(f"figure eigenvalues: the probe {options.probe} took none at {n} samples")
    if len(samples) > MOST:
        raise LayerwiseError(f"figure eigenvalues: {len(samples)} numbers of samples; name at most {MOST} as 'samples'")
    figure, axes = grid(len(networks), 3, 3.2, 2.9)
    figure.set_figwidth(figure.get_figwidth() + 1.3)
    for ax, network in zip(axes, networks, strict=True):
        mine = seen(results, table, network, "eigenvalues")
        ax.set_title(network.partition("/")[0], loc="left")
        ax.set_xlabel("rank of the eigenvalue")
        if mine is None:
            empty(ax)
            continue
        ax.set_yscale("log")
        for i, (n, colour) in enumerate(zip(samples, ladder(len(samples)), strict=True)):
            told = over(mine[mine["samples"] == n], "rank", "value", logarithmic=True)
            line(ax, told, f"{n:,} images", colour, marker=MARKERS[i % len(MARKERS)], ms=4)
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes[0].set_ylabel("eigenvalue (log scale)")
    legend(axes)
    return figure


def caption(results: StudyResults, options: Options) -> str:
    there, out = ran(results, looked_at(results, options.probe, options.networks))
    return (
        f"Eigenvalues of the second moment of image patches of {', '.join(there)} by rank, taken over growing "
        f"numbers of training images: {over_seeds(results, *there)}, each with an "
        f"order of its own.{out} {provenance(results, f'networks/*/{options.probe}.csv')}"
    )
