"""Models of torchvision and timm, or of any importable constructor, as lists of blocks whose composition is the model.

A model is traced by torch.fx down to its plain containers; every other module is one opaque node, so what it does
inside need not be traceable. A model may be cut where one tensor alone is alive, and a block begins at such a place
before a node that has weights. Models are built offline; weights of others come from a file (`pretrained`).
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.func import functional_call

from layerwise.errors import LayerwiseError, nearest
from layerwise.layers.pretrained import Weights
from layerwise.layers.settings import PLAIN
from layerwise.layers.words import Blocks

# What torch raises for samples that layers cannot take, and torch.fx for what cannot be traced.
NO_RUN = (RuntimeError, ValueError, AssertionError, TypeError, IndexError)
NO_TRACE = (fx.proxy.TraceError, TypeError, NotImplementedError, RuntimeError)
# Containers that libraries define for a stage: their forward is traced, as that of nn.Sequential is.
CONTAINERS = {"Encoder", "AnyStage", "MobileNetV3Stage", "RegStage", "ConvNeXtStage", "ByobStage"}
LARGE = 224  # side of the images that models are made for
SMALL = 64  # sides of images up to which the stem does not halve them


@dataclass(frozen=True)
class Block:
    """A block of a model.

    Parameters
    ----------
    module
        Its layers, ``(N, *shape)`` to ``(N, *out_shape)``; parameters keep the names that they have in the model.
    word
        The layer word that stands for it alone.
    made_of
        The parts of the model that it is made of.
    shape, out_shape
        Shapes of one sample before and after it.
    """

    module: nn.Module
    word: Blocks
    made_of: str
    shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def fingerprint(module: nn.Module) -> str:
    """Return a digest of a block's modules, its steps, and the names and shapes of its weights.

    Another version of a library may build another block under the same name.
    """
    weights = [(name, tuple(w.shape)) for name, w in module.state_dict().items()]
    parts = [f"{name}: {type(m).__name__} {m.extra_repr()}" for name, m in module.named_modules() if name]
    nodes = module.graph.nodes if isinstance(module, fx.GraphModule) else ()
    steps = [f"{n.op} {getattr(n.target, '__name__', n.target)} {n.args} {n.kwargs}" for n in nodes]
    return hashlib.sha256(repr([weights, parts, steps]).encode()).hexdigest()[:16]


def run(word: Blocks, shape: tuple[int, ...], outputs: int, weights: Weights | None = None) -> list[Block]:
    """Return the blocks that a layer word names, for samples of a shape; torch's generator draws their first weights.

    The whole model is built, so that a block has the weights that it would have in the whole.

    Parameters
    ----------
    weights
        What the blocks start from in place of what is drawn, but for the parameters that are new there.

    Raises
    ------
    LayerwiseError
        For a model or a block that is not there, samples that the first of the blocks cannot take, and weights of
        another model.
    """
    with PLAIN.applied():
        if word.first == 1:
            model = build(word.kind, word.name, shape, outputs, stem=word.stem or None)
        else:
            model = _constructed(word.kind, word.name, outputs, LARGE)
        try:
            parts = cut(model, word.name)
        except LayerwiseError:
            if (word.first, word.last) != (1, None):
                raise
            parts = [(model, word.name)]
        last = word.last or len(parts)
        if last > len(parts) or word.first > len(parts):
            raise LayerwiseError(f"layer '{word}': {word.name} has {len(parts)} blocks")
        blocks = _shaped(word, parts[word.first - 1 : last], shape, len(parts))
        if weights is not None:
            weights.demand(word.name, model)
            for block in blocks:
                weights.fill(block.module, outputs)
        return blocks


# ---------------------------------------------------------------- a model, built


def build(library: str, name: str, shape: tuple[int, ...], outputs: int, *, stem: int | None = None) -> nn.Module:
    """Build a model without weights of others, for images of a shape; torch's generator draws its first weights.

    Parameters
    ----------
    library
        ``torchvision``, ``timm``, or the dotted name of a module that holds the constructor.
    shape
        Of one image, ``(channels, height, width)``.
    stem
        Stride of the first convolution: 2 as most models have it for large images, or 1, where a max-pool directly
        behind it goes as well. By itself 1 for images whose sides are 64 or less. Patches are left as they are.

    Raises
    ------
    LayerwiseError
        For a name that is not there (with the nearest), and images that the model cannot take.
    """
    if len(shape) != 3:
        raise LayerwiseError(f"model {name!r} takes images (channels, height, width), not samples of shape {shape}")
    model = _constructed(library, name, outputs, max(shape[1:]))
    _adapt(model, shape, (1 if max(shape[1:]) <= SMALL else 2) if stem is None else stem)
    try:
        _fitted(model, shape)
    except NO_RUN as error:
        said = " ".join(str(error).split())[:120]
        text = f"model {name!r} cannot take images of {shape[1]}x{shape[2]} with {shape[0]} channels ({said})"
        raise LayerwiseError(f"{text}: give larger images, or another model") from None
    return model


def _constructed(library: str, name: str, outputs: int, side: int) -> nn.Module:
    if library == "torchvision":
        models = _imported("torchvision.models", "torchvision", name)
        known = models.list_models(module=models)
        if name not in known:
            raise LayerwiseError(f"model {name!r}: torchvision has no such classifier{nearest(name, known)}")
        constructor: Any = models.get_model_builder(name)
        more: dict[str, Any] = {"weights": None}
        if name in ("googlenet", "inception_v3"):  # their second heads are of no use in a sequence of blocks
            more |= {"aux_logits": False, "init_weights": False}
        if name.startswith("vit_"):
            more["image_size"] = side
        return constructor(num_classes=outputs, **more)
    if library == "timm":
        timm = _imported("timm", "timm", name)
        if not timm.is_model(name):
            raise LayerwiseError(f"model {name!r}: timm has no such model{nearest(name, timm.list_models())}")
        return timm.create_model(name, pretrained=False, num_classes=outputs)
    module = _imported(library, library, name)
    constructor = getattr(module, name, None)
    if not callable(constructor):
        known = [n for n, each in vars(module).items() if callable(each) and not n.startswith("_")]
        raise LayerwiseError(f"model {name!r}: {library} has no such function or class{nearest(name, known)}")
    model = constructor(num_classes=outputs)
    if not isinstance(model, nn.Module):
        raise LayerwiseError(f"model {name!r}: {library}.{name} gives {type(model).__name__}, not a torch module")
    return model


def _imported(module: str, package: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise LayerwiseError(f"model {name!r} needs the package {package}: install it beside torch") from None


def _adapt(model: nn.Module, shape: tuple[int, ...], stem: int) -> None:
    """Give the first convolution the channels of the images and the stride of the stem."""
    first = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        return
    name, conv = first
    patches = conv.kernel_size == conv.stride  # of a transformer: they stay as they are
    stride = conv.stride if patches or stem > 1 else (1, 1)
    if stride != conv.stride:
        names = [n for n, _ in model.named_modules()]
        for behind in names[names.index(name) + 1 :]:  # a max-pool directly behind it, as in ResNets
            module = model.get_submodule(behind)
            if isinstance(module, nn.MaxPool2d):
                _replace(model, behind, nn.Identity())
            if isinstance(module, (nn.MaxPool2d, nn.Conv2d, nn.Linear)):
                break
    if stride != conv.stride or conv.in_channels != shape[0]:
        with torch.random.fork_rng(devices=[]):  # the other weights are drawn as in the model itself
            new = type(conv)(
                shape[0],
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]
                stride,  # type: ignore[arg-type]
                conv.padding,  # type: ignore[arg-type]
                conv.dilation,  # type: ignore[arg-type]
                bias=conv.bias is not None,
            ).to(conv.weight.device)
        if conv.in_channels == shape[0]:
            new.load_state_dict(conv.state_dict())
        _replace(model, name, new)


Pool = nn.MaxPool2d | nn.AvgPool2d


class _TooSmallError(Exception):
    """Images are too small for a pool."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool


