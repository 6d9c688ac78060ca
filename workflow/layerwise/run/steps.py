"""The steps of the workflow on one node: fit, represent, probe. Each refuses a parent that the study did not ask for.

A step that finds its output already made, with the digest that the study asks for, leaves it alone: a job over
several seeds that was killed half way, or that a new seed brought back, does only what is missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerwise import plugins, store
from layerwise.closed import shards
from layerwise.contract import Dataset, Features, Fitted, Hooks, Segment, Split
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.preparation import disk
from layerwise.preparation.prepare import prepare
from layerwise.run import machine, scores
from layerwise.study.identity import SCORES, identity
from layerwise.study.model import Study, View, digest_of
from layerwise.study.trie import SPLITS, Node, dataset_folder

# Names that Snakemake does not know: before a job, and where one fails, it deletes the outputs that it does.
RESUME = ".resume.safetensors"  # a half-done fit
KEPT = {"segment.safetensors": ".segment.safetensors", "fit.json": ".fit.json"}  # second names of a whole fit


# ---------------------------------------------------------------- data set


def prepare_dataset(study: Study, name: str, root: Path) -> None:
    """Prepare a data set of the study in its canonical form."""
    if name not in study.datasets:
        raise LayerwiseError(f"{name!r} is no data set of the study {study.name}")
    folder = dataset_folder(study.name, name)
    spec = study.dataset_spec(name)
    with store.alone(folder):
        splits, record = prepare(*study.dataset(name), root)
        # What is in it tells one data set from another: made anew by other code to the same bytes, it is the same.
        record |= {"spec": digest_of(spec), "digest": digest_of([record["content"], record["task"]])}
        disk.write(folder, splits, record)


def read_dataset(study: Study, name: str) -> Dataset:
    """Read a prepared data set; LayerwiseError where it is not the one that the study asks for."""
    data = disk.read(dataset_folder(study.name, name))
    if data.record.get("spec") != digest_of(study.dataset_spec(name)):
        raise _stale(dataset_folder(study.name, name) / "dataset.json")
    return data


def _stale(path: Path) -> LayerwiseError:
    return LayerwiseError(
        f"{path}: made for other options or by other code than the study asks for; run snakemake, which makes it anew"
    )


# ---------------------------------------------------------------- reading a node


def read_fit(study: Study, node: Node, root: str) -> dict[str, Any]:
    """Read a node's record; LayerwiseError where its digest is not the one that the study asks for."""
    record = store.read_json(node.folder / "fit.json")
    if record.get("digest") != study.digest(node, root):
        raise _stale(node.folder / "fit.json")
    return record


def read_module(node: Node, record: dict[str, Any]) -> nn.Sequential:
    """Return a node's fitted layers."""
    module, _ = layers.build(record["layers"], tuple(record["shape"]), record["outputs"])
    weights = store.read_tensors(node.folder / "segment.safetensors")
    if any(w.dtype == torch.float64 for w in weights.values()):
        module = module.double()
    try:
        module.load_state_dict(weights)
    except RuntimeError:
        path = node.folder / "segment.safetensors"
        raise LayerwiseError(f"{path}: not the weights that fit.json tells of; delete it and run again") from None
    return module.eval()


def read_network(study: Study, node: Node, root: str) -> nn.Sequential:
    """Return all segments down to the node, as one module: data in, the node's output out."""
    fitted = [read_module(n, read_fit(study, n, root)) for n in node.lineage]
    return nn.Sequential(*(part for module in fitted for part in module)).eval()


def read_input(study: Study, node: Node, split: str, data: Dataset) -> Split:
    """Return what the node's segment takes in: the parent's features, or the data set itself."""
    whole: Split = getattr(data, split)
    if node.parent is None:
        return whole
    path = node.parent.folder / f"{split}.safetensors"
    if store.read_notes(path).get("digest") != represented_digest(
        study, read_fit(study, node.parent, data.record["digest"])
    ):
        raise _stale(path)
    x = store.read_tensors(path)["x"]
    if len(x) != len(whole):
        raise LayerwiseError(f"{path}: {len(x)} samples where the data set has {len(whole)}; delete it and run again")
    return Split(x, whole.y)


# ---------------------------------------------------------------- fit


