"""Ways to fit a segment, one file each.

A method's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and

    def fit(segment: Segment, features: Features, options: Options, *, seed: int,
            device: torch.device, hooks: Hooks = NO_HOOKS) -> Fitted

in the words of `layerwise.contract`. It knows nothing of files, studies or Snakemake. ``Options`` must stand on the
standard library, `layerwise.errors` and `layerwise.options` alone: studies are checked without importing torch.
"""