def _fitted(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Take away pools that would be larger than their input, as the last one of a VGG for images of 28 x 28.

    Returns the shape of what a sample then becomes; one of `NO_RUN` where it cannot run.
    """

    def refuse(pool: Pool, given: tuple[Tensor, ...]) -> None:
        size, pad = torch.nn.modules.utils._pair(pool.kernel_size), torch.nn.modules.utils._pair(pool.padding)
        if any(side + 2 * p < k for side, p, k in zip(given[0].shape[-2:], pad, size, strict=True)):
            raise _TooSmallError(pool)

    pools = {m: n for n, m in model.named_modules() if isinstance(m, (nn.MaxPool2d, nn.AvgPool2d))}
    while True:
        hooks = [pool.register_forward_pre_hook(refuse) for pool in pools]
        try:
            return out_shape(model, shape)
        except _TooSmallError as error:
            _replace(model, pools.pop(error.pool), nn.Identity())
        finally:
            for hook in hooks:
                hook.remove()


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)


@torch.no_grad()
def out_shape(module: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what a module makes of one sample, on fake tensors, which compute nothing."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            weights = dict([*module.named_parameters(), *module.named_buffers()])
            fakes: dict[str, Tensor] = {n: mode.from_tensor(w) for n, w in weights.items()}
            return tuple(functional_call(module, fakes, (torch.empty(2, *shape),)).shape[1:])
    except DataDependentOutputException:  # what it does depends on the numbers
        return tuple(module(torch.zeros(2, *shape)).shape[1:])
    finally:
        for m, training in modes.items():
            m.training = training


# ---------------------------------------------------------------- a model, cut


class _Tracer(fx.Tracer):
    """Goes into the model itself and into plain containers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) not in (nn.Sequential, nn.ModuleList) and type(m).__name__ not in CONTAINERS


