"""One node, one job: fit a segment on what it takes in, score it on every split, and write the record last.

What is made already, with the digest that the study asks for, is left alone: a job over several seeds that was killed
half way, or that a new seed brought back, does only what is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from math import isfinite
from typing import Any

import torch
from torch import nn

from layerwise import plugins, store
from layerwise.closed import shards
from layerwise.contract import Dataset, Features, Fitted, Hooks, Segment, Source, Split
from layerwise.errors import LayerwiseError
from layerwise.gradient import partners
from layerwise.layers import build as layers
from layerwise.run import loading, machine, records, returned, scores, source
from layerwise.run.resume import NAME as RESUME
from layerwise.run.resume import Sidecar
from layerwise.run.selected import chosen, selected
from layerwise.selections import Candidates
from layerwise.study.model import Study
from layerwise.study.trie import SPLITS, Node


def fit(study: Study, node: Node, data: Dataset, on: torch.device) -> str:
    """Fit the last segment of a node and score it; returns what to print of it."""
    group = partners.current()
    with shards.alone() if group else contextlib.nullcontext():  # a process of partitions sees all samples
        return _once(study, node, data, on, group)


def _once(study: Study, node: Node, data: Dataset, on: torch.device, group: partners.Group | None) -> str:
    first = shards.rank() == 0 and partners.rank() == 0
    digest = study.digest(node, data.record["digest"])
    with store.alone(node.folder) if first else contextlib.nullcontext():
        told: str = ""
        features: Features | None = None
        made = first and _fitted(node, digest)
        if not (any(group.told(made)) if group else shards.total(made, on)):
            told, features = _fit(study, node, data, on, digest)
        if not first:
            return told or "left alone"
        record = records.read_fit(study, node, data.record["digest"])
        if records.is_made(node.folder / "score.json", records.score_digest(study, record)):
            return told or "already made, left alone"
        part = shards.size() > 1 or "selected" in record  # what the fit saw is not all that is scored
        whole = None if part else features
        with shards.alone():  # a read-out is a fit, of which the other processes know nothing
            said = _score(study, node, record, data, on, whole)
    return f"{told}; {said}" if told else said


def _fitted(node: Node, digest: str) -> bool:
    """Tell whether a node has a record of the digest, and the very weights that the record tells of."""
    weights, record = node.folder / "segment.safetensors", node.folder / "fit.json"
    if not (weights.is_file() and records.is_made(record, digest)):
        return False
    with contextlib.suppress(store.Damaged):
        return store.content(store.read_tensors(weights)) == records.read(record, digest)["weights"]
    return False


def _fit(study: Study, node: Node, data: Dataset, on: torch.device, digest: str) -> tuple[str, Features]:
    """Fit, and write the weights and their record; returns what to print, and what it was fitted on."""
    spec = study.segment(node.path)
    fitting, features = prepared(study, node, data, on)
    sidecar = Sidecar(node.folder / RESUME, digest)
    machine.warm_up(on)
    with machine.metered(on) as reading:
        fitted = fitting(hooks=sidecar.hooks)
    if shards.rank() or partners.rank():
        return f"shared in {reading['seconds']:.2f} s", features
    reading["seconds"] += sidecar.earlier
    try:
        blocks = returned.check(fitted, features)
    except LayerwiseError as error:
        raise LayerwiseError(f"network {node}: what method {spec.method!r} returned: {error}") from None
    weights = fitted.module.state_dict()
    if not all(w.isfinite().all() for w in weights.values() if w.is_floating_point()):
        raise LayerwiseError(f"network {node}: the fit gave weights that are not finite; nothing was written")
    store.remove(node.folder / "fit.json")  # an old record must not stand beside new weights
    store.write_tensors(node.folder / "segment.safetensors", weights)
    record = {
        "digest": digest,
        "weights": store.content(weights),
        "method": spec.method,
        "options": dataclasses.asdict(spec.options),
        "layers": list(fitted.layers),
        "shape": list(features.shape),
        "outputs": data.task.outputs,
        "scores": layers.ends_in_scores(spec.layers),
        "parameters": sum(p.numel() for p in fitted.module.parameters()),
        "seed": node.seed,
        "processes": group.size if (group := partners.current()) else shards.size(),
        **reading,
        "seconds_before_interruption": sidecar.earlier,
        **machine.provenance(on),
        **({"fingerprints": blocks} if blocks else {}),
        "record": fitted.record,
        **selected(spec, fitted, features, data),
    }
    records.write(node.folder / "fit.json", record)  # last: a node with a record is whole
    sidecar.clear()
    went_on = f", {sidecar.earlier:.2f} s of them before it was interrupted" if sidecar.earlier else ""
    return f"fitted in {reading['seconds']:.2f} s{went_on}", features


def prepared(study: Study, node: Node, data: Dataset, on: torch.device) -> tuple[Callable[..., Fitted], Features]:
    """Return the fit of a node's segment, which takes its hooks alone, and the features that it is fitted on."""
    spec = study.segment(node.path)
    method = plugins.load("methods", spec.method)
    if shards.size() > 1 and not getattr(method, "SHARED", False):
        raise LayerwiseError(f"network {node}: method {spec.method!r} is not shared among processes; start one alone")
    if shards.size() > 1 and spec.selects:
        raise LayerwiseError(f"network {node}: a selection of samples is not shared among processes; start one alone")
    train, valid = (
        source.held(source.inputs(study, node, split, data, on, part=split == "train")) for split in ("train", "valid")
    )
    pixels = data.pixels if node.parent is None else None  # what a segment gives is no image
    features = Features(train, valid, data.task, data.record, pixels)
    root = data.record["digest"]
    uses = {u: loading.read_network(study, dataclasses.replace(node, path=u), root).to(on) for u in spec.uses}
    if spec.selects:
        again = {u: functools.partial(follow, study, dataclasses.replace(node, path=u), data, on) for u in uses}
        scoring = {u: net for u, net in uses.items() if layers.ends_in_scores(study.segment(u).layers)}
        candidates = Candidates(features, data.train, scoring, lambda path, eye: again[path](eye))
        try:
            train = chosen(spec.selects, candidates, seed=records.seed_of(node), device=on)
        except LayerwiseError as error:
            raise LayerwiseError(f"network {node}: {error}") from None
        features = dataclasses.replace(features, train=train)
    segment = Segment(spec.layers, features.shape, data.task.outputs, uses)
    options = method.Options(**vars(spec.options))
    try:
        returned.check_call(method.fit)
    except LayerwiseError as error:
        raise LayerwiseError(f"network {node}: method {spec.method!r}: {error}") from None

    def fitting(hooks: Hooks) -> Fitted:
        try:
            return method.fit(segment, features, options, seed=records.seed_of(node), device=on, hooks=hooks)
        except LayerwiseError as error:
            raise LayerwiseError(f"network {node}: {error}") from None

    return fitting, features


