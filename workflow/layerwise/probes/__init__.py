"""Lenses on fitted networks, one file each.

A probe's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and

    def look(network: nn.Sequential, data: Dataset, options: Options, *, seed: int,
             device: torch.device) -> pandas.DataFrame

which takes a whole fitted network, data in and scores out, and returns a table; the workflow writes it beside the
network as ``<probe>.csv``. As for methods, ``Options`` must stand on the standard library and `layerwise.errors`
alone.
"""
