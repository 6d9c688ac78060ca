"""Weights of a model from a file: the state dict of the whole model, from which each block takes its own by name.

The file is a .safetensors one. A name or a shape that does not match is refused, but for the parameters that are said
to be new: they are drawn, as those of a head for other classes are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from layerwise.errors import LayerwiseError, nearest
from layerwise.layers.words import Blocks, parse
from layerwise.preparation.paths import file_at

# Heads that help to train a model, and that blocks in a row do without; files have them.
SECOND_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
COUNTER = "num_batches_tracked"  # of batch normalisation; older files lack it, and nothing computed depends on it


@dataclass(frozen=True)
class Weights:
    """Weights of a whole model.

    Parameters
    ----------
    path
        The file, for errors.
    tensors
        By the model's names.
    new
        Names of parameters, or of the layers that hold them, which are drawn.
    """

    path: str
    tensors: Mapping[str, Tensor]
    new: tuple[str, ...] = ()

    def demand_one_model(self, words: Sequence[str]) -> None:
        """Refuse layers of no model, or of several."""
        models = {(layer.kind, layer.name): str(layer) for layer in map(parse, words) if isinstance(layer, Blocks)}
        if len(models) != 1:
            named = f"of several, {', '.join(models.values())}" if models else "of none"
            raise LayerwiseError(f"option 'weights' is for blocks of one model, and the layers are {named}; mend them")

    def demand(self, name: str, model: nn.Module) -> None:
        """Refuse weights of another architecture, by the names of a model's parameters, and ``new`` that it lacks."""
        names = list(model.state_dict())
        layers = [n for n, _ in model.named_modules() if n]
        for each in self.new:
            if not any(_within(n, each) for n in names):
                raise LayerwiseError(
                    f"option 'new': {name} has no parameter {each!r}{nearest(each, [*layers, *names])}"
                )
        second = SECOND_HEADS.get(name, ())
        lacking = [n for n in names if n not in self.tensors and not self._is_new(n) and not n.endswith(COUNTER)]
        extra = [n for n in self.tensors if n not in set(names) and not self._is_new(n) and not n.startswith(second)]
        if lacking:
            raise self._other(f"has no {lacking[0]!r} of {name}{_more(lacking)}")
        if extra:
            raise self._other(f"has {extra[0]!r}, which {name} has not{_more(extra)}")

    def fill(self, block: nn.Module, outputs: int) -> None:
        """Give a block its weights; LayerwiseError where a shape is another, which names the classes or channels."""
        for name, own in block.state_dict().items():
            if self._is_new(name) or name not in self.tensors:
                continue
            given = self.tensors[name]
            if given.shape != own.shape or given.is_floating_point() != own.is_floating_point():
                raise self._misfit(name, own, given, outputs)
            if not given.isfinite().all():
                raise LayerwiseError(f"option 'weights': {self.path}: {name!r} holds NaN or infinity; give others")
            with torch.no_grad():
                own.copy_(given)

    def _is_new(self, name: str) -> bool:
        return any(_within(name, each) for each in self.new)

    def _misfit(self, name: str, own: Tensor, given: Tensor, outputs: int) -> LayerwiseError:
        mine, theirs = tuple(own.shape), tuple(given.shape)
        layer = name.rpartition(".")[0] or name
        draw = f"add {layer!r} to option 'new' to draw it"
        if mine[:1] == (outputs,) and mine[1:] == theirs[1:]:
            made, asked = f"made for {theirs[0]} classes", f"the data set has {outputs}"
            if outputs == 1:
                asked = "the data set has one target"
            return LayerwiseError(f"option 'weights': {self.path}: {made}, and {asked}: {draw}")
        if len(mine) == len(theirs) == 4 and (mine[0], *mine[2:]) == (theirs[0], *theirs[2:]):
            made, asked = f"made for images of {theirs[1]} channels", f"these have {mine[1]}"
            return LayerwiseError(f"option 'weights': {self.path}: {made}, and {asked}: {draw}")
        shapes = ["x".join(map(str, shape)) or "a number" for shape in (theirs, mine)]
        return self._other(f"has {name!r} of shape {shapes[0]}, and in the model it is {shapes[1]}")

    def _other(self, what: str) -> LayerwiseError:
        return LayerwiseError(f"option 'weights': weights of another architecture: {self.path} {what}")


def read(path: str | None, new: Sequence[str] = ()) -> Weights | None:
    """Read the weights that options name; None where they name no file.

    LayerwiseError for a file that is missing or no .safetensors one, and for ``new`` without a file.
    """
    if path is None:
        if new:
            raise LayerwiseError("option 'new' says what is not taken from 'weights': give both, or neither")
        return None
    file = file_at(path, "option 'weights'")
    try:
        return Weights(path, load_file(file), tuple(new))
    except (SafetensorError, ValueError):
        told = "cut short, or not a safetensors file; give the state dict of a whole model"
    except OSError as error:
        told = f"cannot be read ({error.strerror or error}); check its permissions"
    raise LayerwiseError(f"option 'weights': {path}: {told}")


def _within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(f"{layer}.")


def _more(names: Sequence[str]) -> str:
    return f" ({len(names) - 1} more)" if len(names) > 1 else ""