def cut(model: nn.Module, name: str) -> list[tuple[nn.Module, str]]:
    """Cut a model into blocks, which share its weights: in order, each on what the one before it gives, they are it.

    Returns
    -------
    Each block, with the names of the parts of the model that it is made of.

    Raises
    ------
    LayerwiseError
        For a model that torch.fx cannot trace; it is one block then, of which nothing can be cut.
    """
    try:
        return _parts(model)
    except NO_TRACE as error:
        raise LayerwiseError(f"model {name!r} cannot be cut ({' '.join(str(error).split())[:160]})") from None


def _parts(model: nn.Module) -> list[tuple[nn.Module, str]]:
    graph = _Tracer().trace(model, concrete_args=_defaults(model))
    nodes = list(graph.nodes)
    at = {node: i for i, node in enumerate(nodes)}
    last = {node: max((at[user] for user in node.users), default=at[node]) for node in nodes}
    first = next(node for node in nodes if node.op == "placeholder")
    body = [node for node in nodes if node.op not in ("placeholder", "output", "get_attr")]
    starts = [0]
    for k, node in enumerate(body[:-1]):
        alive = [other for other in [first, *body[: k + 1]] if last[other] > at[node]]
        if alive == [node] and _weighted(model, body[k + 1]):
            starts.append(k + 1)
    ends = [*starts[1:], len(body)]
    return [_part(model, nodes, body, first, a, b) for a, b in zip(starts, ends, strict=True)]


def _defaults(model: nn.Module) -> dict[str, object]:
    """Return the arguments of the forward beside the images, as they come."""
    _, *rest = inspect.signature(model.forward).parameters.values()
    return {p.name: p.default for p in rest if p.default is not inspect.Parameter.empty}


def _weighted(model: nn.Module, node: fx.Node) -> bool:
    """Tell whether a node has weights that are trained, batch normalisation alone aside."""
    if node.op != "call_module":
        return False
    return any(w.dim() > 1 for w in model.get_submodule(str(node.target)).parameters())


def _part(
    model: nn.Module, nodes: Sequence[fx.Node], body: Sequence[fx.Node], first: fx.Node, a: int, b: int
) -> tuple[nn.Module, str]:
    """Return the nodes a to b - 1 as a module of their own."""
    graph = fx.Graph()
    made = {first if a == 0 else body[a - 1]: graph.placeholder("x")}
    for node in nodes:
        if node.op == "get_attr":
            made[node] = graph.node_copy(node)
    for node in body[a:b]:
        made[node] = graph.node_copy(node, lambda other: made[other])
    graph.output(made[body[b - 1]])
    for node in list(graph.nodes):
        if node.op == "get_attr" and not node.users:
            graph.erase_node(node)
    module = fx.GraphModule(model, graph)
    module.delete_all_unused_submodules()
    names = [
        str(n.target) if n.op == "call_module" else getattr(n.target, "__name__", str(n.target)) for n in body[a:b]
    ]
    return module, " + ".join(names)


def _shaped(word: Blocks, parts: Sequence[tuple[nn.Module, str]], shape: tuple[int, ...], count: int) -> list[Block]:
    """Return blocks of a model of so many with their shapes; LayerwiseError where one cannot take what it is given."""
    blocks = []
    for number, (module, made_of) in enumerate(parts, word.first):
        try:
            after = _fitted(module, shape)
        except NO_RUN as error:
            said = " ".join(str(error).split())[:160]
            text = f"block {number} of {word.name} cannot take samples of shape {'x'.join(map(str, shape))}"
            raise LayerwiseError(f"{text} ({said})") from None
        alone = replace(word, first=number, last=None if number == count else number)
        blocks.append(Block(module, alone, made_of, shape, after))
        shape = after
    return blocks
