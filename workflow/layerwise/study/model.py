"""What a study is: data sets, segments, networks, seeds, and the digests of what determines each.

No torch here, and nothing is read but the study: Snakemake parses with this module.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
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
from layerwise.study.identity import SCORES, identity, of_files, of_model
from layerwise.study.text import short
from layerwise.study.trie import FINDINGS, Node, home, prefixes

MOST_SEEDS = 10_000  # of a study; a job's seeds stand in one command
SEEDS = 2**63  # a seed is below it: a generator takes so many bits


def digest_of(thing: Any) -> str:
    """Return a short digest of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True, default=str).encode()).hexdigest()[:16]


def changed(options: Any) -> dict[str, Any]:
    """Return the options that are not as they come: a new one, left as it comes, changes nothing."""
    return {f.name: own for f in dataclasses.fields(options) if (own := getattr(options, f.name)) != f.default}


def seed_list(given: int | list[int]) -> tuple[int, ...]:
    """Return the seeds that a study, the configuration or a verb gives: so many, from 0 on, or these.

    LayerwiseError where they are too many, or none that a generator takes.
    """
    count = given if isinstance(given, int) else len(given)
    if not 1 <= count <= MOST_SEEDS:
        raise LayerwiseError(f"seeds: {short(given)}: give from 1 to {MOST_SEEDS:,} seeds")
    seeds = tuple(range(given)) if isinstance(given, int) else tuple(given)
    if len(set(seeds)) < len(seeds) or not all(type(seed) is int and 0 <= seed < SEEDS for seed in seeds):
        raise LayerwiseError(f"seeds: {short(given)}: give each once, and none below 0 or above {SEEDS - 1}")
    return seeds


@dataclass(frozen=True)
class Chosen:
    """The training samples that a segment is fitted on: which module selects them, and with what options."""

    selection: str
    options: Any

    def spec(self) -> dict[str, Any]:
        """Return what determines them, for a digest."""
        return {**self.asked(), "code": identity("selections", self.selection)}

    def asked(self) -> dict[str, Any]:
        return {"selection": self.selection, "options": changed(self.options)}


@dataclass(frozen=True)
class SegmentSpec:
    """A segment as a study asks for it: method, layer words, options, the networks it looks at, and which samples."""

    name: str
    method: str
    layers: tuple[str, ...]
    options: Any
    uses: tuple[str, ...] = ()
    selects: Chosen | None = None


