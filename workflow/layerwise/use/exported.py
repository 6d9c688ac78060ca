"""A network as one safetensors file: weights, shift and scale, and in the header words, classes and inputs as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerwise import __version__, store
from layerwise.contract import Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers.words import LIBRARIES, Blocks, parse
from layerwise.options import typed
from layerwise.preparation.check import check_scaling
from layerwise.preparation.record import TaskRecord
from layerwise.use.inputs import Inputs
from layerwise.use.network import Network

NOTE = "layerwise"
FORMAT = 1  # of the header


@dataclass(frozen=True)
class Header:
    """What the header of an exported file holds beside ``task`` and ``inputs``.

    Parameters
    ----------
    words, shapes
        For each segment the layer words, and the shape of a sample that goes into it.
    fingerprints
        Of the blocks of models among the words, by word.
    origin
        What the network was called: study, data set, seed, path and digest of its fit.
    versions
        Of the packages that fitted it.
    """

    words: tuple[tuple[str, ...], ...]
    shapes: tuple[tuple[int, ...], ...]
    fingerprints: dict[str, str] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    layerwise: str = __version__
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise LayerwiseError(f"format {self.format}, and this version of layerwise reads {FORMAT}")
        if len(self.words) != len(self.shapes) or not self.words:
            raise LayerwiseError(f"{len(self.words)} segments with {len(self.shapes)} shapes")


def export_network(network: Network, header: Header, path: str | Path) -> None:
    """Write a network in one file, whole or not at all."""
    if Path(path).suffix != ".safetensors":
        raise LayerwiseError(f"{path}: name a file that ends in .safetensors")
    notes = dataclasses.asdict(header)
    notes |= {"task": dataclasses.asdict(network.task), "inputs": dataclasses.asdict(network.inputs)}
    store.write_tensors(Path(path), network.state_dict(), {NOTE: json.dumps(notes, sort_keys=True)})


def load_network(path: str | Path, *, own_models: bool = False) -> Network:
    """Load an exported network, on the CPU and in evaluation mode.

    Parameters
    ----------
    own_models
        Import the modules that the file names for models from outside torchvision and timm: code of this machine runs
        as the file wants it. Without, such a file is refused.

    Raises
    ------
    LayerwiseError
        For a file that is no exported network, is damaged, or has blocks of models that are built otherwise here.
    """
    path = Path(path)
    tensors, (header, task, inputs) = store.read_tensors(path), _header(path)
    try:
        words = [parse(word) for segment in header.words for word in segment]
        own = [str(word) for word in words if isinstance(word, Blocks) and word.kind not in LIBRARIES]
        if own and not own_models:
            raise LayerwiseError(f"layer '{own[0]}' is code of your own; say own_models=True to import it")
        check_scaling(tensors["shift"], tensors["scale"], inputs.shape, "its preparation")
        with torch.random.fork_rng(devices=[]):  # models draw weights before they get their own
            segments = [_segment(header, place, tensors, task.outputs) for place in range(len(header.words))]
        network = Network(segments, tensors["shift"], tensors["scale"], task, inputs)
        network.load_state_dict(tensors)
    except LayerwiseError as error:
        raise LayerwiseError(f"{path}: {error}") from None
    except (KeyError, RuntimeError) as error:  # a tensor that is not there, too many, or of another shape
        text = " ".join(str(error).split())[:200]
        raise LayerwiseError(f"{path}: its weights are not those of its words ({text}); export it again") from None
    return network


def _header(path: Path) -> tuple[Header, Task, Inputs]:
    try:
        notes: Any = json.loads(store.read_notes(path).get(NOTE, "null"))
    except (ValueError, RecursionError):
        notes = None
    if not isinstance(notes, dict):
        raise LayerwiseError(f"{path}: no network that the verb export wrote")
    parts = [notes.pop(name, None) for name in ("task", "inputs")]
    told = [part if isinstance(part, dict) else {} for part in parts]
    task = typed(TaskRecord, told[0], str(path), "its task")
    inputs = typed(Inputs, told[1], str(path), "its inputs")
    return typed(Header, notes, str(path), "its header"), Task(task.kind, task.outputs, task.classes), inputs


def _segment(header: Header, place: int, tensors: dict[str, Tensor], outputs: int) -> nn.Sequential:
    """Build the layers of one segment, in the floating type of its weights."""
    parts, words = layers.assemble(header.words[place], header.shapes[place], outputs)
    for word, now in layers.fingerprints(parts, words):
        if header.fingerprints.get(word, now) != now:
            version = header.versions.get(parse(word).kind, "")
            raise LayerwiseError(f"layer '{word}' is another block here: install {parse(word).kind} {version}".rstrip())
    own = [tensor for name, tensor in tensors.items() if name.startswith(f"segments.{place}.")]
    module = nn.Sequential(*parts)
    return module.double() if any(tensor.dtype == torch.float64 for tensor in own) else module
