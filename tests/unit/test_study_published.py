"""The mapping of published rows: what measures them, in tables, figures and verdicts alike; every mistake when read."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from test_published import fits, plan
from tinystudy import edited, load, refused, write

from layerwise import store
from layerwise.errors import LayerwiseError
from layerwise.results import collect
from layerwise.results.published import COLUMNS as COLUMNS_OF_VERDICTS
from layerwise.results.published import verdicts
from layerwise.results.rules import judge, rule
from layerwise.results.study_results import StudyResults
from layerwise.run import steps
from layerwise.study import file as study_file
from layerwise.study import works
from layerwise.tables import published_rows
from shipped import studies

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in studies())
COLUMNS = {"PCA": "dmn_accuracy", "other": {"measure": "train_accuracy"}}
BOTH = {"columns": {"train": "train_accuracy", "test": "test_accuracy"}}


def mapped(rows, source="dmn", item="table2", **more):
    return works.resolved({"rows": rows, **more}, source, item)


# ---------------------------------------------------------------- rows


def test_one_line_serves_many_rows_and_an_exact_row_completes_it():
    rows = {
        "mnist|d<n>": {"PCA": "mnist/d<n>/head", "other": "mnist/p<n>/head"},
        "mnist|d<n>,d<m>": {"PCA": "mnist/d<n>/d<m>/head"},
        "mnist|d16": {"other": None, "more": "mnist/x"},
        "cifar10|d10": {"PCA": "cifar10/d10/head"},
    }
    item = mapped(rows, columns=COLUMNS)
    assert item.rows == {
        "mnist|d4": {"PCA": "mnist/d4/head", "other": "mnist/p4/head"},
        "mnist|d6": {"PCA": "mnist/d6/head", "other": "mnist/p6/head"},
        "mnist|d16": {"PCA": "mnist/d16/head", "more": "mnist/x"},
        "mnist|d4,d15": {"PCA": "mnist/d4/d15/head"},
        "mnist|d6,d93": {"PCA": "mnist/d6/d93/head"},
        "cifar10|d10": {"PCA": "cifar10/d10/head"},
    }
    assert list(item.rows) == [*list(item.rows)[:3], "mnist|d4,d15", "mnist|d6,d93", "cifar10|d10"]  # as in the work
    turned = mapped(dict(reversed(rows.items())), columns=COLUMNS, order="rows")
    assert (list(turned.rows)[:2], turned.rows) == (["cifar10|d10", "mnist|d16"], item.rows)


def test_a_network_that_a_row_names_once_measures_all_that_has_none_of_its_own():
    rows = {"mnist|de10": "mnist/head", "mnist|d6,m,de10": {"network": "mnist/p6", "test": "mnist/q6", "few": "few/p6"}}
    item = mapped(rows, item="table3", **BOTH)
    assert item.rows["mnist|de10"] == {"train": "mnist/head", "test": "mnist/head"}
    assert item.rows["mnist|d6,m,de10"] == {"train": "mnist/p6", "test": "mnist/q6", "few": "few/p6"}
    assert item.measures("mnist|d6,m,de10", "train_accuracy") == ("mnist/p6", "train_accuracy")
    assert item.measures("mnist|d6,m,de10", "test_accuracy") == ("mnist/q6", "test_accuracy")
    assert mapped({"mnist|de10": "mnist/head"}, item="table3").measures("mnist|de10", "train_accuracy") == (
        "mnist/head",
        "train_accuracy",
    )
    assert item.measures("mnist|c9,m,de10", "test_accuracy") is None
    again = mapped(item.written(), item="table3", **BOTH)
    assert (again.rows, again.shared) == (item.rows, item.shared)


def test_rows_below_a_setting_are_taken_with_it_in_a_study_and_in_one_that_extends_it():
    rows = {"<d>|d<n>": {"PCA": "<d>/d<n>/head"}}
    given = {"dmn": {"table2": {"rows": {"<d>=mnist": rows, "<d>=cifar10": rows}}, "table3": None}}
    written = study_file._by_item(given)
    assert written["dmn"]["table2"]["rows"] == {
        "mnist|d<n>": {"PCA": "mnist/d<n>/head"},
        "cifar10|d<n>": {"PCA": "cifar10/d<n>/head"},
    }
    assert written["dmn"]["table3"] == {}
    taken = study_file._published_of(given, given, {"cifar10/d22/head"})
    assert taken["dmn"]["table2"]["rows"] == {"cifar10|d22": {"PCA": "cifar10/d22/head"}}
    same = {"dmn": {"table2": {"rows": {"<d>=mnist": rows, "mnist|d<n>": "mnist/d<n>/head"}}}}
    with pytest.raises(LayerwiseError, match=re.escape("published dmn: 'mnist|d<n>' is given twice")):
        study_file._by_item(same)


def test_words_say_how_networks_spell_what_stands_in_a_row():
    words = {"set": {"alpha.1 beta10": "a", "alpha1 beta2": "b"}, "tol": {"": "", " tol1e-5": "t"}}
    rows = {"two spirals|<s>|<set>|cpu fp<n><tol>": "spirals/<s><n><tol><set>"}
    item = mapped(rows, "thesis", "table7.1", words=words)
    assert len(item.rows) == 14
    assert item.shared["two spirals|lstsq|alpha1 beta2|cpu fp32 tol1e-5"] == "spirals/lstsq32tb"
    assert item.shared["two spirals|solve|alpha.1 beta10|cpu fp64"] == "spirals/solve64a"


@pytest.mark.parametrize(
    ("metric", "measure"),
    [
        ("dmn_accuracy", "test_accuracy"),
        ("train_accuracy_mean", "train_accuracy"),
        ("train_accuracy_std", "train_accuracy"),
        ("valid_accuracy", "valid_accuracy"),
        ("train_mse", "train_mse"),
        ("unfiltered_accuracy_low", "test_accuracy"),
        ("seconds_rtx4080", "seconds_rtx4080"),  # no column of ours: the verdict must say which
    ],
)
def test_the_measure_of_a_metric(metric, measure):
    assert works.measure_of(metric) == measure


# ---------------------------------------------------------------- verdicts


def test_verdicts_take_networks_from_the_mapping_and_the_rest_from_the_first_exception():
    item = {"columns": {"PCA": "dmn_accuracy"}, "rows": {"mnist|d<n>": {"PCA": "toy/d<n>"}}}
    entries = [
        {"item": "table2", "row": "mnist|d4", "reason": "four", "note": "a note"},
        {"item": "table2", "row": "mnist|d6", "measure": "train_mse", "scale": 100.0},
        {"item": "table2", "row": "mnist|d16", "network": None, "reason": "too long"},
        {"item": "table2", "row": "cifar10|d<n>", "metric": "convnet_accuracy", "network": "toy/d<n>"},
    ]
    table = fits("test_accuracy", [90.0, 90.2], "toy/d4").assign(train_mse=0.5)
    for path in ("d6", "d10", "d22"):
        table = pd.concat([table, table[table["path"] == "d4"].assign(path=path)])
    rows = verdicts(plan({"dmn": {"table2": item}}, entries), table).set_index(["row", "metric"])
    four, six, sixteen = (rows.loc[(f"mnist|d{n}", "dmn_accuracy")] for n in (4, 6, 16))
    assert (four["measured"], four["verdict"], four["reason"]) == (pytest.approx(90.1), "worse", "four; a note")
    assert six["measured"] == 50.0
    assert (sixteen["verdict"], sixteen["reason"]) == ("not run", "too long")
    assert rows.loc[("cifar10|d22", "convnet_accuracy"), "measured"] == pytest.approx(90.1)
    assert rows.loc[("mnist|d4", "convnet_accuracy"), "verdict"] == "not run"


# ---------------------------------------------------------------- mistakes, when the study is read


def published(item: object, name="table2") -> dict:
    return {"published": {"dmn": {name: item}}}


MISTAKES = {
    "work": ({"published": {"dnm": {"table2": None}}}, "published: no work 'dnm'; did you mean 'dmn'?"),
    "item": (published(None, "tabel2"), "published: dmn has no item 'tabel2'; did you mean 'table2'?"),
    "row": (
        published({"rows": {"mnist|d5": "digits/d4/head"}}),
        "published dmn table2: no row 'mnist|d5'; did you mean 'mnist|d6'?",
    ),
    "pattern": (
        published({"rows": {"mnsit|d<n>": "digits/d4/head"}}),
        "published dmn table2: no row fits 'mnsit|d<n>'; did you mean 'mnist|d",
    ),
    "two patterns": (
        published({"rows": {"mnist|d<n>": "digits/d4/head", "mnist|d1<n>": "digits/d4/head"}}),
        "published dmn table2: 'mnist|d<n>' and 'mnist|d1<n>' both fit 'mnist|d16'; make them apart",
    ),
    "placeholder": (
        published({"rows": {"mnist|d<n>": "digits/d<m>/head"}}),
        "published dmn table2: <m> of 'digits/d<m>/head' does not stand in its row 'mnist|d<n>'",
    ),
    "network": (
        published({"rows": {"mnist|d4": "digits/d5/head"}}),
        "published dmn table2: row 'mnist|d4': no network 'digits/d5/head'; did you mean 'digits/d4/head'?",
    ),
    "metric of a column": (
        published({"columns": {"PCA": "dnm_accuracy"}, "rows": {"mnist|d4": "digits/d4/head"}}),
        "published dmn table2: column 'PCA': no metric 'dnm_accuracy'; did you mean 'dmn_accuracy'?",
    ),
    "column that no row has": (
        published({"columns": {"PCS": "dmn_accuracy"}, "rows": {"mnist|d4": {"PCA": "digits/d4/head"}}}),
        "published dmn table2: column 'PCS': no row has it; did you mean 'PCA'?",
    ),
    "words that no row has": (
        published({"words": {"set": {"a": "b"}}, "rows": {"mnist|d<n>": "digits/d4/head"}}),
        "published dmn table2: words of 'set': no row has it; known: n",
    ),
    "key of an item": (
        published({"colums": {}, "rows": {"mnist|d4": "digits/d4/head"}}),
        "published/dmn/table2: no key 'colums'; did you mean 'columns'?",
    ),
    "no rows": (published({"columns": {}}), "published/dmn/table2: the key 'rows' is missing: published rows, or patt"),
    "a cell": (
        published({"rows": {"mnist|d4": {"PCA": 5}}}),
        "published/dmn/table2/rows/mnist|d4/PCA: 5 is not what belongs here: a network, as dataset/path",
    ),
    "verdict on a column": (
        {
            **published({"rows": {"mnist|d4": {"PCA": "digits/d4/head"}}}),
            "verdicts": [{"item": "table2", "metric": "PCA", "reason": "why"}],
        },
        "verdict on 'table2 PCA': 'PCA' is a column; name the published metric that it is held against",
    ),
    "verdict on nothing": (
        {"published": {"dmn": ["table2"]}, "verdicts": [{"item": "table3", "reason": "why"}]},
        "verdict on 'table3': the study answers for no published value of this name; did you mean 'table2'?",
    ),
    "verdict with a network of a placeholder": (
        {"published": {"dmn": ["table2"]}, "verdicts": [{"item": "table2", "row": "*|d<n>", "network": "digits/d<n>"}]},
        "verdict on 'table2': no network 'digits/d6'; did you mean 'digits/d4'?",
    ),
    "verdict of a network that its probe does not look at": (
        {
            "published": {"dmn": ["table2"]},
            "probes": {"rank": {"networks": ["digits/d4/ridge"]}},
            "verdicts": [{"item": "table2", "network": "digits/d4/head", "probe": "rank", "measure": "stable_rank"}],
        },
        "verdict on 'table2': probe 'rank' does not look at 'digits/d4/head'; name it there",
    ),
    "verdict on a curve that is scaled": (
        {
            "published": {"dmn": ["table2"]},
            "verdicts": [{"item": "table2", "networks": {"1": "digits/d4/head"}, "scale": 100}],
        },
        "verdict on 'table2': scale is for one network, and networks name a curve: leave one out",
    ),
    "verdict on the best of one": (
        {
            "published": {"dmn": ["table2"]},
            "verdicts": [{"item": "table2", "network": "digits/d4/head", "statistic": "best"}],
        },
        "verdict on 'table2': statistic best is a place on a curve: name its networks",
    ),
    "table": (
        {**published(None), "tables": {"a": {"table": "published_rows", "source": "dmn", "item": "table2"}}},
        "'a': published: the study measures no row of dmn 'table2'; known: none",
    ),
    "figure": (
        {"figures": {"b": {"figure": "bars", "source": "dmn", "item": "table2"}}},
        "'b': published: the study measures no row of a work 'dmn'; known: none",
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_in_the_mapping_is_one_line_when_the_study_is_read(tmp_path, what):
    given, message = MISTAKES[what]
    said = refused(tmp_path, edited(probes={}, figures={}, tables={}) | given)
    assert said.startswith(message), said
    assert len(said) < 400


# ---------------------------------------------------------------- studies


def test_a_list_of_items_works_as_a_mapping_without_rows(tmp_path):
    lists = load(tmp_path, published={"dmn": ["table2"], "thesis": ["fig7.4"]}).published
    assert lists == load(tmp_path, published={"dmn": {"table2": None}, "thesis": {"fig7.4": None}}).published


def test_a_table_is_made_again_when_its_mapping_changes(tmp_path):
    tables = {"t": {"table": "published_rows", "source": "dmn", "item": "table2"}, "accuracy": {}}

    def digests(network):
        study = load(tmp_path, tables=tables, published={"dmn": {"table2": {"rows": {"mnist|d4": network}}}})
        return [study.view_digest("tables", name) for name in tables]

    one, other = digests("digits/d4/head"), digests("digits/d4/ridge")
    assert one[0] != other[0]
    assert one[1] == other[1]


def test_a_study_that_extends_another_takes_the_rows_that_its_networks_measure(tmp_path):
    rows = {"mnist|d<n>": {"network": "digits/d4/head", "x": "digits/d4/ridge"}, "cifar10|d10": "digits/d4/ridge"}
    whole = edited(
        published={"dmn": {"table2": {"columns": {"PCA": "dmn_accuracy"}, "rows": rows}, "table3": None}},
        verdicts=[
            {"item": "table2", "row": "mnist|d4", "reason": "why"},
            {"item": "table2", "row": "cifar10|d22", "network": "digits/c4+head"},
            {"item": "table3", "reason": "not here"},
        ],
    )
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
    text = "extends: whole\ntitle: Part\nnetworks: {digits: [d4/head]}\npublished: {dmn: [table2]}\n"
    part = study_file.load(write(tmp_path, text, "part.yaml"))
    item = works.mapped(part, "dmn", "table2")
    assert item.rows == {f"mnist|d{n}": {"PCA": "digits/d4/head"} for n in (4, 6, 16)}
    assert part.verdicts == [whole["verdicts"][0]]
    other = write(tmp_path, "extends: whole\ntitle: Part\nnetworks: {digits: [d4/ridge]}\n", "other.yaml")
    taken = study_file.load(other).published["dmn"]
    assert (taken["table2"]["columns"], taken["table3"]) == ({"PCA": "dmn_accuracy"}, {})
    (tmp_path / "copy.json").write_text(json.dumps(part.raw))
    assert works.mapped(study_file.load(tmp_path / "copy.json"), "dmn", "table2") == item


@pytest.mark.parametrize("name", [n for n in STUDIES if (ROOT / "results" / n / "verdicts.csv").is_file()])
def test_verdicts_and_published_rows_are_those_of_the_fits_beside_them(name, tmp_path, monkeypatch):
    """Each study, its fits.csv, its verdicts and its tables in this repository say the same."""
    monkeypatch.chdir(ROOT)
    results = StudyResults(study_file.load(f"studies/{name}.yaml"))
    results.__dict__["fits"] = store.read_csv(ROOT / "results" / name / "fits.csv", ["digest"], collect.TEXT)
    if results.study.counted:
        results.__dict__["steps"] = store.read_csv(ROOT / "results" / name / "steps.csv", [], steps.TEXT)
    # What probes saw is not beside them: of those verdicts only the judgement is made again.
    without = dataclasses.replace(results.study, verdicts=[e for e in results.study.verdicts if "probe" not in e])
    made = tmp_path / "a.csv"
    store.write_csv(made, verdicts(without, results.fits, results.elsewhere, results.steps))
    said = made.read_text().splitlines()
    shipped = (ROOT / "results" / name / "verdicts.csv").read_text().splitlines()
    values = works.answered(results.study.published)
    assert len(said) == len(shipped) == len(values) + 1
    for value, again, line in zip(values, said[1:], shipped[1:], strict=True):
        entry = works.entry_on(results.study.verdicts, value)
        if "probe" not in entry:
            assert again == line
            continue
        row = dict(zip(COLUMNS_OF_VERDICTS, next(csv.reader([line])), strict=True))
        judged = judge(float(row["measured"]), float(row["half_width"]), value.value, value.value, rule(value.metric))
        assert (judged, float(row["published"])) == (row["verdict"], value.value)
    for view in results.study.tables.values():
        if view.module == "published_rows":
            store.write_csv(made, published_rows.make(results, published_rows.Options(**vars(view.options))))
            assert made.read_text() == (ROOT / "results" / name / "tables" / f"{view.name}.csv").read_text()


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_printed_as_json_is_the_same_study(name, tmp_path):
    study = study_file.load(ROOT / "studies" / f"{name}.yaml")
    copy = study_file.load(write(tmp_path, json.dumps(study.raw), "copy.json"))
    assert (copy.nodes(), copy.looks(), copy.targets()) == (study.nodes(), study.looks(), study.targets())
    assert copy.networks == study.networks
    for dataset in study.networks:
        for path in study.paths(dataset):
            assert copy.segment(path) == study.segment(path)
            assert copy.asked(dataset, path) == study.asked(dataset, path)
    for kind in ("figures", "tables", "probes"):
        assert {n: v.options for n, v in getattr(copy, kind).items()} == {
            n: v.options for n, v in getattr(study, kind).items()
        }
    assert works.mapping(copy.published) == works.mapping(study.published)
