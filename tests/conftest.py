"""One thread a test: with more, some processors round sums otherwise from run to run, and tests hold bytes together.

It is set before torch is loaded, and for the processes that tests start. The workers of pytest-xdist use the cores.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
