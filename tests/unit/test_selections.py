"""Which training samples a segment is fitted on: what each selection keeps, and what that does to a study."""

from __future__ import annotations

import json

import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from tinystudy import edited, load, refused
from torch import nn

from layerwise.contract import Features, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.results import collect
from layerwise.run import loading, probe
from layerwise.run import node as nodes
from layerwise.run.selected import chosen
from layerwise.selections import Candidates, el2n, forgetting, kfilter, random
from layerwise.study import trie
from layerwise.study.model import Chosen

CPU = torch.device("cpu")
THREE = Task("onehot", 3, ("a", "b", "c"))


def candidates(n=120, task=THREE, networks=None, follow=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, 2, 2, generator=generator)
    y = torch.randint(0, max(2, task.outputs), (n,), generator=generator)
    split = Split(x + y[:, None, None, None], y if task.classifies else x.flatten(1)[:, :1])
    return Candidates(
        Features(split, split.rows(y[:0]), task), split, networks or {}, follow or (lambda path, eye: None)
    )


def selected(module, given, **options) -> list[int]:
    return module.select(given, module.Options(**options), seed=0, device=CPU).tolist()


# ---------------------------------------------------------------- what each keeps


@pytest.mark.parametrize("itself", [True, False])
def test_kfilter_drops_whose_k_nearest_are_all_of_its_class(itself):
    given = candidates()
    x, y = given.samples.x.flatten(1).double(), given.samples.y
    order = NearestNeighbors(n_neighbors=120, algorithm="brute").fit(x).kneighbors(x, return_distance=False)
    others = [row[row != i][: 4 - itself] for i, row in enumerate(order)]
    expected = [i for i, row in enumerate(others) if not (y[row] == y[i]).all()]
    assert selected(kfilter, given, k=4, batch=0, itself=itself) == expected
    assert 0 < len(expected) < 120


def test_kfilter_looks_within_batches_in_their_order():
    given = candidates()
    halves = [Split(given.samples.x[i : i + 60], given.samples.y[i : i + 60]) for i in (0, 60)]
    parts = [Candidates(Features(h, h.rows(h.y[:0]), THREE), h, {}, given.follow) for h in halves]
    expected = selected(kfilter, parts[0], k=4) + [60 + i for i in selected(kfilter, parts[1], k=4)]
    assert selected(kfilter, given, k=4, batch=60) == expected


def test_random_keeps_a_share_by_the_seed():
    rows = selected(random, candidates(), keep=0.25)
    assert rows == sorted(set(rows))
    assert len(rows) == 30
    other = random.select(candidates(), random.Options(0.25), seed=1, device=CPU).tolist()
    assert rows != other
    assert len(selected(random, candidates(), keep=1e-9)) == 1


def test_el2n_keeps_what_networks_err_on():
    torch.manual_seed(0)
    nets = {name: nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for name in ("p", "q")}
    given = candidates(networks=nets)
    x, y = given.samples.x, given.samples.y
    with torch.no_grad():
        errors = sum((net(x).softmax(1) - torch.eye(3)[y]).norm(dim=1) for net in nets.values())
    assert selected(el2n, given, keep=0.2) == sorted(errors.topk(24).indices.tolist())


def test_the_error_of_signs_is_that_of_two_classes():
    scores, labels = torch.tensor([[2.0], [-1.0]]), torch.tensor([0, 1])
    p = torch.sigmoid(scores[:, 0]).double()
    expected = 2**0.5 * torch.tensor([p[0], 1 - p[1]], dtype=torch.float64)
    assert torch.allclose(el2n.error(scores, labels, Task("signs", 1, ("-", "+"))), expected)


def test_forgetting_counts_falls_and_what_was_never_right():
    y = torch.tensor([0, 0, 0, 0])
    answers = [[0, 0, 1, 1], [1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0]]  # at the looks; sample 2 is never right

    class Says(nn.Module):
        def __init__(self, labels):
            super().__init__()
            self.labels = labels

        def forward(self, x):
            return torch.eye(3)[torch.tensor(self.labels)][: len(x)]

    def follow(path, eye):
        eye(Says([1, 1, 1, 1]), 0)
        for i, labels in enumerate(answers):
            eye(Says(labels), 10 * (i + 1))
            eye(Says([1, 1, 1, 1]), 10 * (i + 1) + 3)  # between two looks

    split = Split(torch.zeros(4, 1), y)
    given = Candidates(Features(split, split, THREE), split, {"a": nn.Identity()}, follow)
    memory = forgetting.Memory(given, 10, CPU)
    follow("a", memory)
    assert memory.events().tolist() == [2, 0, 4, 1]
    assert selected(forgetting, given, keep=0.5, every=10) == [0, 2]
    with pytest.raises(LayerwiseError, match="less than twice"):
        selected(forgetting, given, keep=0.5, every=40)


