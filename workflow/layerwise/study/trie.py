"""Where things lie: every result of a study is a folder on a trie, so that a shared prefix is computed once.

    results/<study>/datasets/<dataset>/                             a data set, the root of its trie
    results/<study>/networks/<dataset>/seed<k>/<segment>/…/         a node: the segments fitted one after another

The parent of ``a/b/c`` is ``a/b``; the parent of ``a`` is the data set. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESULTS = Path("results")
FINDINGS = Path("docs/findings")  # a page a study, by hand: what came of it
SPLITS = ("train", "valid", "test")
DATASET = "dataset.json"  # the record of a data set


def home(study: str) -> Path:
    """Return the folder of a study's results."""
    return RESULTS / study


def dataset_folder(study: str, dataset: str) -> Path:
    return home(study) / "datasets" / dataset


@dataclass(frozen=True, order=True)
class Node:
    """One fitted segment: the last of `path`, after those before it.

    Parameters
    ----------
    path
        Segment names joined with ``/`` (fitted one after the other) and ``+`` (fitted together).
    """

    study: str
    dataset: str
    seed: int
    path: str

    @property
    def folder(self) -> Path:
        return home(self.study) / "networks" / self.dataset / f"seed{self.seed}" / self.path

    @property
    def segment(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Node | None:
        """The node before this one; None where that is the data set."""
        return Node(self.study, self.dataset, self.seed, self.path.rsplit("/", 1)[0]) if "/" in self.path else None

    @property
    def source(self) -> Path:
        """Folder of the features that this node's segment takes in."""
        return self.parent.folder if self.parent else dataset_folder(self.study, self.dataset)

    @property
    def lineage(self) -> list[Node]:
        """The nodes from the first segment to this one."""
        return [*(self.parent.lineage if self.parent else []), self]

    @property
    def depth(self) -> int:
        return self.path.count("/") + 1

    def __str__(self) -> str:
        return f"{self.dataset}/seed{self.seed}/{self.path}"


def prefixes(path: str) -> list[str]:
    """Return ``a``, ``a/b``, ``a/b/c`` for ``a/b/c``."""
    parts = path.split("/")
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]
