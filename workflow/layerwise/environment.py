"""The environment variables that matter here, in one place."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def pass_to_jobs() -> None:
    """Let jobs start with the Python that runs now, activated or not, and with the package of this very clone.

    Modules of the working directory are found too, as ``python -m`` finds them.
    """
    sys.path.append(str(Path.cwd()))
    for name, first in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", Path(__file__).parents[1])):
        rest = os.environ.get(name)
        os.environ[name] = os.pathsep.join([str(first), rest]) if rest else str(first)


def data_root(configured: Path | str) -> Path:
    """Return the folder of downloaded data sets: the variable LAYERWISE_DATA_ROOT, or what is configured."""
    return Path(os.environ.get("LAYERWISE_DATA_ROOT") or configured)
