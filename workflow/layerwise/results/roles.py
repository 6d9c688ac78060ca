"""What a published value is in its work: of the *method* proposed, a *baseline* beside it, a *control*, or *setting*.

A baseline that comes out better than published speaks against a claim, not for it, so verdicts are counted by role.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from layerwise.results.rules import VERDICTS

ROLES = ("method", "baseline", "control", "setting-dependent")

# Role, pattern of the whole row, pattern of the whole metric: the first that matches both has the say, else `method`.
PATTERNS: tuple[tuple[str, str, str], ...] = (
    # Speed on the authors' machine, choices that went into a training, and what follows from these.
    ("setting-dependent", r".*", r".*seconds.*|hours|.*images_per_s|epochs_to_converge|peak_layer|parameters_million"),
    ("setting-dependent", r".*", r"best_.*_threshold|sufficient_fraction_.*|softmax_normaliser_at_start"),
    # Backpropagation, and others' methods in the same table.
    ("baseline", r".*", r"(baseline|convnet|end_to_end|unfiltered)_accuracy.*"),
    ("baseline", r".*\|(sigmoid|softmax.*|baseline)|.*\bsgd .*", r".*"),
    ("baseline", r"\w+\|(c\d+,m,|BN,)+de\d+", r".*"),  # DMN supplement: trained convolutions alone
    # No layer at all, layers that have learnt nothing.
    ("control", r".*", r"random_accuracy|.*_epoch0"),
    ("control", r"\w+\|de\d+|mnist\|random_w\|.*", r".*"),
)


def role(row: str, metric: str) -> str:
    """Return what a published value, by its names in published.csv, is in its work."""
    for found, rows, metrics in PATTERNS:
        if re.fullmatch(rows, row) and re.fullmatch(metrics, metric):
            return found
    return ROLES[0]


def counted(rows: Iterable[Mapping[Any, Any]]) -> dict[str, dict[str, int]]:
    """Return how many of the rows of verdicts.csv have each verdict, for each role that is there."""
    counts = {each: dict.fromkeys(VERDICTS, 0) for each in ROLES}
    for row in rows:
        counts[role(row["row"], row["metric"])][row["verdict"]] += 1
    return {each: of for each, of in counts.items() if any(of.values())}
