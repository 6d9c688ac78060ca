"""Limits: what is too much, too deep or no number is refused when it is read, in one line and at once."""

from __future__ import annotations

import json
import os
import time

import pytest
import yaml
from tinystudy import TINY, changed, edited, refused, with_segment, write

from layerwise import __main__
from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file
from layerwise.study import schema
from layerwise.study.config import configured
from layerwise.study.model import MOST_SEEDS, SEEDS, seed_list


@pytest.fixture(autouse=True)
def soon():
    start = time.process_time()
    yield
    assert time.process_time() - start < 10


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))
KEYS = "a0: &a0 {x: 1, y: 1}\n" + "".join(f"a{i}: &a{i} {{b{i}: *a{i - 1}, c: *a{i - 1}}}\n" for i in range(1, 30))
FILES = {
    "empty": ("", "holds no mapping"),
    "comments": ("# nothing\n", "holds no mapping"),
    "deep list": ("a: " + "[" * 3000 + "]" * 3000, "more than 40 levels deep"),
    "deep mapping": ("{a: " * 3000 + "1" + "}" * 3000, "more than 40 levels deep"),
    "deep block": ("".join(" " * i + "a:\n" for i in range(300)), "more than 40 levels deep"),
    "deep and open": ("[" * 100_000, "more than 40 levels deep"),
    "alias bomb": (BOMB, "more than 50,000 values, with its aliases written out"),
    "bomb of keys": (KEYS, "more than 50,000 values, with its aliases written out"),
    "merge bomb": (MERGED, "its merged keys are too many"),
    "alias of itself": ("a: &a [*a]", "line 1 is not YAML: found unconstructable recursive node"),
    "merge of itself": ("a: &a {<<: *a}", "an alias stands within what it names"),
    "tag": ("a: !!python/object/apply:os.system [id]", "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is"),
    "another tag": ("a: !!timestamp x", "the tag 'tag:yaml.org,2002:timestamp' is not"),
    "own tag": ("a: !x y", "the tag '!x' is not"),
    "binary": ("a: !!binary eA==", "the tag 'tag:yaml.org,2002:binary' is not"),
    "tabs": ("a:\n\tb: 1\n", "line 2 is not YAML: "),
    "two documents": (f"{TINY}\n---\n{TINY}", "is not YAML: "),
    "octal": (TINY.replace("seeds: 2", "seeds: 010"), "YAML reads 010 as another number; put it in quotes"),
    "hexadecimal": (TINY.replace("seeds: 2", "seeds: 0x10"), "YAML reads 0x10 as another number; put it in quotes"),
    "in thousands": (TINY.replace("seeds: 2", "seeds: 1_0"), "YAML reads 1_0 as another number; put it in quotes"),
    "base sixty": (TINY.replace("seeds: 2", "seeds: 1:30"), "YAML reads 1:30 as another number; put it in quotes"),
    "long number": (TINY.replace("seeds: 2", "seeds: " + "9" * 5000), "is no number"),
    "no digits": (TINY.replace("seeds: 2", "seeds: 0x_"), "0x_"),
    "nan": (TINY.replace("valid: 0.2", "valid: .nan"), "datasets/digits/valid: nan is no number"),
    "infinite": (TINY.replace("valid: 0.2", "valid: .inf"), "'valid' is inf: it must be a finite number"),
    "bad escape": ('title: "\\U00110000"\n', "not YAML"),
    "half a character": ('title: "\\ud800"\n', "title: '\\ud800' has half a character (U+D800)"),
    "key of a list": ("[a]: b\n", "a key is text, and no list or mapping"),
    "key twice": ("no: 1\n'no': 2\n", "line 2 is not YAML: the key 'no' is given twice"),
    "comments of 3 MB": ("#" * 3_000_000, "larger than 2 MB, which no study is"),
    "much": ("a: [" + "x, " * 200_000 + "]", "more than 50,000 values"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_study_is_one_line(tmp_path, what):
    content, said = FILES[what]
    assert said in refused(tmp_path, content)


JSON = {
    "key twice": ('{"title": "a", "title": "b"}', "not JSON: the key 'title' is given twice"),
    "key twice within": ('{"seeds": {"a": 1, "a": 2}}', "not JSON: the key 'a' is given twice"),
    "deep": ('{"a":' * 3000 + "1" + "}" * 3000, "deep"),
    "deep list": ("[" * 100_000, "not JSON: too deep"),
    "nan": ('{"title": NaN}', "title: nan is no number"),
    "long number": ('{"seeds": ' + "9" * 5000 + "}", "not JSON: "),
    "cut short": ('{"title": ', "line 1 is not JSON: "),
    "empty": ("", "line 1 is not JSON: "),
    "much": (json.dumps({"a": ["x"] * 200_000}), "more than 50,000 values"),
}


@pytest.mark.parametrize("what", JSON)
def test_a_file_of_json_that_is_no_study_is_one_line(tmp_path, what):
    content, said = JSON[what]
    with pytest.raises(LayerwiseError) as caught:
        study_file.load(write(tmp_path, content, "tiny.json"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1"])
def test_another_encoding_is_refused(tmp_path, encoding):
    path = tmp_path / "tiny.yaml"
    path.write_bytes(TINY.replace("Tiny", "Tïny").encode(encoding))
    with pytest.raises(LayerwiseError, match="which is text in UTF-8; save it as UTF-8"):
        study_file.load(path)


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_a_mark_of_byte_order_and_windows_lines_are_taken(tmp_path, kind):
    content = TINY if kind == "yaml" else json.dumps(edited(), indent=1)
    path = tmp_path / f"tiny.{kind}"
    path.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    assert study_file.load(path).title == "Tiny"


def test_keys_are_text_as_they_are_written(tmp_path):
    text = "no: 1\non: 2\nnull: 3\n1: 4\n1e3: 5\n2020-01-01: 6\n007: 7\n1.50: 8\n0x10: 9\n~: 10\nx: 2020-01-01\n"
    read = schema.read_yaml(write(tmp_path, text))
    assert list(read) == ["no", "on", "null", "1", "1e3", "2020-01-01", "007", "1.50", "0x10", "~", "x"]
    assert read["x"] == "2020-01-01"


@pytest.mark.parametrize("label", ["no", "1", "1.5", "null", "true"])
def test_a_label_that_yaml_takes_for_no_text_belongs_in_quotes(tmp_path, label):
    said = refused(tmp_path, TINY.replace("class PCA", label))
    assert said.startswith("networks/digits/d4/ridge: ")
    assert "belongs in quotes" in said or label == "null"
    assert study_file.load(write(tmp_path, TINY.replace("class PCA", f"'{label}'")))


SEEDS_OF = [
    0,
    -1,
    10_001,
    100_000_000,
    10**30,
    2.0,
    1e22,
    True,
    "3",
    "five",
    None,
    [],
    [2.0],
    [True],
    ["3"],
    [1, 1],
    [-1],
]
SEEDS_OF += [[2**63], [10**30], [0, None], {"digits": 2.0}, {"digits": 10**8}, {"digits": [True]}, {"digtis": 1}, [[1]]]


@pytest.mark.parametrize("seeds", SEEDS_OF, ids=str)
def test_seeds_that_no_generator_takes_are_refused(tmp_path, seeds):
    study = {**edited(), "seeds": seeds}
    assert refused(tmp_path, study).startswith("seeds: " if not isinstance(seeds, dict) else "seeds")
    path = write(tmp_path, json.dumps(study), "tiny.json")
    with pytest.raises(LayerwiseError, match=r"tiny.json: seeds"):
        study_file.load(path)


@pytest.mark.parametrize("seeds", [1, MOST_SEEDS, [0], [SEEDS - 1], [7, 3]])
def test_others_are_taken(tmp_path, seeds):
    assert seed_list(seeds) == study_file.load(write(tmp_path, yaml.safe_dump({**edited(), "seeds": seeds}))).seeds


CONFIGURED = [(s, s) for s in SEEDS_OF if s is not None and not isinstance(s, dict) and s != ["3"]]


@pytest.mark.parametrize("seeds", [s for s, _ in CONFIGURED], ids=str)
def test_those_of_the_configuration_are_held_to_the_same(tmp_path, seeds):
    with pytest.raises(LayerwiseError, match=r"^(--config or --configfile: )?seeds: "):
        configured({"seeds": seeds}, tmp_path / "none.yaml")


def test_a_list_of_seeds_on_the_command_line_is_as_meant(tmp_path):
    assert configured({"seeds": ["0", "7"]}, tmp_path / "none.yaml")["seeds"] == [0, 7]  # as Snakemake reads [0,7]


def test_a_study_that_snakemake_takes_for_a_number_is_a_target(tmp_path):
    with pytest.raises(LayerwiseError, match=r"study: 20241 is a number; name the study as the target"):
        configured({"study": 20241}, tmp_path / "none.yaml")  # as Snakemake reads 2024_1, in quotes or not


def test_what_config_yaml_says_is_not_blamed_on_the_command_line(tmp_path):
    path = write(tmp_path, "devise: cpu\n", "config.yaml")
    with pytest.raises(LayerwiseError, match=r"config.yaml: no key 'devise'; did you mean 'device'"):
        configured({"device": "cpu"}, path)


@pytest.mark.parametrize("repeat", [0, 1.0, -1, True, "2", 10**9, 10**30, 100_001, None, [2], "<n>"], ids=str)
def test_layers_are_repeated_a_number_of_times(tmp_path, repeat):
    layers = [{"repeat": repeat, "layers": ["dense 4", "relu"]}, "dense outputs"]
    assert refused(tmp_path, edited(segments=changed("ridge", layers=layers)))


@pytest.mark.parametrize("number", ["2.5", "99999999999", "x"])
def test_so_they_are_in_a_family(tmp_path, number):
    family = {"method": "ridge", "layers": [{"repeat": "<n>", "layers": ["dense 4"]}, "dense outputs"]}
    segments = {**edited()["segments"], f"<n>={number}": {"deep<n>": family}}
    name = f"deep{number}"
    assert refused(tmp_path, edited(segments=segments, networks={"digits": [name]}, probes={}, figures={}))


@pytest.mark.parametrize("variant", [{"layers": 5}, {"layers": [5]}, {"layers": [{}]}, {"uses": 5}, {"uses": [5]}])
def test_what_a_variant_says_is_held_to_the_same(tmp_path, variant):
    segments = changed("ridge", variants={"odd": variant})
    said = refused(tmp_path, edited(segments=segments, networks={"digits": ["d4/ridge_odd"]}, probes={}, figures={}))
    assert said.startswith("segment 'ridge_odd': ")


@pytest.mark.parametrize("scale", [".inf", "-.inf", ".nan", "1.0e+400", "true", "'1'", "1e3"])
def test_a_scale_is_a_finite_number(tmp_path, scale):
    text = (
        f"{TINY}published: {{dmn: [table2]}}\nverdicts: [{{item: table2, network: digits/d4/head, scale: {scale}}}]\n"
    )
    assert refused(tmp_path, text).startswith("verdicts/0/scale: ")


def test_networks_that_use_networks_are_planned_at_once(tmp_path):
    """Each uses the two before it: counted one by one, they are as many as rabbits."""
    segments = {f"r{i}": {"method": "ridge", "layers": ["dense outputs"]} for i in range(36)}
    for i in range(2, 36):
        segments[f"r{i}"]["uses"] = [f"r{i - 1}", f"r{i - 2}"]
    study = study_file.load(
        write(tmp_path, yaml.safe_dump(edited(segments=segments, networks={"digits": ["r35"]}, probes={}, figures={})))
    )
    assert len(study.paths("digits")) == 36
    assert study.asked("digits", "r35")
    segments = {f"r{i}": {**segments["r0"], "uses": [f"r{i - 1}"] if i else []} for i in range(500)}
    study = edited(segments=segments, networks={"digits": ["r499"]}, probes={}, figures={})
    assert "networks use networks too deep" in refused(tmp_path, study)


@pytest.mark.parametrize("method", [{"epochs": 10**30}, {"epochs": True}, {"lr": ".nan"}, {"lr": 1e400}])
def test_an_option_is_a_number_that_torch_takes(tmp_path, method):
    assert refused(tmp_path, edited(**with_segment(method="sgd", **method), networks={"digits": ["x+head"]}))


WORDS = {
    "threads": [
        "--threads 0",
        "--threads -1",
        "--threads 3000000000",
        "--threads 1e20",
        "--threads 1_0",
        "--threads ٣",
    ],
    "seeds": [
        "--seeds 1e20",
        "--seeds -1",
        "--seeds 9223372036854775808",
        "--seeds 1 1",
        "--seeds 1_0",
        f"--seeds {'9' * 5000}",
    ],
    "device": ["--device tpu", "--device cuda:99", "--device ''"],
    "done": ["--done folder", f"--done {'a' * 300}", "--done tiny.yaml/x", "--done ."],
}


@pytest.mark.parametrize("words", [w for each in WORDS.values() for w in each], ids=lambda w: w[:30])
def test_words_out_of_range_stop_a_verb_before_any_work(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    (tmp_path / "folder").mkdir()
    try:
        status = __main__.main(["fit", "tiny.yaml", "digits", "d4", *words.split(" ")])
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith("usage: ") or said.count("\n") == 1
    assert "no such file; run the step" not in said  # which is what comes of a right line here


PATHS = [
    "/dev/zero",
    "/dev/null",
    "/proc/self/mem",
    "a" * 300,
    f"{'a' * 300}.yaml",
    "a/" * 3000,
    "",
    ".",
    "folder",
    "fifo.yaml",
]
PATHS += ["dangling.yaml", "loop.yaml", "locked.yaml", "a\nb.yaml", "tiny.yaml/x.yaml", "large.yaml"]


@pytest.mark.parametrize("name", PATHS, ids=lambda name: ascii(name)[:20])
def test_what_is_no_file_is_one_line(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    write(tmp_path, name="locked.yaml").chmod(0)
    with (tmp_path / "large.yaml").open("wb") as large:
        large.truncate(100_000_000)
    if name == "locked.yaml" and os.geteuid() == 0:
        pytest.skip("root reads all")
    assert __main__.main(["show", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith("layerwise: ")
    assert said.count("\n") == 1
    assert "delete" not in said
