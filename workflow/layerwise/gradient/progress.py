"""How far a long training is, told every ten seconds to the log ``layerwise``, which the command line shows."""

from __future__ import annotations

import logging
import time

EVERY = 10.0  # seconds
LOG = logging.getLogger("layerwise")


class Progress:
    """Tells how far one training is, from its second step on."""

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None
        self.told = 0.0

    def tell(self, name: str, done: float, epochs: int) -> None:
        """Say it where it is time.

        Parameters
        ----------
        name
            Who trains.
        done, epochs
            Epochs that are done, with a fraction, and how many there are to be.
        """
        now = time.monotonic()
        if self.first is None:
            self.first, self.told = (now, done), now
        elif now - self.told >= EVERY:
            begun, start = self.first
            self.told = now
            left = (
                f", about {duration((now - begun) / (done - start) * max(0.0, epochs - done))} left"
                if done > start
                else ""
            )
            LOG.info("%s: epoch %d of %d%s", name, min(int(done) + 1, epochs), epochs, left)


def duration(seconds: float) -> str:
    """Return seconds as people say them: 45 s, 12 min, 3.4 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"
