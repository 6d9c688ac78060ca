"""Any damage to a file of a finished study: each verb that reads it is right, or refuses in one line.

`LAYERWISE_FUZZ=5000 pytest tests/fuzz` tries more of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from layerwise.__main__ import main

HOME = Path("results/tiny")
STUDY = {
    "name": "tiny",
    "title": "Tiny",
    "seeds": 2,
    "keep": ["r4"],
    "leave_out": {"away": "an hour"},
    "datasets": {
        "digits": {"source": "digits", "subset": 60, "test_subset": 50, "valid": 20},
        "away": {"source": "digits", "subset": 50, "test_subset": 50, "valid": 0},
    },
    "segments": {
        "r4": {"method": "random", "layers": ["conv 3 4", "relu", "maxpool 2"]},
        "ridge": {"method": "ridge", "layers": ["dense outputs"]},
    },
    "networks": {"digits": {"r4/ridge": "random", "ridge": "007"}, "away": {"r4/ridge": "random", "ridge": "1e3"}},
    "probes": {"lsd": {"networks": ["digits/r4/ridge"]}},
    "tables": {"accuracy": {}, "elsewhere": {}},
    "published": {"dmn": {"table2": {"rows": {"mnist|d4": {"x": "digits/ridge"}}}}},
}
READ = ["fits", "table accuracy", "table elsewhere", "verdicts", "report"]
MAKE = ["fit digits r4", "represent digits r4", "fit digits ridge", "fit digits r4/ridge", "probe lsd digits"]
TABLES = [f"tables/{name}.{kind}" for name in STUDY["tables"] for kind in ("csv", "md")]
SHOWN = ["fits.csv", "verdicts.csv", "report.html", *TABLES]


def run(words: str) -> tuple[int, str]:
    """Run a verb in this process; returns its status and what it printed to stderr."""
    verb, *rest = words.split()
    where = ["--device", "cpu", "--threads", "1"] if verb in ("fit", "represent", "probe", "all") else []
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        status = main([verb, "tiny.json", *rest, *where])
    return status, err.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished study, which no test changes."""
    folder = tmp_path_factory.mktemp("finished") / "place"
    folder.mkdir()
    (folder / "tiny.json").write_text(json.dumps(STUDY))
    with contextlib.chdir(folder):
        for words in ("all --left-out", "all"):
            assert run(words) == (0, "")
        shutil.rmtree(HOME / "datasets/away")
        shutil.rmtree(HOME / "networks/away")
    return folder


def below(folder: Path) -> list[str]:
    """Return the files that are read: all but data sets, which have tests of their own, and locks."""
    found = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return sorted(p for p in found if "/datasets/" not in p and p != "tiny.json")


# ---------------------------------------------------------------- damage

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -1, 0, 1e308, float("nan"), float("inf"), "", "x", "\ud800", "1e3", [], {}]),
    st.floats(),
    st.text(max_size=5),
)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))
HOW = ["bytes", "flip", "cut", "more", "swap", "gone", "folder", "value", "key", "cell", "row"]


def damage(path: Path, files: list[str], how: str, data: st.DataObject) -> None:
    whole = path.read_bytes()
    at = data.draw(st.integers(0, max(len(whole) - 1, 0)), "place")
    if how == "swap":
        path.write_bytes(Path(data.draw(st.sampled_from(files), "other file")).read_bytes())
    elif how == "gone":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "flip":
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :])
    elif how == "cut":
        path.write_bytes(whole[:at])
    elif how == "more":
        path.write_bytes(whole + data.draw(st.binary(min_size=1, max_size=9)))
    elif how in ("value", "key") and path.suffix == ".json":
        path.write_text(json.dumps(changed(json.loads(whole), how, data)))
    elif how in ("cell", "row") and path.suffix == ".csv":
        path.write_bytes(edited(whole.decode(), how, data).encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(data.draw(st.binary(max_size=40), "bytes"))


def changed(record: dict[str, Any], how: str, data: st.DataObject) -> Any:
    """Change one value or key of a record, at any depth."""
    places: list[tuple[Any, Any]] = []

    def walk(thing: Any) -> None:
        for key in thing if isinstance(thing, dict) else range(len(thing)) if isinstance(thing, list) else ():
            places.append((thing, key))
            walk(thing[key])

    walk(record)
    thing, key = data.draw(st.sampled_from(places), "place in the record")
    if how == "value":
        thing[key] = data.draw(VALUES, "value")
    else:
        del thing[key]
    return record


def edited(text: str, how: str, data: st.DataObject) -> str:
    """Change one cell of a table, or double, drop or move a row."""
    lines = text.splitlines(keepends=True)
    at, to = (data.draw(st.integers(0, len(lines) - 1), "row") for _ in range(2)) if lines else (0, 0)
    if how == "row" and lines:
        lines[to : to + data.draw(st.integers(0, 1))] = [lines[at]]
    elif lines:
        cells = lines[at].split(",")
        cells[data.draw(st.integers(0, len(cells) - 1), "column")] = str(data.draw(LEAVES, "cell"))
        lines[at] = ",".join(cells)
    return "".join(lines)


# ---------------------------------------------------------------- the test


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged") / "place"
    with contextlib.chdir(finished.parent):  # which goes nowhere: the tests change to `place`, made anew each time
        yield folder


def measured() -> pd.DataFrame:
    table = pd.read_csv(HOME / "fits.csv")
    return table.drop(columns=[c for c in table if "seconds" in c or "memory" in c])


@settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("LAYERWISE_FUZZ", "40")),
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_damage_is_refused_or_does_not_show(finished, place, data):
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(finished, place)
    files = below(finished)
    name, how = data.draw(st.sampled_from(files), "file"), data.draw(st.sampled_from(HOW), "how")
    assume(not (name.startswith("elsewhere") and how == "gone"))  # then no other machine has fitted anything: no damage
    with contextlib.chdir(place):
        want, numbers = {file: (HOME / file).read_bytes() for file in SHOWN}, measured()
        damage(Path(name), files, how, data)
        ends = [(words, *run(words)) for words in ["report", *READ]]
        for words, status, err in ends:
            lines = err.splitlines()
            assert status == 0 or (status == 2 and len(lines) == 1 and lines[0].startswith("layerwise: ")), (words, err)
            if "cannot be read" in err:
                assert "delete" not in err
        for words, status, _ in ends:
            if not status:  # then what it made is as it was
                shown = [f for f in SHOWN if f.partition(".")[0] == words.replace("table ", "tables/")]
                assert shown, words
                for file in shown:
                    assert (HOME / file).read_bytes() == want[file], (words, file)
        # What the study makes itself it makes anew, whatever was in the way, but for a folder.
        if how != "folder" and name.startswith("results") and data.draw(st.integers(0, 3), "made anew") == 0:
            for words in [*MAKE, *READ]:
                assert run(words)[0] == 0, (words, run(words))
            pd.testing.assert_frame_equal(measured(), numbers)
