"""A torch model trained block by block from a data loader: the call, and what it gives."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from layerwise.contract import NO_HOOKS, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import loop
from layerwise.gradient.losses import loss_of
from layerwise.layers import build as layers
from layerwise.layers import zoo
from layerwise.layers.settings import PLAIN
from layerwise.layers.words import merged
from layerwise.local.loaders import Loader, loaded
from layerwise.methods import local
from layerwise.options import typed
from layerwise.run import machine

LOADED = {
    "batch": "the loader says how many samples a batch has",
    "features": "samples of a loader are fed through the frozen blocks at each step",
    "augment": "put transforms in the loader's data set",
    "init": "give the model with the weights to start from",
}  # options that are for studies


@dataclass(frozen=True)
class Trained:
    """A model that was trained block by block.

    Parameters
    ----------
    module
        The blocks up to the best one by validation, with its decision block, or with the model's own head; in
        evaluation mode, on the device of the training.
    record
        ``blocks`` (a row a window, with its decision block, memory and validation), ``chosen`` (the last block that is
        kept), ``history`` (a row an epoch), ``epochs`` and ``steps``: what `methods.local.fit` records.
    layers
        Layer words that build such a module, where the model was given in words; None for a user's own module.
    """

    module: nn.Sequential
    record: dict[str, Any]
    layers: tuple[str, ...] | None


def train(
    model: nn.Module | str | Sequence[str],
    loader: Iterable[tuple[Tensor, Tensor]],
    valid: Iterable[tuple[Tensor, Tensor]] | None = None,
    *,
    classes: int | None = None,
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> Trained:
    """Train a model block by block, each block towards a decision block of its own (thesis chapter 6).

    A step holds one window of blocks, and never the whole model. Batches are taken as the loader gives them: nothing
    holds the data set, and each epoch of each window is a pass over the loader.

    Parameters
    ----------
    model
        An nn.Sequential, whose layers make blocks that each begin with a layer with weights (nest layers that are to
        stay together); another nn.Module, which torch.fx cuts where one tensor alone is alive; the name of a model,
        such as ``"vgg13_bn"`` or ``"timm efficientnet_b0"``; or layer words. A module is trained in place,
        from the weights that it has; those that want no gradient stay.
    loader
        Gives batches ``(x, y)``: floats ``(n, *shape)``, and numbers of classes ``(n,)``. Its length need not be known.
    valid
        The same for validation, by which the network is cropped; None keeps all blocks.
    classes
        How many there are, for a model in words; by itself those that ``loader.dataset.classes`` names.
    seed
        Of all that is drawn: first weights of words and of decision blocks, dropouts, and the loader's shuffling where
        it uses torch's global generator.
    device
        ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.
    options
        Those of `methods.local.Options`. With a `memory` target the decision blocks are searched for, so `decision` may
        be left out; `epochs` may be one number.

    Returns
    -------
    Trained
        On a CPU and one number of threads the same bytes for the same seed, and those of `methods.local.fit` on
        tensors where the loader gives the same batches. Statistics of batch normalisation that are taken anew after
        `input_dropout` come from a pass over the loader.

    Raises
    ------
    LayerwiseError
        For a loader without batches or with other ones than above, a model that does not end in a score a class or
        that cannot take the samples, and what `methods.local.fit` refuses.
    """
    train_loader = Loader(loader, "loader", seed)
    valid_loader = Loader(valid, "valid", seed + 1) if valid is not None else None
    x, _ = next(iter(train_loader))
    given = _options(options, len(x))
    where = machine.device(device)
    with PLAIN.applied(), loop.kept_generators(where):
        torch.manual_seed(seed)
        parts, words = _parts(model, tuple(x.shape[1:]), _classes(classes, loader))
        dtype = x.dtype if words and x.dtype == torch.float64 else layers.dtype_of(nn.Sequential(*parts))
        module, sample = nn.Sequential(*parts).to(where, dtype), x[:1].to(where, dtype)
        task = _task(_outputs(module, sample), classes)
        module = layers.for_images(module)
        for each in (train_loader, valid_loader):
            if each is not None:
                each.classes, each.shape = len(task.classes), tuple(x.shape[1:])
        _, targets = loss_of(given.loss, task, dtype)
        samples = loaded(train_loader, valid_loader, task, targets, sample, given.batch)
        training = local.training_of(module, samples, given, seed)
        training.run(NO_HOOKS)
    network, kept, decision = training.network()
    return Trained(network, training.record(), (*merged(words[:kept]), *decision) if words else None)


def _options(options: dict[str, Any], batch: int) -> local.Options:
    for name, instead in LOADED.items():
        if name in options:
            raise LayerwiseError(f"option {name!r} is not for a loader: {instead}")
    if options.get("memory") is not None:
        options = {"decision": (), **options}
    if isinstance(options.get("epochs"), int):
        options = {**options, "epochs": (options["epochs"],)}
    return typed(local.Options, {**options, "batch": batch}, "local.train", "method 'local'")


def _classes(classes: int | None, loader: Any) -> int | None:
    """Return the number of classes that is given, or that a data set as torchvision has them names."""
    named = getattr(getattr(loader, "dataset", None), "classes", None)
    return classes if classes is not None or named is None else len(named)


def _parts(
    model: nn.Module | str | Sequence[str], shape: tuple[int, ...], classes: int | None
) -> tuple[list[nn.Module], list[str]]:
    """Return the layers of a model in a row, and a word for each; no words for a user's own."""
    if isinstance(model, nn.Sequential):
        return list(model), []
    if isinstance(model, nn.Module):
        return _cut(model), []
    if not isinstance(model, (str, tuple, list)):
        raise LayerwiseError(
            f"model is {type(model).__name__}: give a torch module, the name of a model, or layer words"
        )
    words = [model if set(model) & {" ", "."} else f"torchvision {model}"] if isinstance(model, str) else list(model)
    if classes is None or classes < 2:
        raise LayerwiseError("say how many classes there are, as classes=10: a model in words has as many outputs")
    if not layers.ends_in_scores(words):
        raise LayerwiseError("the layers do not end in a score a class: end them in 'dense outputs', or in a model")
    return layers.assemble(words, shape, classes)