@pytest.mark.parametrize("module", [el2n, forgetting])
def test_a_network_has_to_be_named(module):
    with pytest.raises(LayerwiseError, match="name them under the segment's uses"):
        selected(module, candidates(), keep=0.5)


def test_a_sample_that_is_its_own_and_only_neighbour_goes_whatever_it_is():
    with pytest.raises(LayerwiseError, match="'k' counts the sample itself: choose 2 or more, or itself: false"):
        kfilter.Options(k=1)
    assert kfilter.Options(k=1, itself=False).k == 1


@pytest.mark.parametrize("module", [kfilter, el2n, forgetting])
def test_values_are_refused(module):
    options = {} if module is kfilter else {"keep": 0.5}
    with pytest.raises(LayerwiseError, match="needs classes"):
        selected(module, candidates(task=Task("values", 1)), **options)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (torch.tensor([1, 1]), "each once"),
        (torch.tensor([0.5]), "each once"),
        (torch.tensor([], dtype=torch.long), "keeps no sample"),
        (torch.tensor([120]), "none of the 120"),
        (torch.tensor([-1]), "none of the 120"),
    ],
)
def test_what_a_selection_returns_is_checked(rows, said, monkeypatch):
    monkeypatch.setattr(random, "select", lambda *args, **more: rows)
    with pytest.raises(LayerwiseError, match=f"selection 'random'.*{said}"):
        chosen(Chosen("random", random.Options(0.5)), candidates(), seed=0, device=CPU)


# ---------------------------------------------------------------- in a study