def fit(study: Study, node: Node, data: Dataset, on: torch.device) -> str:
    """Fit the last segment of a node on its parent's features; returns what to print of it."""
    root = data.record["digest"]
    first = shards.rank() == 0
    with store.alone(node.folder) if first else contextlib.nullcontext():
        if shards.total(first and _fitted(node.folder, study.digest(node, root)), on):
            return _leave(node.folder, *KEPT) if first else "left alone"
        spec = study.segment(node.path)
        fitting, features = prepared_fit(study, node, data, on)
        sidecar = Sidecar(node.folder / RESUME, study.digest(node, root))
        machine.warm_up(on)
        with machine.metered(on) as reading:
            fitted = fitting(hooks=sidecar.hooks)
        if not first:
            return f"shared in {reading['seconds']:.2f} s"
        reading["seconds"] += sidecar.earlier
        weights = fitted.module.state_dict()
        if not all(w.isfinite().all() for w in weights.values() if w.is_floating_point()):
            raise LayerwiseError(f"network {node}: the fit gave weights that are not finite; nothing was written")
        (node.folder / "fit.json").unlink(missing_ok=True)  # an old record must not stand beside new weights
        store.write_tensors(node.folder / "segment.safetensors", weights)
        record = {
            "digest": study.digest(node, root),
            "method": spec.method,
            "options": dataclasses.asdict(spec.options),
            "layers": list(fitted.layers),
            "shape": list(features.shape),
            "outputs": data.task.outputs,
            "scores": layers.ends_in_scores(spec.layers),
            "parameters": sum(p.numel() for p in fitted.module.parameters()),
            "seed": node.seed,
            "processes": shards.size(),
            **reading,
            "seconds_before_interruption": sidecar.earlier,
            **machine.provenance(on),
            "record": fitted.record,
        }
        store.write_json(node.folder / "fit.json", record)  # last: a node with a record is whole
        (node.folder / KEPT["fit.json"]).unlink(missing_ok=True)
        for name, second in KEPT.items():
            store.link(node.folder / name, node.folder / second)
        sidecar.path.unlink(missing_ok=True)
    went_on = f", {sidecar.earlier:.2f} s of them before it was interrupted" if sidecar.earlier else ""
    return f"fitted in {reading['seconds']:.2f} s{went_on}"


def prepared_fit(study: Study, node: Node, data: Dataset, on: torch.device) -> tuple[Callable[..., Fitted], Features]:
    """Return the fit of a node's segment, which takes its hooks alone, and the features that it is fitted on."""
    spec = study.segment(node.path)
    method = plugins.load("methods", spec.method)
    if shards.size() > 1 and not getattr(method, "SHARED", False):
        raise LayerwiseError(f"network {node}: method {spec.method!r} is not shared among processes; start one alone")
    features = Features(
        shards.part(read_input(study, node, "train", data)),
        read_input(study, node, "valid", data),
        data.task,
        data.record,
    ).to(on)
    root = data.record["digest"]
    uses = {u: read_network(study, dataclasses.replace(node, path=u), root).to(on) for u in spec.uses}
    segment = Segment(spec.layers, features.shape, data.task.outputs, uses)
    options = method.Options(**vars(spec.options))

    def fitting(hooks: Hooks) -> Fitted:
        try:
            return method.fit(segment, features, options, seed=seed_of(node), device=on, hooks=hooks)
        except LayerwiseError as error:
            raise LayerwiseError(f"network {node}: {error}") from None

    return fitting, features


def seed_of(node: Node) -> int:
    """Return the seed of a node's fit, drawn from the study's seed and the node's name."""
    name = f"{node.dataset}/{node.path}/{node.seed}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


