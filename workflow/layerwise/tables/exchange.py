"""What networks whose weights are exchanged send, reach, and need, beside one that sends them whole (thesis 3.9)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from layerwise.errors import LayerwiseError
from layerwise.maths.intervals import interval
from layerwise.results.rules import COMPARED
from layerwise.results.study_results import StudyResults

COLUMNS = {
    "bits": "bits_raw",
    "bits_sent": "bits_sent",
    "compression": "compression_sent",
    "test": "test_accuracy",
    "best_epoch": "epochs_to_best",
}


@dataclass(frozen=True)
class Options:
    baseline: str
    """The network that sends its weights whole, as dataset/path."""

    def __post_init__(self) -> None:
        if "/" not in self.baseline:
            raise LayerwiseError(f"option 'baseline' is {self.baseline!r}: write a network as dataset/path")


def make(results: StudyResults, options: Options) -> pd.DataFrame:
    dataset, base = options.baseline.split("/", 1)
    if dataset in results.study.left_out:
        return pd.DataFrame(columns=["network", "n"])
    results.networks(dataset, (base,))  # says what is wrong with the name
    fits = results.fits[results.fits["dataset"] == dataset].set_index("seed")
    for column in ("bits_sent", "bits_sent_to_best"):
        if column not in fits or fits.loc[fits["path"] == base, column].isna().any():
            raise LayerwiseError(
                f"table exchange: {options.baseline} has no {column}: name a network of the method sgd with an "
                "exchange, on data with a validation split"
            )
    whole = fits[fits["path"] == base]
    rows = []
    for path, label in results.networks(dataset).items():
        own = fits[fits["path"] == path]
        if own["bits_sent"].isna().any():
            continue
        row: dict[str, object] = {"network": label}
        told = {name: own[column] for name, column in COLUMNS.items()}
        told["better_by"] = own["test_accuracy"] - whole["test_accuracy"]
        told["fewer_epochs"] = COMPARED["fewer_percent"](own["epochs_to_best"], whole["epochs_to_best"])
        told["reduction"] = COMPARED["times_fewer"](own["bits_sent_to_best"], whole["bits_sent_to_best"])
        for name, values in told.items():
            row[name], row[f"{name}_half_width"] = interval(values)
        rows.append(row | {"n": len(own)})
    return pd.DataFrame(rows)


def caption(results: StudyResults, options: Options) -> str:
    return (
        "Bits a parameter without and with Huffman's code, means over the epochs, and 32 over the latter; test "
        "accuracy, %, and the epoch of the best validation. Against the network that sends its weights whole, seed by "
        "seed: points of accuracy, epochs fewer in %, and how many times fewer bits are sent up to the best epoch. "
        f"Mean ± half width of the 95 % Student-t interval over n seeds. Measured on {'; '.join(results.machines)}. "
        f"Source: results/{results.study.name}/fits.csv."
    )
