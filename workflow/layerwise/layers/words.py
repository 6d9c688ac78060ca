"""Layer words: the text in which a study describes layers, and the shapes that follow from it.

No torch here: a study is checked with this module while Snakemake parses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, prod

from layerwise.errors import LayerwiseError, nearest

GRAMMAR = {
    "dense": "dense [WIDTH|outputs]",
    "conv": "conv SIZE [CHANNELS] [stride S] [pad P] [contrast E] [mirror]",
    "maxpool": "maxpool SIZE [stride S]",
    "avgpool": "avgpool SIZE [stride S]",
    "batchnorm": "batchnorm",
    "dropout": "dropout PROBABILITY",
    "softshrink": "softshrink THRESHOLD",
    "fold": "fold",
    "flatten": "flatten",
    **{name: name for name in ("relu", "crelu", "tanh", "celu", "gelu", "sigmoid", "erf")},
    "torchvision": "torchvision MODEL [BLOCK[-[BLOCK]]] [stem 1|2]",
    "timm": "timm MODEL [BLOCK[-[BLOCK]]] [stem 1|2]",
}
LIBRARIES = ("torchvision", "timm")
OWN = "PACKAGE.MODULE.MODEL [BLOCK[-[BLOCK]]] [stem 1|2]"  # any importable constructor
ACTIVATIONS = frozenset({"relu", "crelu", "tanh", "celu", "gelu", "sigmoid", "erf"})
DIGITS = 9  # of a width, a size, a stride or a margin: beyond lies what no memory holds


@dataclass(frozen=True)
class Layer:
    """One layer word, parsed. A width of None is for the method to find, ``"outputs"`` is the task's.

    `rate` is the probability of a dropout, or the threshold of a softshrink. `contrast` is E of a convolution on
    patches of normalised contrast, 0 for patches as they are; with `mirror` each filter gives two channels one after
    the other, its own and that of its mirror image (see `layers.PatchConv2d`).
    """

    kind: str
    width: int | str | None = None
    size: int = 0
    stride: int = 1
    pad: int = 0
    rate: float = 0.0
    contrast: float = 0.0
    mirror: bool = False

    @property
    def weighted(self) -> bool:
        return self.kind in ("dense", "conv")

    @property
    def scores(self) -> bool:
        """Whether it gives a column a target: a network may end here."""
        return self.width == "outputs"

    def with_width(self, width: int) -> Layer:
        return replace(self, width=width)

    def __str__(self) -> str:
        parts = [self.kind]
        if self.size:
            parts.append(str(self.size))
        if self.width is not None:
            parts.append(str(self.width))
        if self.stride != (self.size if self.kind.endswith("pool") else 1):
            parts.append(f"stride {self.stride}")
        if self.pad:
            parts.append(f"pad {self.pad}")
        if self.contrast:
            parts.append(f"contrast {self.contrast:g}")
        if self.mirror:
            parts.append("mirror")
        if self.kind in ("dropout", "softshrink"):
            parts.append(str(self.rate))
        return " ".join(parts)


@dataclass(frozen=True)
class Blocks(Layer):
    """A model of a library, or a run of its blocks; `layers.zoo` builds and cuts it.

    Parameters
    ----------
    name
        The model's, in the library that is the `kind`: ``torchvision``, ``timm``, or a module with its dots.
    first, last
        The run, counted from 1; `last` is None for a run to the end of the model, its head among it.
    stem
        Stride of the first convolution, 1 or 2; 0 where the images' size decides.
    """

    name: str = ""
    first: int = 1
    last: int | None = None
    stem: int = 0

    @property
    def scores(self) -> bool:
        return self.last is None

    def followed_by(self, last: int | None) -> Blocks | None:
        """Return the run from the block after this one to another; None where this is the end of the model."""
        return None if self.last is None else replace(self, first=self.last + 1, last=last)

    def __str__(self) -> str:
        model = f"{self.kind} {self.name}" if self.kind in GRAMMAR else f"{self.kind}.{self.name}"
        run = f" {self.first}" if self.last == self.first else f" {self.first}-{self.last or ''}"
        stem = f" stem {self.stem}" if self.stem else ""
        return f"{model}{'' if (self.first, self.last) == (1, None) else run}{stem}"


def parse(word: str) -> Layer:
    """Parse a layer word such as ``conv 3 6 stride 2``; LayerwiseError says what the word should look like."""
    kind, *rest = str(word).split() or [""]
    own = "." in kind and all(part.isidentifier() for part in kind.split("."))
    if kind not in GRAMMAR and not own:
        raise LayerwiseError(f"layer {word!r}: no such layer{nearest(kind, GRAMMAR)}")
    if large := [part for part in rest if part.isascii() and part.isdigit() and len(part.lstrip("0")) > DIGITS]:
        raise LayerwiseError(f"layer {word!r}: {large[0]} is too large: a number has {DIGITS} digits at most")
    try:
        _demand(str(word).isascii())  # int() reads the digits of all scripts
        if own:
            module, _, name = kind.rpartition(".")
            return _blocks(module, [name, *rest])
        return (_blocks if kind in LIBRARIES else _parse)(kind, rest)
    except (ValueError, IndexError):
        raise LayerwiseError(f"layer {word!r} does not read as '{OWN if own else GRAMMAR[kind]}'") from None


def _blocks(library: str, rest: list[str]) -> Blocks:
    """Read the model, the run of its blocks and the stem."""
    name, first, last, stem = rest.pop(0), 1, None, 0
    if rest[-2:-1] == ["stem"]:
        stem = int(rest[-1])
        rest = rest[:-2]
        _demand(stem in (1, 2))
    if rest:
        start, dash, end = rest.pop(0).partition("-")
        first, last = int(start), int(end) if end else None if dash else int(start)
        _demand(0 < first <= (last or first))
    _demand(not rest)
    return Blocks(library, name=name, first=first, last=last, stem=stem)


def _parse(kind: str, rest: list[str]) -> Layer:
    """Read what follows the kind; ValueError or IndexError where it is not as `GRAMMAR` has it."""
    named: dict[str, float] = {"stride": 0, "pad": 0, "contrast": 0.0}
    for name in named:
        if name in rest and f"[{name} " in GRAMMAR[kind]:
            at = rest.index(name)
            named[name] = type(named[name])(rest[at + 1])
            rest = rest[:at] + rest[at + 2 :]
            _demand(0 <= named[name] < inf if name == "pad" else 0 < named[name] < inf)
    stride, pad = int(named["stride"]), int(named["pad"])
    mirror = kind == "conv" and rest[-1:] == ["mirror"]
    rest = rest[: len(rest) - mirror]
    if kind == "dense":
        width = rest.pop(0) if rest else None
        layer = Layer(kind, width if width in (None, "outputs") else int(width))
    elif kind == "conv":
        layer = Layer(kind, int(rest[1]) if len(rest) > 1 else None, int(rest[0]), stride or 1, pad)
        layer = replace(layer, contrast=named["contrast"], mirror=mirror)
        rest = rest[2:]
    elif kind in ("maxpool", "avgpool"):
        size = int(rest.pop(0))
        layer = Layer(kind, None, size, stride or size)
    elif kind in ("dropout", "softshrink"):
        layer = Layer(kind, rate=float(rest.pop(0)))
    else:
        layer = Layer(kind)
    _demand(not rest and 0 <= layer.rate < (1 if kind == "dropout" else inf))
    _demand(not isinstance(layer.width, int) or layer.width > 0)
    _demand(layer.size > 0 or kind not in ("conv", "maxpool", "avgpool"))
    return layer


def merged(words: Iterable[str]) -> tuple[str, ...]:
    """Return words in which blocks of a model that follow one another are one run."""
    result: list[str] = []
    before: Layer | None = None
    for word in words:
        mine = parse(word)
        if isinstance(before, Blocks) and isinstance(mine, Blocks) and mine == before.followed_by(mine.last):
            mine = replace(before, last=mine.last)
            result.pop()
        result.append(str(mine))
        before = mine
    return tuple(result)


def _demand(holds: bool) -> None:
    if not holds:
        raise ValueError


def out_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one sample after the layer, its width a number; LayerwiseError where it does not fit.

    That of blocks of a model is known once they are built: `layers.build` says it.
    """
    if isinstance(layer, Blocks):
        raise LayerwiseError(f"layer '{layer}': blocks of a model are fitted by gradient; name another method")
    if layer.kind == "dense":
        return (int(layer.width),) if layer.width is not None else shape
    if layer.kind == "flatten":
        return (prod(shape),)
    if layer.kind == "crelu":
        return (2 * shape[0], *shape[1:])
    if layer.kind not in ("conv", "maxpool", "avgpool", "fold"):
        return shape
    if len(shape) != 3:
        raise LayerwiseError(f"layer '{layer}' needs images (channels, height, width), not samples of shape {shape}")
    if layer.kind == "fold":
        if shape[0] % 2:
            raise LayerwiseError(f"layer 'fold' takes two channels into one and gets {shape[0]}: use 'conv … mirror'")
        return (shape[0] // 2, *shape[1:])
    sides = tuple((side + 2 * layer.pad - layer.size) // layer.stride + 1 for side in shape[1:])
    if min(s + 2 * layer.pad - layer.size for s in shape[1:]) < 0:
        raise LayerwiseError(f"layer '{layer}' is larger than its input of {shape[1]}x{shape[2]}: use a smaller size")
    channels = int(layer.width) * (1 + layer.mirror) if layer.kind == "conv" and layer.width else shape[0]
    return (channels, *sides)
