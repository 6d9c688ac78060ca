"""What goes wrong in a way that a user can mend, and how names are checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LayerwiseError(Exception):
    """A user's mistake or a fault of the machine, said in one line: the thing, what is wrong, what to do."""


class LayerwiseWarning(UserWarning):
    """Something was mended on the way (a jitter, a dropped feature); the text says what was done."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``; did you mean 'dmn'?``, or the known names where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known) or 'none'}"
