"""Accuracy of a ridge read-out of CIFAR-10 against the number of patches, all from one pass: `python bench/patches.py`.

The filters of the study `cifar10_closed` on its 10,000 images, whose data set `python -m layerwise dataset
studies/cifar10_closed.yaml cifar10_10k` prepares; `--sizes 6 8` shares their number out among sides of 6 and 8 pixels.
The first so many filters of a fit are those that a smaller fit draws. Products of features are summed up over runs of
filters, which are forgotten, so that what is summed by then gives a point of the curve, and memory is the same at its
end as at its beginning. Points gather in `bench/patches.jsonl`, and `--draw FILE` draws them and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from math import prod, sqrt
from pathlib import Path

import pandas as pd
import torch
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor, nn

from layerwise import environment
from layerwise.contract import Dataset, Features, Segment, Split
from layerwise.figures import style
from layerwise.figures._style import COLOURS, DASHES, MARKERS, new
from layerwise.maths import dual
from layerwise.maths.intervals import interval
from layerwise.methods import patches
from layerwise.preparation import disk
from layerwise.run import machine
from layerwise.run.source import Through

CPU = torch.device("cpu")
STRENGTHS = (0.1, 0.03, 0.01, 0.003)
RUN = 100  # filters of a size
POINTS = Path(__file__).with_name("patches.jsonl")


def some(split: Split, count: int) -> Split:
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    return split.rows(order[:count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", type=int, nargs="*", default=[500, 2000, 8000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[6])
    parser.add_argument("--data", type=Path, default=Path("results/cifar10_closed/datasets/cifar10_10k"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--valid", type=int, default=5000)
    parser.add_argument("--test", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw", type=Path, help="the figure to write")
    given = parser.parse_args()
    if given.draw:
        return draw(given.draw)
    machine.deterministic(CPU, given.threads)
    machine.keep_freed_memory()
    data = disk.read(given.data)
    of_each = max(given.counts) // len(given.sizes)
    modules = [filters(data, size, of_each, given.seed) for size in given.sizes]
    parts = [data.train, some(data.valid, given.valid), some(data.test, given.test)]
    print(
        f"{machine.processor()}, torch {torch.__version__}, {[len(part) for part in parts]} images, sides of "
        f"{given.sizes}, seed {given.seed}"
    )
    began = time.process_time()
    for count, spent, sums in summed(modules, parts, sorted(given.counts)):
        with machine.metered(CPU) as reading:
            found = point(sums, parts, data.task)
        said = {
            "patches": count,
            "sizes": given.sizes,
            "seed": given.seed,
            **found,
            **spent,
            "peak_of_solving_mb": reading["peak_memory_mb"],
        }
        said["cpu_seconds"] = round(time.process_time() - began, 1)
        print(json.dumps(said), flush=True)
        with POINTS.open("a") as file:
            file.write(json.dumps(said) + "\n")


def filters(data: Dataset, size: int, count: int, seed: int) -> nn.Module:
    """Return the recipe's filters of one size, drawn from the training images, with means over 2x2 places."""
    side = data.train.shape[1] - size + 1  # odd, of maps whose middle rows lie in both halves
    pool = f"avgpool {side // 2 + 1} stride {side // 2}"
    words = (f"conv {size} {count} contrast 0.01 mirror", "softshrink 0.25", "crelu", pool, "fold")
    segment = Segment(words, data.train.shape, data.task.outputs)
    features = Features(data.train, data.valid, data.task)
    return patches.fit(segment, features, patches.Options(), seed=seed, device=CPU).module


def summed(modules: list[nn.Module], parts: list[Split], counts: list[int]):
    """Yield a number of filters and the products of the features of each part with those of the first, up to it."""
    n = len(parts[0])
    sums = [torch.zeros(len(part), n, dtype=torch.float64) for part in parts]
    cuts = []
    for module in modules:
        shape = Through(parts[0], module, CPU).shape
        width = RUN * prod(shape) // len(module[0].weight)
        cuts.append([Through(part, module, CPU).runs(width) for part in parts])
    done = 0
    for count in counts:
        with machine.metered(CPU) as reading:
            while done < count:
                train, *others = (next(cut)[1].x.flatten(1) for cut in cuts[done // RUN % len(cuts)])
                z, mean, scale = dual.standardised(train)
                z = z.float()
                dual.add(sums[0], z)
                for total, x in zip(sums[1:], others, strict=True):
                    total += ((x.double() - mean) * scale).float() @ z.T
                done += RUN
        spent = {"seconds_of_sums": reading["seconds"], "peak_of_sums_mb": reading["peak_memory_mb"]}
        yield count, spent, sums


def point(sums: list[Tensor], parts: list[Split], task) -> dict[str, float]:
    """Return the accuracy on the test images, with half its 95 % interval, at the strength that validation chooses."""
    kernel, *cross = sums
    dual.mirror(kernel)
    y = task.targets(parts[0].y, torch.float64)
    best: dict[str, float] = {"valid": -1.0}
    for strength in STRENGTHS:
        found = dual.coefficients(kernel, y - y.mean(0), strength * len(y))
        valid, test = (
            float((task.labels(each @ found + y.mean(0)) == part.y).double().mean())
            for each, part in zip(cross, parts[1:], strict=True)
        )
        if valid > best["valid"]:
            half = 1.96 * sqrt(test * (1 - test) / len(parts[2]))
            best = {"strength": strength, "valid": valid, "test": test, "half_interval": round(half, 4)}
    return best


def draw(path: Path) -> None:
    """Draw accuracy against the number of patches: means over seeds with 95 % intervals, a line a set of sizes."""
    points = pd.read_json(POINTS, lines=True)
    points["sizes"] = [" and ".join(f"{size}x{size}" for size in sizes) for sizes in points["sizes"]]
    with style():
        figure = new(4.8, 3.2)
        ax = figure.add_subplot()
        for i, (sizes, rows) in enumerate(points.groupby("sizes")):
            found = {count: interval(100 * at["test"]) for count, at in rows.groupby("patches")}
            means, halves = zip(*found.values(), strict=True)
            look = {"color": COLOURS["patches"], "marker": MARKERS[i], "ls": DASHES[i]}
            ax.errorbar(list(found), means, halves, label=f"patches of {sizes} pixels", **look)
        ax.set(xscale="log", xlabel="patches (log scale)", ylabel="test accuracy, %")
        ax.xaxis.set(major_locator=FixedLocator(sorted(set(points["patches"]))), minor_locator=NullLocator())
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.legend(loc="lower right")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    environment.same_instructions()
    sys.exit(main())