class Sidecar:
    """A half-done fit, kept in a file from which it can go on; one of another digest is not taken up.

    Parameters
    ----------
    earlier
        Seconds that the fit took before it was interrupted.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest, self.earlier = path, digest, 0.0
        self.start = time.perf_counter()
        self.hooks = Hooks(self._load, self._save)

    def _load(self) -> tuple[dict[str, Tensor], dict] | None:
        if not self.path.is_file():
            return None
        said = store.read_notes(self.path)
        if said.get("digest") != self.digest:
            return None
        self.earlier = float(said["seconds"])
        # A file keeps no strides, and fused optimisers walk through memory: momenta must lie as the weights of
        # convolutions do (`layers.for_images`), or each would go to another weight.
        tensors = store.read_tensors(self.path)
        laid = {k: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in tensors.items()}
        return laid, json.loads(said["notes"])

    def _save(self, tensors: dict[str, Tensor], notes: dict) -> None:
        seconds = round(self.earlier + time.perf_counter() - self.start, 4)
        said = {"digest": self.digest, "seconds": str(seconds), "notes": json.dumps(notes)}
        store.write_tensors(self.path, tensors, said)


def _fitted(folder: Path, digest: str) -> bool:
    """Tell whether a node is fitted, bringing back what Snakemake deleted for a new seed, or as another failed."""
    if (folder / "segment.safetensors").is_file() and _made(folder / "fit.json", digest):
        return True
    with contextlib.suppress(LayerwiseError):  # missing, or damaged under both names
        kept = _made(folder / KEPT["fit.json"], digest) and not store.read_notes(folder / KEPT["segment.safetensors"])
        for name, second in KEPT.items() if kept else ():
            store.link(folder / second, folder / name)
        return kept
    return False


def _made(path: Path, digest: str) -> bool:
    return path.is_file() and store.read_json(path).get("digest") == digest


def _leave(folder: Path, *names: str) -> str:
    """Tell Snakemake that a file is up to date, by its time."""
    for name in names:
        (folder / name).touch()
    return "already made, left alone"


# ---------------------------------------------------------------- represent, probe


def represent(study: Study, node: Node, data: Dataset, on: torch.device) -> str:
    """Run the node's segment over every split: the features that its children are fitted on. And score them."""
    record = read_fit(study, node, data.record["digest"])
    digest = represented_digest(study, record)
    files = {split: node.folder / f"{split}.safetensors" for split in SPLITS}
    if all(_represented(f, digest) for f in files.values()) and _made(node.folder / "score.json", digest):
        return _leave(node.folder, "score.json", *(f.name for f in files.values()))
    module = read_module(node, record).to(on)
    splits = {}
    for split, file in files.items():
        given = read_input(study, node, split, data)
        splits[split] = Split(layers.apply(module, given.x, device=on), given.y)
        store.write_tensors(file, {"x": splits[split].x}, {"digest": digest})
    on_device = {split: each.to(on) for split, each in splits.items()}
    if record["scores"]:
        result = scores.of_scores(on_device, data.task)
    else:
        result = scores.of_readout(on_device, data.task) if study.readouts else {"kind": "features", "splits": {}}
    store.write_json(node.folder / "score.json", {"digest": digest, **result})
    said = {split: each.get("accuracy", each["mse"]) for split, each in result["splits"].items()}
    return f"{tuple(splits['train'].x.shape[1:])}, " + ", ".join(f"{s} {v:.4g}" for s, v in said.items())


def represented_digest(study: Study, record: dict[str, Any]) -> str:
    """Return the digest of what representing a fit gives: another fit, or other code that runs it, is another."""
    return digest_of([record["digest"], identity(SCORES, SCORES), study.readouts])


def _represented(path: Path, digest: str) -> bool:
    return path.is_file() and store.read_notes(path).get("digest") == digest


def probe(study: Study, view: View, node: Node, data: Dataset, on: torch.device) -> str:
    """Look at the network that ends in the node, and write down what the probe saw in `<probe>.csv`."""
    record = read_fit(study, node, data.record["digest"])
    module = plugins.load("probes", view.module)
    options = module.Options(**vars(view.options))
    if hasattr(module, "follow"):
        fitting, features = prepared_fit(study, node, data, on)
        eye = module.follow(read_module(node, record).to(on), features, options, seed=seed_of(node), device=on)
        fitting(hooks=Hooks(watch=eye))
        table = eye.table()
        if table.empty:
            raise LayerwiseError(
                f"probe {view.name} of {node}: method {record['method']!r} fits in one step, so there is no training "
                "to follow; name networks that are trained by gradient"
            )
    else:
        network = read_network(study, node, data.record["digest"]).to(on)
        table = module.look(network, data, options, seed=seed_of(node), device=on)
    store.write_csv(node.folder / f"{view.name}.csv", table.assign(digest=seen_digest(study, view, record)))
    return f"{len(table)} rows"


def seen_digest(study: Study, view: View, record: dict[str, Any]) -> str:
    """Return the digest of what a probe sees in a network: another fit, other options or other code is another."""
    code = identity("probes", view.module)
    return digest_of([record["digest"], study.view_digest("probes", view.name), code])