def follow(study: Study, node: Node, data: Dataset, on: torch.device, eye: Callable[[nn.Module, int], None]) -> None:
    """Fit the last segment of a node again, under an eye on the whole network."""
    fitting, _ = prepared(study, node, data, on)
    root, parent = data.record["digest"], node.parent
    below = [] if parent is None else list(loading.read_network(study, parent, root).to(on))
    fitting(hooks=Hooks(watch=lambda module, step: eye(nn.Sequential(*below, *module.children()), step)))


def _score(
    study: Study, node: Node, record: dict[str, Any], data: Dataset, on: torch.device, features: Features | None
) -> str:
    """Score what a node gives on every split; what it was just fitted on need not be made again."""
    digest = records.score_digest(study, record)
    if not (record["scores"] or study.readouts):
        records.write(node.folder / "score.json", {"digest": digest, "kind": "features", "splits": {}})
        return "features"
    module = loading.read_module(node, record)
    given: dict[str, Source] = {}
    if features is not None:
        given = {"train": features.train, "valid": features.valid}
    splits: dict[str, Split] = {}
    for split in SPLITS:
        taken = given[split] if split in given else source.inputs(study, node, split, data, on)
        outputs = source.Through(taken, module, on)
        splits[split] = Split(outputs.x, outputs.y)
    result = (scores.of_scores if record["scores"] else scores.of_readout)(splits, data.task)
    for split, measured in result["splits"].items():
        if not all(map(isfinite, measured.values())):
            told = f"network {node}: what it gives on the {split} split is too large, or no number"
            raise LayerwiseError(f"{told}; scale what it takes in, or take smaller steps")
    records.write(node.folder / "score.json", {"digest": digest, **result})
    said = {split: each.get("accuracy", each["mse"]) for split, each in result["splits"].items()}
    return f"{tuple(splits['train'].x.shape[1:])}, " + ", ".join(f"{s} {v:.4g}" for s, v in said.items())


def represent(study: Study, node: Node, data: Dataset, on: torch.device) -> str:
    """Write what a fitted node gives on every split: a checkpoint, on which its children are fitted."""
    fit = records.read_fit(study, node, data.record["digest"])
    digest = records.score_digest(study, fit)
    files = {split: source.checkpoint(node, split) for split in SPLITS}
    if all(f.is_file() and source.is_whole(f, digest) for f in files.values()):
        return "already made, left alone"
    module = loading.read_module(node, fit)
    with store.alone(node.folder):
        for split, file in files.items():
            features = source.Through(source.inputs(study, node, split, data, on), module, on)
            source.keep(file, features.x, digest)
    return f"{features.shape} a sample"
