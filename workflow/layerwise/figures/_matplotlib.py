"""Matplotlib as it comes: what a user set up for figures of his own neither stops those of a study nor changes them.

It has to be imported before anything of matplotlib is, and sees to that by being the first import of the folder.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError


def _import() -> Any:
    """Import matplotlib, which reads its settings then: the file in the folder that it stands in comes first.

    That folder is its own here. The backend that the environment names (a notebook's, one that is not installed) stays
    what a user's own figures get, where there is such a backend.
    """
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.origin:
        raise LayerwiseError("figures need matplotlib: install it beside torch")
    backend = os.environ.pop("MPLBACKEND", "")
    try:
        with contextlib.chdir(Path(found.origin).parent / "mpl-data"):
            import matplotlib
    except OSError as error:
        said = " ".join(str(error).split())
        raise LayerwiseError(f"matplotlib: {said}; set MPLCONFIGDIR to a folder that can be written") from None
    finally:
        if backend:
            os.environ["MPLBACKEND"] = backend
    with contextlib.suppress(ValueError):
        if backend:
            matplotlib.rcParams["backend"] = backend
    return matplotlib


matplotlib = _import()


@contextlib.contextmanager
def settings(**own: Any) -> Iterator[None]:
    """Draw with matplotlib's defaults and these settings, whatever is set outside."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(own)
        yield
