"""The forms of the ridge read-out and scikit-learn's, at three shapes in one run: `python bench/ridge.py`.

Random features in float32, ten classes, one strength. Each fit has a process of its own, in turn. Seconds are those of
the processor, the median of the rounds with their range; memory is the most that a fit takes beyond the features; the
difference is that of the weights from those of float64, relative.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
from apart import measured
from sklearn.linear_model import Ridge
from torch import Tensor

from layerwise import environment
from layerwise.contract import Features, Segment, Split, Task
from layerwise.methods import ridge
from layerwise.run import machine

CPU = torch.device("cpu")
TASK = Task("onehot", 10, tuple("0123456789"))
SHAPES = ((5000, 1000), (2500, 2500), (1000, 6000))
STRENGTH = 0.01


def features_of(samples: int, width: int) -> Features:
    """Return features that depend on one another, as those of images do, with a validation split for one strength."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(samples + 500, 300, generator=draw) @ torch.randn(300, width, generator=draw) / 17
    x = torch.relu(x + torch.randn(x.shape, generator=draw))
    y = torch.randint(10, (len(x),), generator=draw)
    return Features(Split(x[500:], y[500:]), Split(x[:500], y[:500]), TASK)


def ours(features: Features, form: str) -> Callable[[], Tensor]:
    options = ridge.Options(form=form, select="valid", strengths=(STRENGTH,), residual=1e-5)  # type: ignore[arg-type]
    segment = Segment(("dense outputs",), features.shape, TASK.outputs)

    def fit() -> Tensor:
        module = ridge.fit(segment, features, options, seed=0, device=CPU).module
        return torch.as_tensor(module[0].weight).detach()

    return fit


def peer(features: Features) -> Callable[[], Tensor]:
    """Scikit-learn's ridge on the standardised features, as `make_pipeline(StandardScaler(), Ridge())` has it."""
    x, y = features.train.x, TASK.targets(features.train.y).numpy()

    def fit() -> Tensor:
        scale = x.std(dim=0, correction=0)
        model = Ridge(alpha=STRENGTH * len(x), solver="cholesky").fit(((x - x.mean(0)) / scale).numpy(), y)
        return torch.from_numpy(model.coef_) / scale

    return fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    machine.deterministic(CPU, 1)  # a process that is forked has one thread
    machine.warm_up(CPU)
    print(f"{machine.processor()}, 1 thread, torch {torch.__version__}, {given.rounds} rounds")
    for samples, width in SHAPES:
        features = features_of(samples, width)
        fits = {form: ours(features, form) for form in ("primal", "dual", "iterative")}
        fits["scikit-learn"] = peer(features)
        splits = (Split(split.x.double(), split.y) for split in (features.train, features.valid))
        exact = measured(ours(Features(*splits, TASK), "dual" if samples < width else "primal"))[0]
        rounds = [{name: measured(fit) for name, fit in fits.items()} for _ in range(given.rounds)]
        for name in fits:
            seconds = sorted(each[name][1] for each in rounds)
            memory = max(each[name][2] for each in rounds)
            apart = float((rounds[0][name][0] - exact).norm() / exact.norm())
            print(
                f"{samples:7,} x {width:6,}  {name:13} {statistics.median(seconds):6.2f} s ({seconds[0]:.2f} to "
                f"{seconds[-1]:.2f})  {memory:6.0f} MB  {apart:.0e} from float64",
                flush=True,
            )


if __name__ == "__main__":
    environment.same_instructions()
    sys.exit(main())
