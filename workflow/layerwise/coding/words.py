"""The words by which a study names coders. No torch here: a study is checked with this module."""

from __future__ import annotations

import re

from layerwise.errors import LayerwiseError

CODERS = re.compile(
    r"entropy (1[0-2]|\d)( of [0-4])?|entropy [0-8]( of [0-8])?|fixed (1[0-6]|[1-9])|float8 [45]|"
    r"groups [2-8]( of [1-9]\d{0,5})?|top (0\.\d*[1-9]\d*|1)|rank [1-9]\d{0,5}|float32"
)


def demand_coder(words: str, said: str, more: str = "") -> None:
    """Demand the words of a coder; LayerwiseError says what they look like, between `said` and `more`."""
    if not CODERS.fullmatch(words):
        raise LayerwiseError(
            f"{said}float32, entropy C [of M] (at most C 8 of M 8, or C 12 of M 4), fixed N "
            f"(1 to 16), groups N [of SIZE] (N 2 to 8), float8 4 or 5, top SHARE (such as 0.1) or rank R{more}"
        )
