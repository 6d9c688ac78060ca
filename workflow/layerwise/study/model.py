"""What a study is: data sets, segments, networks, seeds, and the digests of what determines each.

No torch here, and nothing is read but the study: Snakemake parses with this module.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerwise import plugins
from layerwise.errors import LayerwiseError, nearest
from layerwise.layers import words
from layerwise.preparation.options import Preparation, split_options
from layerwise.study.trie import Node, prefixes


def digest_of(thing: Any) -> str:
    """Return a short digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True, default=str).encode()).hexdigest()[:16]


def changed(options: Any) -> dict[str, Any]:
    """Return the options that are not as they come: a new one, left as it comes, changes nothing."""
    return {f.name: own for f in dataclasses.fields(options) if (own := getattr(options, f.name)) != f.default}


@dataclass(frozen=True)
class SegmentSpec:
    """A segment as a study asks for it: method, layer words, options, and the networks it looks at."""

    name: str
    method: str
    layers: tuple[str, ...]
    options: Any
    uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class View:
    """A probe, a figure or a table of a study: which module makes it, and with what options."""

    name: str
    module: str
    options: Any
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Study:
    """A study, checked.

    Parameters
    ----------
    networks
        For each data set, the networks as ``{path: label}``.
    left_out
        Data sets that the study names and does not run here, with why. Their published rows are *not run*, but for
        what was `measured <elsewhere>` on another machine.
    seeds, seeds_by_dataset
        The seeds of all data sets together, and those of each.
    keep
        Paths whose features stay on disk after the study; None for all.
    readouts
        Features that are no class scores are scored by a linear read-out.
    published
        For each work, its items, each with what measures its rows; `works.mapped` reads it.
    families
        Names of segments that hold placeholders; `segments` has their members in use.
    seeds_together
        One job fits all seeds of a segment (saves a torch import a seed) rather than one.
    """

    name: str
    file: str
    title: str
    description: str
    seeds: tuple[int, ...]
    seeds_together: bool
    datasets: dict[str, dict[str, Any]]
    segments: dict[str, SegmentSpec]
    networks: dict[str, dict[str, str]]
    left_out: dict[str, str]
    seeds_by_dataset: dict[str, tuple[int, ...]]
    keep: tuple[str, ...] | None
    readouts: bool
    probes: dict[str, View]
    figures: dict[str, View]
    tables: dict[str, View]
    published: dict[str, dict[str, dict[str, Any]]]
    verdicts: list[dict[str, Any]]
    raw: dict[str, Any] = field(repr=False)
    families: tuple[str, ...] = ()

    def paths(self, dataset: str) -> list[str]:
        """Return every node of a data set's trie, parents first, and what a node uses before it."""
        wanted = list(self.networks.get(dataset, {}))
        for path in wanted:  # grows while it is walked: a used network may use another
            wanted += [u for p in prefixes(path) for u in self.segment(p).uses if u not in wanted]
        nodes = {p for path in wanted for p in prefixes(path)}
        return sorted(nodes, key=lambda p: (self._rank(p), p.count("/"), p))

    def _rank(self, path: str) -> int:
        """Return how many networks have to be fitted one after the other for a node to use the last of them."""
        return max((1 + self._rank(u) for p in prefixes(path) for u in self.segment(p).uses), default=0)

    def nodes(self) -> list[Node]:
        """Return all nodes of the study."""
        return [Node(self.name, d, s, p) for d in self.networks for p in self.paths(d) for s in self.seeds_of(d)]

    def seeds_of(self, dataset: str) -> tuple[int, ...]:
        """Return the seeds of a data set."""
        return self.seeds_by_dataset[dataset]

    def seeds_in_words(self) -> str:
        """Return all seeds as text, a run of more than ten by its ends."""
        first, last = self.seeds[0], self.seeds[-1]
        run = self.seeds == tuple(range(first, last + 1)) and len(self.seeds) > 10
        return f"{first} to {last}" if run else ", ".join(map(str, self.seeds))

    def parts(self) -> list[Study]:
        """Return the study as parts of one list of seeds each: what one job does for all seeds is then one rule."""
        lists = dict.fromkeys(self.seeds_of(d) for d in self.networks)
        return [
            dataclasses.replace(
                self, seeds=seeds, networks={d: n for d, n in self.networks.items() if self.seeds_of(d) == seeds}
            )
            for seeds in lists
        ]

    def looks(self) -> list[tuple[str, str, str]]:
        """Return what the probes look at, as (probe, data set, path)."""
        every = [(d, p) for d, networks in self.networks.items() for p in networks]
        named = {n: [tuple(w.split("/", 1)) for w in view.networks] for n, view in self.probes.items()}
        return [(n, d, p) for n in self.probes for d, p in named[n] or every if d in self.networks]

    def follows(self, probe: str) -> bool:
        """Tell whether a probe follows a training, rather than look at what came of it."""
        tree = ast.parse(plugins.file("probes", self.probes[probe].module).read_text(encoding="utf-8"))
        return any(isinstance(node, ast.FunctionDef) and node.name == "follow" for node in tree.body)

    def kept(self, path: str) -> bool:
        """Tell whether the features of a node stay on disk."""
        return self.keep is None or path in self.keep

    @functools.cache  # noqa: B019  (a study lives as long as the process)
    def segment(self, path: str) -> SegmentSpec:
        """Return what the last segment of a path asks for; ``a+b`` joins layers, the last one has the say."""
        names = path.rsplit("/", 1)[-1].split("+")
        parts = [self._named(n, path) for n in names]
        if len({p.method for p in parts}) > 1:
            said = ", ".join(f"{p.name}: {p.method}" for p in parts)
            raise LayerwiseError(f"network {path!r}: segments fitted together need one method, here {said}")
        return dataclasses.replace(
            parts[-1],
            name="+".join(names),
            layers=tuple(w for p in parts for w in p.layers),
            uses=tuple(u for p in parts for u in p.uses),
        )

    def _named(self, name: str, path: str) -> SegmentSpec:
        if name not in self.segments:
            hint = nearest(name, [*self.segments, *self.families])
            raise LayerwiseError(f"network {path!r}: no segment {name!r}{hint}")
        return self.segments[name]

    @functools.cache  # noqa: B019
    def dataset(self, name: str) -> tuple[str, Any, Preparation]:
        """Return a data set's source, the source's options, and the preparation."""
        given = dict(self.datasets[name])
        source = given.pop("source")
        return source, *split_options(source, given, f"data set {name!r}")

    @functools.cache  # noqa: B019
    def dataset_spec(self, name: str) -> dict[str, Any]:
        """Return what determines a data set, for its digest."""
        source, options, preparation = self.dataset(name)
        return {
            "source": source,
            "options": dataclasses.asdict(options),
            "preparation": dataclasses.asdict(preparation),
            "code": plugins.code_digest(plugins.sources("datasets", source)),
        }

    @functools.cache  # noqa: B019
    def segment_spec(self, path: str) -> dict[str, Any]:
        """Return what determines the last segment of a path, apart from its input and seed."""
        segment = self.segment(path)
        parsed = {w: str(words.parse(w)) for w in dict.fromkeys(segment.layers)}
        return {
            "method": segment.method,
            "layers": [parsed[w] for w in segment.layers],
            "options": dataclasses.asdict(segment.options),
            "uses": list(segment.uses),
            "code": plugins.code_digest(plugins.sources("methods", segment.method)),
        }

    def digest(self, node: Node, root: str) -> str:
        """Return the digest that the record of a node's fit must have.

        Parameters
        ----------
        root
            Digest in the record of the data set.
        """
        value = root
        for each in node.lineage:
            uses = [self.digest(dataclasses.replace(node, path=u), root) for u in self.segment(each.path).uses]
            value = digest_of([self.segment_spec(each.path), each.seed, value, *uses])
        return value

    @property
    def elsewhere(self) -> Path:
        """Where the fits of the data sets that are left out here are written, by a machine that runs them."""
        return Path(self.file).parent / "elsewhere" / f"{self.name}.csv"

    def asked(self, dataset: str, path: str) -> str:
        """Return the digest of all options of a network, without the code; a fit from elsewhere must have the same."""
        source, options, preparation = self.dataset(dataset)
        segments = [self.segment(p) for p in prefixes(path)]
        own = [[s.method, [str(words.parse(w)) for w in s.layers], changed(s.options)] for s in segments]
        uses = [self.asked(dataset, u) for s in segments for u in s.uses]
        return digest_of([source, changed(options), changed(preparation), own, uses])

    def targets(self) -> list[str]:
        """Return the files, below the study's folder, that a whole run ends in."""
        figures = [f"figures/{name}.{kind}" for name in self.figures for kind in ("svg", "png")]
        tables = [f"tables/{name}.{kind}" for name in self.tables for kind in ("csv", "md")]
        return ["fits.csv", "verdicts.csv", *tables, *figures, "report.html"]

    def view_digest(self, kind: str, name: str) -> str:
        """Return what determines a probe, figure or table, apart from its input."""
        view: View = getattr(self, kind)[name]
        own = [view.module, dataclasses.asdict(view.options)]
        own += [self.published] if hasattr(view.options, "item") else []  # the rows are under published
        return digest_of(own if kind == "probes" else [*own, self.networks, self.title])  # a probe shows no label
