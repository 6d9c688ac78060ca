"""Layer words: the text in which a study describes layers, and the shapes that follow from it.

No torch here: a study is checked with this module while Snakemake parses.
"""

from __future__ import annotations

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
}
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


def parse(word: str) -> Layer:
    """Parse a layer word such as ``conv 3 6 stride 2``; LayerwiseError says what the word should look like."""
    kind, *rest = str(word).split() or [""]
    if kind not in GRAMMAR:
        raise LayerwiseError(f"layer {word!r}: no such layer{nearest(kind, GRAMMAR)}")
    if large := [part for part in rest if part.isascii() and part.isdigit() and len(part.lstrip("0")) > DIGITS]:
        raise LayerwiseError(f"layer {word!r}: {large[0]} is too large: a number has {DIGITS} digits at most")
    try:
        return _parse(kind, rest)
    except (ValueError, IndexError):
        raise LayerwiseError(f"layer {word!r} does not read as '{GRAMMAR[kind]}'") from None


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


def _demand(holds: bool) -> None:
    if not holds:
        raise ValueError


def out_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one sample after the layer, its width a number; LayerwiseError where it does not fit."""
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
