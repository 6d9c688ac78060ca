"""First weights other than torch's own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from layerwise.errors import LayerwiseError


def glorot_(module: nn.Module) -> None:
    """Give a dense or convolutional layer Glorot's uniform weights and zero biases (for `nn.Module.apply`)."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def take_over(module: nn.Sequential, uses: Mapping[str, nn.Module], name: str) -> None:
    """Start from the weights of the one network that a segment uses, layer by layer from the bottom.

    Parameters
    ----------
    module
        The layers that start from it; those that lie above the used network's keep their weights.
    uses
        The network, by its path.
    name
        Who trains, in an error: ``method 'sgd'``.

    Raises
    ------
    LayerwiseError
        For no network or several, and where a layer has no weights of the same shapes.
    """
    if len(uses) != 1:
        raise LayerwiseError(f"{name}: init: used needs one network under uses, and there are {len(uses)}")
    (path, used), mine = next(iter(uses.items())), [m for m in module.children() if m.state_dict()]
    given = [m for m in used.children() if m.state_dict()]
    own, theirs = ([[tuple(t.shape) for t in m.state_dict().values()] for m in each] for each in (mine, given))
    if not theirs or own[: len(theirs)] != theirs:
        raise LayerwiseError(
            f"{name}: init: used: the weights of {path!r} are of the shapes {theirs}, and the segment's of {own}: "
            "use a network of the same layers, or of the lowest of them"
        )
    for layer, other in zip(mine, given, strict=False):
        layer.load_state_dict(other.state_dict())
