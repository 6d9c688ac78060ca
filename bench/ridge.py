"""The forms of the ridge read-out and scikit-learn's, at three shapes in one run: `python bench/ridge.py`.

Random features in float32, ten classes, one strength. Seconds are the median of the rounds, in turn; memory is what a
fit takes beyond the features; the difference is that of the weights from the primal ones, relative.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
from sklearn.linear_model import Ridge
from torch import Tensor

from layerwise import environment
from layerwise.contract import Features, Segment, Split, Task
from layerwise.methods import ridge
from layerwise.run import machine

CPU = torch.device("cpu")
TASK = Task("onehot", 10, tuple("0123456789"))
SHAPES = ((20_000, 1000), (3000, 3000), (1500, 20_000))
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
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    machine.deterministic(CPU, given.threads)
    machine.warm_up(CPU)
    print(f"{machine.processor()}, {given.threads} thread(s), torch {torch.__version__}, {given.rounds} rounds")
    for samples, width in SHAPES:
        features = features_of(samples, width)
        fits = {form: ours(features, form) for form in ("primal", "dual", "iterative")}
        fits["scikit-learn"] = peer(features)
        seconds: dict[str, list[float]] = {name: [] for name in fits}
        memory, weights = dict.fromkeys(fits, 0.0), {}
        for _ in range(given.rounds):
            for name, fit in fits.items():
                with machine.metered(CPU) as resting:
                    pass
                with machine.metered(CPU) as reading:
                    weights[name] = fit()
                seconds[name].append(reading["seconds"])
                memory[name] = max(memory[name], reading["peak_memory_mb"] - resting["peak_memory_mb"])
        for name, each in seconds.items():
            apart = float((weights[name] - weights["primal"]).norm() / weights["primal"].norm())
            print(
                f"{samples:7,} x {width:6,}  {name:13} {statistics.median(each):7.2f} s ({min(each):.2f} to "
                f"{max(each):.2f})  {memory[name]:6.0f} MB  {apart:.0e} from primal",
                flush=True,
            )


if __name__ == "__main__":
    environment.same_instructions()
    sys.exit(main())
