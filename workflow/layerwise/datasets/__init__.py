"""Where samples come from, one file a source.

A source's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and

    def load(options: Options, *, root: Path) -> Raw

which reads, downloads or draws the samples. One that knows the shape of a sample and the number of classes beforehand
may have ``def sample(options: Options) -> tuple[tuple[int, ...], int]`` as well. What is common to all sources
(subsets, classes, the validation split, standardisation) is `layerwise.preparation`, done after the source. As for
methods, ``Options`` must stand on the standard library, `layerwise.errors` and `layerwise.options` alone.
"""