def _cut(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model that is no sequence."""
    parts = [part for part, _ in zoo.cut(model, type(model).__name__)]
    for part in parts:
        assert isinstance(part, fx.GraphModule)
        for node in part.graph.nodes:
            # The trace has written down whether it trained, which a forward of its own would ask for each time.
            if node.op == "call_function" and "dropout" in str(getattr(node.target, "__name__", "")):
                raise LayerwiseError(
                    f"model {type(model).__name__!r} calls the function {node.target.__name__} in its forward, which "
                    "stays on after training where a model is cut: use the module nn.Dropout instead"
                )
    return parts


@torch.no_grad()
def _outputs(module: nn.Sequential, sample: Tensor) -> int:
    """Return how many scores the layers give; LayerwiseError where one cannot take what it is given."""
    z: Any = sample
    for number, layer in enumerate(module.eval(), 1):
        cut = isinstance(layer, fx.GraphModule)
        name = f"block {number} of the model" if cut else f"layer {number} of the model, {type(layer).__name__},"
        shape = tuple(z.shape[1:])
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # torch.fx prints a traceback beside what it raises
                z = layer(z)
        except zoo.NO_RUN as error:
            said = " ".join(str(error).split())[:160]
            raise LayerwiseError(f"{name} cannot take samples of shape {shape} ({said}): mend model or data") from None
        if not isinstance(z, Tensor) or not len(z.shape):
            raise LayerwiseError(f"{name} gives {type(z).__name__}, not a tensor of a row a sample: wrap it")
    if z.dim() != 2:
        raise LayerwiseError(
            f"the model ends in {tuple(z.shape[1:])} numbers a sample, not in a score a class: flatten them and end in "
            "nn.Linear(..., classes)"
        )
    return z.shape[1]


def _task(outputs: int, classes: int | None) -> Task:
    """Return the task of a model with so many scores; one score tells two classes apart."""
    count = max(2, outputs)
    if classes is not None and classes != count:
        raise LayerwiseError(f"classes is {classes}, and the model has {outputs} outputs: give the same of both")
    return Task("signs" if outputs == 1 else "onehot", outputs, tuple(map(str, range(count))))