SEGMENTS = {
    "r4": {"method": "random", "layers": ["conv 3 4", "relu", "maxpool 2"]},
    "all": {"method": "ridge", "layers": ["dense outputs"]},
    "few": {"method": "ridge", "layers": ["dense outputs"], "selects": {"selection": "random", "keep": 0.5}},
    "k<n>": {"method": "sgd", "epochs": 2, "batch": 20, "layers": ["dense outputs"],
             "selects": {"selection": "kfilter", "k": "<n>"}},
    "last": {"method": "ridge", "layers": ["dense outputs"], "uses": ["k4"],
             "selects": {"selection": "forgetting", "keep": 0.5, "every": 2}},
}  # fmt: skip
STUDY = {
    "seeds": 1,
    "datasets": {"digits": {"source": "digits", "subset": 200, "valid": 50, "test_subset": 100}},
    "segments": SEGMENTS,
    "networks": {"digits": {p: p for p in ("all", "r4/all", "r4/few", "r4/k4", "k4", "k5", "last")}},
    "probes": {"redundancy": {"samples": 60, "k": [2], "every": 2, "networks": ["digits/k4", "digits/r4/k4"]}},
    "figures": None,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selections")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = load(folder, **STUDY)
        loading.prepare_dataset(study, "digits", folder)
        data = loading.read_dataset(study, "digits")
        for node in study.nodes():
            nodes.fit(study, node, data, CPU)
        yield study, data


def record(study, path):
    return json.loads((trie.Node(study.name, "digits", 0, path).folder / "fit.json").read_text())


def test_a_fit_sees_the_rows_that_are_kept_at_its_depth(ran):
    study, data = ran
    below = loading.read_module(trie.Node(study.name, "digits", 0, "r4"), record(study, "r4"))
    features = below(data.train.x).flatten(1)
    node = trie.Node(study.name, "digits", 0, "r4/k4")
    _, seen = nodes.prepared(study, node, data, CPU)
    given = Candidates(Features(Split(features, data.train.y), data.valid, data.task), data.train, {}, None)
    rows = selected(kfilter, given, k=4)
    assert torch.equal(seen.train.x.flatten(1), features[rows])
    assert torch.equal(seen.train.y, data.train.y[rows])
    assert len(seen.valid) == len(data.valid)
    assert record(study, "r4/k4")["selected"] == {"selection": "kfilter", "samples": len(rows), "of": len(data.train)}


def test_scores_are_of_all_rows_and_the_share_is_in_the_table(ran):
    study, data = ran
    folder = trie.Node(study.name, "digits", 0, "r4/few").folder
    assert json.loads((folder / "score.json").read_text())["splits"]["train"]["n"] == len(data.train)
    table = collect.collect(study).set_index("path")
    assert table.loc["r4/few", "kept_percent"] == pytest.approx(50, abs=0.5)
    assert table["kept_percent"].isna().to_dict()["r4/all"]
    assert table.loc["k4", "kept_percent"] < table.loc["k5", "kept_percent"]


def test_a_network_that_ends_in_features_is_none_to_look_at(ran, tmp_path):
    study, data = ran
    select = {"selection": "el2n", "keep": 0.5}
    odd = {**SEGMENTS, "last": {**SEGMENTS["last"], "uses": ["r4"], "selects": select}}
    study = load(tmp_path, **{**STUDY, "segments": odd})
    with pytest.raises(LayerwiseError, match="'el2n' looks at trained networks that end in scores: name them under"):
        nodes.prepared(study, trie.Node(study.name, "digits", 0, "last"), data, CPU)


def test_nothing_is_recorded_without_a_selection(ran):
    study, _ = ran
    assert "selected" not in record(study, "all")
    assert "selects" not in study.segment_spec("all")
    assert study.segment_spec("r4/few")["selects"]["options"] == {"keep": 0.5}


def test_another_selection_is_another_fit(tmp_path):
    plans = [load(tmp_path, **STUDY)]
    for change in ({"selection": "random", "keep": 0.4}, {"selection": "kfilter"}):
        segments = {**SEGMENTS, "few": {**SEGMENTS["few"], "selects": change}}
        plans.append(load(tmp_path, **{**STUDY, "segments": segments}))
    digests = {plan.digest(trie.Node(plan.name, "digits", 0, "r4/few"), "root") for plan in plans}
    assert len(digests) == 3
    assert len({plan.asked("digits", "r4/few") for plan in plans}) == 3
    assert len({plan.digest(trie.Node(plan.name, "digits", 0, "r4/all"), "root") for plan in plans}) == 1


def test_a_look_during_the_training_is_that_after_it(ran):
    study, data = ran
    for path in ("k4", "r4/k4"):
        node = trie.Node(study.name, "digits", 0, path)
        probe.probe(study, node, data, CPU, study.probes["redundancy"])
        table = probe.records.read_seen(node, study.probes["redundancy"], probe.records.seen_digest(
            study, study.probes["redundancy"], probe.records.read_fit(study, node, data.record["digest"])))  # fmt: skip
        steps = record(study, path)["record"]["steps"]
        assert sorted(set(table["step"])) == list(range(0, steps + 1, 2))
        module = probe.plugins.load("probes", "redundancy")
        network = loading.read_network(study, node, data.record["digest"])
        seed = probe.records.seed_of(node)
        after = module.look(network, data, module.Options(samples=60, k=(2,)), seed=seed, device=CPU)
        last = table[table["step"] == steps].drop(columns="step").reset_index(drop=True)
        assert last.to_dict() == after.to_dict()
        assert set(table["depth"]) == ({0, 1} if path == "k4" else {0, 1, 2})


def test_a_probe_names_its_steps_in_its_digest(tmp_path):
    probes = [{"redundancy": {"every": every}} for every in (0, 2, 3)]
    plans = [load(tmp_path, **{**STUDY, "probes": each}) for each in probes]
    assert len({plan.probe_digest("redundancy") for plan in plans}) == 3
    assert [plan.follows("redundancy") for plan in plans] == [False, True, True]


# ---------------------------------------------------------------- what a study is refused for


@pytest.mark.parametrize(
    ("selects", "said"),
    [
        ({"selection": "kfliter"}, "no such selection; did you mean 'kfilter'"),
        ({"selection": "kfilter", "kk": 3}, "has no option 'kk'; did you mean 'k'"),
        ({"selection": "random"}, "keep"),
        ({"selection": "random", "keep": 0}, "above 0"),
        ({"k": 3}, "selection"),
        ("kfilter", "selects"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, selects, said):
    segments = {**SEGMENTS, "few": {**SEGMENTS["few"], "selects": selects}}
    assert said in refused(tmp_path, edited(**{**STUDY, "segments": segments}))


def test_segments_fitted_together_select_once(tmp_path):
    segments = {
        "a": {"method": "sgd", "layers": ["dense 4"], "selects": {"selection": "kfilter"}},
        "b": {"method": "sgd", "layers": ["dense outputs"], "selects": {"selection": "kfilter", "k": 3}},
        "c": {"method": "sgd", "layers": ["dense outputs"]},
    }
    networks = {"digits": {"a+c": "one"}}
    study = load(tmp_path, **{**STUDY, "segments": segments, "networks": networks, "probes": None})
    assert study.segment("a+c").selects.selection == "kfilter"
    several = {**STUDY, "segments": segments, "networks": {"digits": {"a+b": "two"}}, "probes": None}
    assert "one selection of samples" in refused(tmp_path, edited(**several))


def test_every_is_a_number_of_steps(tmp_path):
    assert "every" in refused(tmp_path, edited(**{**STUDY, "probes": {"redundancy": {"every": "often"}}}))