@dataclass(frozen=True)
class View:
    """A probe, a figure or a table of a study: which module makes it, and with what options.

    Parameters
    ----------
    networks
        What a probe looks at, as dataset/path; all networks where empty.
    every
        Steps of the last segment's training after which a probe looks, over and over; 0 for what came of it alone.
    """

    name: str
    module: str
    options: Any
    networks: tuple[str, ...] = ()
    every: int = 0


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
        Paths whose features are kept on disk, as checkpoints on which the segments after them are fitted; None for all.
    readouts
        Features that are no class scores are scored by a linear read-out.
    published
        For each work, its items, each with what measures its rows; `works.mapped` reads it.
    families
        Names of segments that hold placeholders; `segments` has their members in use.
    counted
        Networks that are left out, as dataset/path, whose memory is counted in steps.csv: it needs no data.
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
    counted: tuple[str, ...] = ()

    def paths(self, dataset: str) -> list[str]:
        """Return every node of a data set's trie, parents first, and what a node uses before it."""
        wanted = list(self.networks.get(dataset, {}))
        for path in wanted:  # grows while it is walked: a used network may use another
            wanted += [u for p in prefixes(path) for u in self.segment(p).uses if u not in wanted]
        nodes = {p for path in wanted for p in prefixes(path)}
        return sorted(nodes, key=lambda p: (self._rank(p), p.count("/"), p))

    @functools.cache  # noqa: B019
    def _rank(self, path: str) -> int:
        """Return how many networks have to be fitted one after the other for a node to use the last of them."""
        return max((1 + self._rank(u) for p in prefixes(path) for u in self.segment(p).uses), default=0)

    def demand(self, dataset: str, path: str | None = None) -> None:
        """Demand that the study has a data set, and a path on it; LayerwiseError where it has not."""
        if dataset not in self.datasets:
            raise LayerwiseError(f"{dataset!r} is no data set of the study {self.name}: {', '.join(self.datasets)}")
        if path is not None and path not in self.paths(dataset):
            close = difflib.get_close_matches(path, self.paths(dataset), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see the verb show"
            raise LayerwiseError(f"{path!r} is no path of {dataset!r} in the study {self.name}; {hint}")

    def nodes(self) -> list[Node]:
        """Return all nodes of the study."""
        return [Node(self.name, d, s, p) for d in self.networks for p in self.paths(d) for s in self.seeds_of(d)]

    def seeds_of(self, dataset: str) -> tuple[int, ...]:
        """Return the seeds of a data set."""
        return self.seeds_by_dataset[dataset]

    def group(self, dataset: str, seed: int) -> str:
        """Return the name of the group of seeds that one job fits, in which a seed is."""
        return "seeds" if self.seeds_together else f"seed{seed}"

    def groups(self, dataset: str) -> list[str]:
        """Return the groups of seeds of a data set."""
        return list(dict.fromkeys(self.group(dataset, seed) for seed in self.seeds_of(dataset)))

    def marker(self, dataset: str, group: str, path: str, name: str = "node") -> Path:
        """Return the one file that Snakemake knows of a node and a group of seeds, written last."""
        return home(self.name) / "networks" / dataset / group / path / f"{name}.json"

    def seeds_in_words(self) -> str:
        """Return all seeds as text, a run of more than ten by its ends."""
        first, last = self.seeds[0], self.seeds[-1]
        run = self.seeds == tuple(range(first, last + 1)) and len(self.seeds) > 10
        return f"{first} to {last}" if run else ", ".join(map(str, self.seeds))

    def looks(self) -> list[tuple[str, str, str]]:
        """Return what the probes look at, as (probe, data set, path)."""
        every = [(d, p) for d, networks in self.networks.items() for p in networks]
        named = {n: [tuple(w.split("/", 1)) for w in view.networks] for n, view in self.probes.items()}
        return [(n, d, p) for n in self.probes for d, p in named[n] or every if d in self.networks]

    def looked_at(self, probe: str, dataset: str) -> list[str]:
        """Return the paths of a data set that a probe looks at."""
        return [p for n, d, p in self.looks() if (n, d) == (probe, dataset)]

    def view(self, kind: str, name: str) -> View:
        """Return a probe, a figure or a table; LayerwiseError where the study has none of this name."""
        views: dict[str, View] = getattr(self, kind)
        if name not in views:
            raise LayerwiseError(f"{name!r} is none of the {kind} of the study {self.name}{nearest(name, views)}")
        return views[name]

    def follows(self, probe: str) -> bool:
        """Tell whether a probe follows a training, rather than look at what came of it."""
        view = self.probes[probe]
        return view.every > 0 or _defines("probes", view.module, "follow")

    def counts(self, dataset: str, path: str) -> bool:
        """Tell whether the memory of a network's training steps can be counted without its data: its method counts
        it, its data set tells its shape beforehand, and nothing lies below it."""
        source, _, preparation = self.dataset(dataset)
        known = _defines("datasets", source, "sample") and not preparation.classes and preparation.targets == "auto"
        return known and "/" not in path and _defines("methods", self.segment(path).method, "count")

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
        chosen = list(dict.fromkeys(p.selects for p in parts if p.selects))
        if len(chosen) > 1:
            raise LayerwiseError(
                f"network {path!r}: segments fitted together have one selection of samples, here several"
            )
        return dataclasses.replace(
            parts[-1],
            name="+".join(names),
            layers=tuple(w for p in parts for w in p.layers),
            uses=tuple(u for p in parts for u in p.uses),
            selects=chosen[0] if chosen else None,
        )

    def _named(self, name: str, path: str) -> SegmentSpec:
        if name in self.families:
            raise LayerwiseError(
                f"network {path!r}: {name!r} is a family of segments; name a number for its placeholder"
            )
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
            "options": changed(options),
            "preparation": changed(preparation),
            "code": identity("datasets", source),
        }

    @functools.cache  # noqa: B019
    def segment_spec(self, path: str) -> dict[str, Any]:
        """Return what determines the last segment of a path, apart from its input and seed."""
        segment = self.segment(path)
        parsed = {w: words.parse(w) for w in dict.fromkeys(segment.layers)}
        models = {of_model(each) for each in parsed.values() if isinstance(each, words.Blocks)}
        return {
            "method": segment.method,
            "layers": [str(parsed[w]) for w in segment.layers],
            "options": changed(segment.options) | of_files(segment.options, f"segment {segment.name!r}"),
            "uses": list(segment.uses),
            "code": identity("methods", segment.method),
            **({"models": sorted(models)} if models else {}),
            **({"selects": segment.selects.spec()} if segment.selects else {}),
        }

    @functools.cache  # noqa: B019
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

    @property
    def findings(self) -> Path:
        """Where it is written what came of the study, if anybody did."""
        return FINDINGS / f"{self.name}.md"

    @functools.cache  # noqa: B019
    def asked(self, dataset: str, path: str) -> str:
        """Return the digest of all options of a network, without the code; a fit from elsewhere must have the same."""
        source, options, preparation = self.dataset(dataset)
        segments = [self.segment(p) for p in prefixes(path)]
        own = [
            [s.method, [str(words.parse(w)) for w in s.layers], changed(s.options)]
            + ([s.selects.asked()] if s.selects else [])
            for s in segments
        ]
        uses = [self.asked(dataset, u) for s in segments for u in s.uses]
        return digest_of([source, changed(options), changed(preparation), own, uses])

    def targets(self) -> list[str]:
        """Return the files, below the study's folder, that a whole run ends in."""
        figures = [f"figures/{name}.{kind}" for name in self.figures for kind in ("svg", "png")]
        tables = [f"tables/{name}.{kind}" for name in self.tables for kind in ("csv", "md")]
        counted = ["steps.csv"] if self.counted else []
        return [".made/fits.json", *counted, "verdicts.csv", *tables, *figures, "report.html"]

    # ------------------------------------------------------------ what is asked for, as known before anything is made

    @functools.cache  # noqa: B019
    def plan_digest(self, dataset: str, path: str) -> str:
        """Return the digest of all that determines a node's fit and scores, but for the data's content and the seed."""
        uses = [self.plan_digest(dataset, u) for u in self.segment(path).uses]
        above = self.plan_digest(dataset, path.rpartition("/")[0]) if "/" in path else self.dataset_spec(dataset)
        return digest_of([self.segment_spec(path), uses, above, self.readouts, identity(SCORES, SCORES)])

    @functools.cache  # noqa: B019
    def probe_digest(self, name: str) -> str:
        """Return the digest of a probe: its options and its code."""
        return self._own("probes", name)

    def recorded(self) -> list[str]:
        """Return the columns that fits.csv has of records because a published row or a verdict names them."""
        columns = [
            c for items in self.published.values() for item in items.values() for c in item.get("columns", {}).values()
        ]
        named = {c.get("measure") for c in columns if isinstance(c, dict)} | {v.get("measure") for v in self.verdicts}
        return sorted({"best_epoch"} & named)

    @functools.cache  # noqa: B019
    def results_digest(self) -> str:
        """Return the digest of all that the study measures, which fits.csv and all that shows it are made for."""
        nodes = [(d, p, self.seeds_of(d), self.plan_digest(d, p)) for d in self.networks for p in self.paths(d)]
        probes = [(n, d, p, self.probe_digest(n)) for n, d, p in self.looks()]
        return digest_of([nodes, probes, self.networks, *self.recorded()])

    def steps_digest(self) -> str:
        """Return the digest that steps.csv is made for."""
        code = plugins.code_digest([plugins.PACKAGE / "run" / "steps.py"])
        named = [each.split("/", 1) for each in self.counted]
        return digest_of([code, *([d, p, self.dataset_spec(d), self.segment_spec(p)] for d, p in named)])

    def view_digest(self, kind: str, name: str) -> str:
        """Return the digest that a figure or a table is made for."""
        rows = self.published if hasattr(self.view(kind, name).options, "item") else None  # which it shows
        counted = [self.steps_digest()] if self.counted else []
        return digest_of([self._own(kind, name), rows, self.title, self.left_out, self.results_digest(), *counted])

    def verdicts_digest(self) -> str:
        """Return the digest that the verdicts are made for."""
        code = plugins.code_digest(plugins.closure(plugins.PACKAGE / "results" / "published.py"))
        values = (plugins.PACKAGE / "results" / "published.csv").read_text(encoding="utf-8")
        counted = [self.steps_digest()] if self.counted else []
        return digest_of([self.published, self.verdicts, self.left_out, code, values, self.results_digest(), *counted])

    def report_digest(self) -> str:
        """Return the digest that the report is made for."""
        views = [self.view_digest(kind, name) for kind in ("figures", "tables") for name in getattr(self, kind)]
        folder = plugins.PACKAGE / "report"
        code = plugins.code_digest(plugins.closure(folder / "page.py"))
        parts = ("page.html", "parts.html", "style.css", "page.js")
        page = [(folder / name).read_text(encoding="utf-8") for name in parts]
        said = self.findings.read_text(encoding="utf-8", errors="replace") if self.findings.is_file() else ""
        return digest_of([views, self.verdicts_digest(), self.description, code, page, said])

    def asked_digests(self) -> dict[str, str]:
        """Return the digests of what is asked for: the data sets, the networks and what is shown of them."""
        datasets = {name: self.dataset_spec(name) for name in self.networks}
        return {"datasets": digest_of(datasets), "networks": self.results_digest(), "study": self.report_digest()}

    def _own(self, kind: str, name: str) -> str:
        view = self.view(kind, name)
        every = [view.every] if view.every else []
        return digest_of([view.module, changed(view.options), identity(kind, view.module), *every])


@functools.cache
def _defines(kind: str, name: str, function: str) -> bool:
    """Tell whether a plugin's file defines a function; it is not imported."""
    tree = ast.parse(plugins.file(kind, name).read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body)
