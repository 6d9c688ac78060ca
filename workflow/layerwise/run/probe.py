"""A probe on one fitted network: look at what came of its training, or follow the training itself."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import pandas as pd
import torch
from torch import nn

from layerwise import plugins
from layerwise.contract import Dataset, Hooks
from layerwise.errors import LayerwiseError
from layerwise.run import loading, records
from layerwise.run import node as nodes
from layerwise.study.model import Study, View
from layerwise.study.trie import Node


def probe(study: Study, node: Node, data: Dataset, on: torch.device, view: View) -> str:
    """Look at the network that ends in the node, and write down what the probe saw in `<probe>.csv`."""
    record = records.read_fit(study, node, data.record["digest"])
    digest = records.seen_digest(study, view, record)
    if _seen(node, view, digest):
        return "already made, left alone"
    module = plugins.load("probes", view.module)
    options = module.Options(**vars(view.options))
    seed = records.seed_of(node)
    if view.every or hasattr(module, "follow"):
        if view.every:
            glances = Glances(
                functools.partial(module.look, data=data, options=options, seed=seed, device=on), view.every
            )
            nodes.follow(study, node, data, on, glances)
            table = glances.table()
        else:
            fitting, features = nodes.prepared(study, node, data, on)
            eye = module.follow(loading.read_module(node, record).to(on), features, options, seed=seed, device=on)
            fitting(hooks=Hooks(watch=eye))
            table = eye.table()
        if table.empty:
            raise LayerwiseError(
                f"probe {view.name} of {node}: method {record['method']!r} fits in one step, so there is no training "
                "to follow; name networks that are trained by gradient"
            )
    else:
        network = loading.read_network(study, node, data.record["digest"]).to(on)
        table = module.look(network, data, options, seed=seed, device=on)
    records.write_seen(node, view, digest, table)
    return f"{len(table)} rows"


class Glances:
    """An eye on a training that takes a probe's look every so many steps, before the first (0) as well."""

    def __init__(self, look: Callable[..., pd.DataFrame], every: int) -> None:
        self.look, self.every = look, every
        self.tables: list[pd.DataFrame] = []

    @torch.no_grad()
    def __call__(self, network: nn.Module, step: int) -> None:
        if step % self.every == 0:
            table = self.look(network.eval())
            table.insert(0, "step", step)
            self.tables.append(table)

    def table(self) -> pd.DataFrame:
        return pd.concat(self.tables, ignore_index=True) if self.tables else pd.DataFrame()


def _seen(node: Node, view: View, digest: str) -> bool:
    with contextlib.suppress(LayerwiseError):  # not there, or not as it was written: then it is made anew
        records.read_seen(node, view, digest)
        return True
    return False
