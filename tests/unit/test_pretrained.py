"""Weights of blocks from a file: each block takes its own by name, and what does not match is one line."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import tinystudy
import torch
from safetensors.torch import save_file
from torch import nn

from layerwise.__main__ import main
from layerwise.contract import Features, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.layers import build as layers
from layerwise.layers import pretrained
from layerwise.methods import local, random, sgd
from layerwise.run import loading, records
from layerwise.study import identity
from layerwise.study.trie import Node

CPU = torch.device("cpu")
SHAPE = (3, 8, 8)
NETS = '''
from torch import nn
import sizes

class Small(nn.Sequential):
    """Two convolutions and a head."""

    def __init__(self, num_classes):
        body = [nn.Conv2d(3, sizes.WIDTH, 3), nn.BatchNorm2d(sizes.WIDTH), nn.ReLU(), nn.Conv2d(sizes.WIDTH, 6, 3)]
        super().__init__(*body, nn.ReLU(), nn.Flatten(), nn.Linear(96, num_classes))
'''


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """A package with the constructor of a model, which takes a number from a module beside it."""
    folder = tmp_path / "ourlab"
    folder.mkdir()
    (folder / "zoonets.py").write_text(NETS)
    (folder / "sizes.py").write_text("WIDTH = 4\n")
    monkeypatch.syspath_prepend(folder)
    for name in ("zoonets", "sizes"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield folder
    for name in ("zoonets", "sizes"):
        sys.modules.pop(name, None)


WHOLE = "zoonets.Small"


def model(classes: int = 10) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        module, _ = layers.build((WHOLE,), SHAPE, classes)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.fill_(0.5)
    return module.eval()


def state(module: nn.Sequential) -> dict[str, torch.Tensor]:
    return {name: w for block in module for name, w in block.state_dict().items()}


@pytest.fixture
def file(lab, tmp_path) -> str:
    save_file(state(model()), tmp_path / "small.safetensors")
    return str(tmp_path / "small.safetensors")


def built(words: tuple[str, ...], path: str, shape=SHAPE, outputs: int = 10, new: tuple[str, ...] = ()):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return layers.build(words, shape, outputs, weights=pretrained.read(path, new))[0].eval()


def test_the_blocks_are_the_model_of_the_file(file):
    x = torch.randn(4, *SHAPE)
    with torch.no_grad():
        assert torch.equal(built((WHOLE,), file)(x), model()(x))
        first, second = built((f"{WHOLE} 1",), file), built((f"{WHOLE} 2-",), file, (4, 6, 6))
        assert torch.equal(second(first(x)), model()(x))


def test_what_is_new_is_drawn_as_without_a_file(file):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        drawn = state(layers.build((WHOLE,), SHAPE, 5)[0])
    mine, theirs = state(built((WHOLE,), file, outputs=5, new=("6",))), state(model())
    for name, weight in mine.items():
        assert torch.equal(weight, drawn[name] if name.startswith("6.") else theirs[name])


def test_a_first_convolution_for_other_channels_is_drawn(file):
    module = built((WHOLE,), file, (1, 8, 8), new=("0.weight",))
    assert state(module)["0.weight"].shape == (4, 1, 3, 3)
    assert torch.equal(state(module)["3.weight"], state(model())["3.weight"])


def other(path: str, edit) -> str:
    tensors = state(model())
    edit(tensors)
    save_file(tensors, f"{path}.other")
    return f"{path}.other"


def test_second_heads_of_a_file_are_left_out(tmp_path):
    models = pytest.importorskip("torchvision").models
    with torch.random.fork_rng(devices=[]):
        weights = models.googlenet(weights=None, num_classes=10, init_weights=False).state_dict()
    save_file(weights, tmp_path / "googlenet.safetensors")
    module = built(("torchvision googlenet",), str(tmp_path / "googlenet.safetensors"), (3, 32, 32))
    assert all(torch.equal(w, weights[n]) for n, w in state(module).items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_floats_are_taken_too(file, dtype):
    path = other(file, lambda t: t.update({n: w.to(dtype) for n, w in t.items() if w.is_floating_point()}))
    assert state(built((WHOLE,), path))["3.weight"].dtype == torch.float32


def test_a_counter_of_batches_may_lack(file):
    built((WHOLE,), other(file, lambda t: t.pop("1.num_batches_tracked")))


@pytest.mark.parametrize(
    ("words", "how", "edit", "text"),
    [
        ((WHOLE,), {"outputs": 5}, None, "made for 10 classes, and the data set has 5: add '6' to option 'new'"),
        ((WHOLE,), {"outputs": 1}, None, "made for 10 classes, and the data set has one target: add '6'"),
        ((WHOLE,), {"shape": (1, 8, 8)}, None, "made for images of 3 channels, and these have 1: add '0' to option"),
        ((WHOLE,), {"new": ("7",)}, None, "option 'new': Small has no parameter '7'"),
        ((WHOLE,), {"new": ("1.weigth",)}, None, "did you mean '1.weight'?"),
        ((WHOLE,), {}, lambda t: t.pop("3.bias"), "weights of another architecture: .* has no '3.bias' of Small"),
        ((f"{WHOLE} 1",), {}, lambda t: t.pop("3.bias"), "has no '3.bias' of Small"),
        ((WHOLE,), {}, lambda t: t.update({"8.bias": torch.zeros(3)}), "has '8.bias', which Small has not"),
        ((WHOLE,), {}, lambda t: t.update({"3.weight": torch.zeros(6, 4, 5, 5)}), "of shape 6x4x5x5, and .* 6x4x3x3"),
        ((WHOLE,), {}, lambda t: t["3.weight"].fill_(torch.nan), "'3.weight' holds NaN or infinity"),
        ((WHOLE,), {}, lambda t: t.update({"0.bias": torch.zeros(4).char()}), "another architecture"),
        (("dense outputs",), {}, None, "for blocks of one model, and the layers are of none"),
        ((f"{WHOLE} 1", "torchvision resnet18"), {}, None, "the layers are of several"),
    ],
)
def test_weights_that_do_not_match_are_refused(file, words, how, edit, text):
    with pytest.raises(LayerwiseError, match=text) as caught:
        built(words, other(file, edit) if edit else file, **how)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "there is no file"), (b"no tensors", "cut short, or not a safetensors file"), (b"", "cut short")],
)
def test_files_that_are_none(lab, tmp_path, content, text):
    path = tmp_path / "odd.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LayerwiseError, match=text) as caught:
        built((WHOLE,), str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [({"new": ("6",)}, "give both, or neither"), ({"weights": "w", "init": "glorot"}, "both give first weights")],
)
def test_options_that_do_not_go_together(lab, options, text):
    with pytest.raises(LayerwiseError, match=text):
        sgd.fit(Segment((WHOLE,), SHAPE, 10), images(8), sgd.Options(**options), seed=0, device=CPU)


def images(count: int, outputs: int = 10) -> Features:
    x = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.arange(count) % outputs)
    return Features(split, Split(x[:0], split.y[:0]), Task("onehot", outputs, tuple(map(str, range(outputs)))))


def test_sgd_trains_on_from_the_file(file):
    segment = Segment((WHOLE,), SHAPE, 10)
    options = sgd.Options(weights=file, epochs=1, lr=1e-12, momentum=0.0)
    fitted = sgd.fit(segment, images(20), options, seed=0, device=CPU)
    torch.testing.assert_close(state(fitted.module)["3.weight"], state(model())["3.weight"])


def test_local_learning_starts_from_the_file_as_backpropagation_does(file):
    segment, features = Segment((WHOLE,), SHAPE, 10), images(24)
    twin = sgd.fit(segment, features, sgd.Options(weights=file, epochs=2, batch=8), seed=0, device=CPU)
    options = local.Options(weights=file, new=(), window=2, epochs=(2,), batch=8)
    mine = local.fit(segment, features, options, seed=0, device=CPU)
    assert mine.layers == twin.layers
    assert all(torch.equal(w, state(mine.module)[n]) for n, w in state(twin.module).items())


def test_random_passes_the_frozen_blocks(file):
    features = images(40)
    segment = Segment((f"{WHOLE} 1-2", "dense outputs"), SHAPE, 10)
    drawn, given = (
        random.fit(segment, features, random.Options(weights=path), seed=0, device=CPU) for path in (None, file)
    )
    assert given.layers == (f"{WHOLE} 1-2", "dense 10")
    layers.check(given.module, given.layers, SHAPE, 10)
    kept = state(nn.Sequential(*given.module[:2]))
    assert all(torch.equal(w, state(model())[n]) for n, w in kept.items())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = layers.build((WHOLE,), SHAPE, 10)[0]
    assert all(torch.equal(w, state(first)[n]) for n, w in state(nn.Sequential(*drawn.module[:2])).items())
    z = layers.apply(nn.Sequential(*given.module[:2]), features.train.x)
    alone = random.fit(
        Segment(("dense outputs",), (96,), 10),
        Features(Split(z, features.train.y), Split(z[:0], features.train.y[:0]), features.task),
        random.Options(),
        seed=0,
        device=CPU,
    )
    torch.testing.assert_close(given.module[-1].weight, alone.module[-1].weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("count", "said"), [(1, "or more, and here is one"), (8, "a step or more: choose batch")])
def test_batch_normalisation_of_a_model_needs_two_samples_a_step(lab, count, said):
    with pytest.raises(LayerwiseError, match=f"batchnorm needs two samples {said}"):
        sgd.fit(Segment((WHOLE,), SHAPE, 10), images(count), sgd.Options(batch=1), seed=0, device=CPU)


# ---------------------------------------------------------------- in a study


def study_with(folder: Path, **segment):
    text = {"method": "sgd", "layers": [WHOLE], "epochs": 1, "batch": 64, **segment}
    digits = {"digits": {"source": "digits", "subset": 100}}
    return tinystudy.load(
        folder,
        seeds=1,
        datasets=digits,
        segments={"net": text, "plain": {"method": "sgd", "layers": ["dense outputs"], "epochs": 1}},
        networks={"digits": ["net", "plain"]},
        probes=None,
        figures=None,
        tables=None,
    )


def spec(folder: Path, **segment) -> dict:
    return study_with(folder, **segment).segment_spec("net")


def test_the_content_of_a_file_counts_and_not_where_it_lies(file, tmp_path):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(Path(file).read_bytes())
    first = spec(tmp_path, weights=file)
    assert spec(tmp_path, weights=str(moved)) == first
    assert spec(tmp_path) != first
    save_file({**state(model()), "0.bias": torch.zeros(4)}, moved)
    assert spec(tmp_path, weights=str(moved)) != first


def test_a_file_is_read_once_for_its_digest(file, tmp_path, monkeypatch):
    whole, read = identity.hashlib.file_digest, []

    def file_digest(opened, name):
        read.append(opened.name)
        return whole(opened, name)

    hashing = types.SimpleNamespace(**{**vars(identity.hashlib), "file_digest": file_digest})
    monkeypatch.setattr(identity, "hashlib", hashing)
    identity._content.cache_clear()
    specs = [spec(tmp_path, weights=file) for _ in range(3)]
    assert specs[0] == specs[2]
    assert len(read) == 1


def test_a_missing_file_is_one_line_when_the_study_is_read(lab, tmp_path):
    path = tmp_path / "tiny.yaml"
    with pytest.raises(LayerwiseError) as caught:
        study_with(tmp_path, weights="nowhere.safetensors")
    said = "segment 'net': option 'weights': there is no file nowhere.safetensors; give its path from where you run"
    assert str(caught.value).startswith(f"{path}: {said}")
    assert "\n" not in str(caught.value)


def test_a_constructor_goes_by_its_code_and_what_lies_beside_it(lab, tmp_path):
    def digest():
        for cached in (identity.plugins._imports, identity.plugins._code):
            cached.cache_clear()
        return spec(tmp_path)["models"]

    first = digest()
    (lab / "zoonets.py").write_text(f"{NETS}# more words\n")
    assert digest() == first
    (lab / "sizes.py").write_text("WIDTH = 5\n")
    assert digest() != first


def test_the_version_of_a_library_counts_where_its_blocks_are(lab, tmp_path, monkeypatch):
    layer = {"layers": ["torchvision resnet18 1-2", "dense outputs"]}
    study = study_with(tmp_path, **layer)
    here = identity.metadata.version("torchvision").split("+")[0]
    assert study.segment_spec("net")["models"] == [f"torchvision {here}"]
    assert "models" not in study.segment_spec("plain")
    monkeypatch.setattr(identity.metadata, "version", lambda name: "0.1")
    assert study_with(tmp_path, **layer).segment_spec("net")["models"] == ["torchvision 0.1"]


def test_a_library_that_is_not_here_is_one_line(tmp_path, monkeypatch):
    def absent(name):
        raise identity.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(identity.metadata, "version", absent)
    with pytest.raises(LayerwiseError, match="needs the package timm: install it beside torch"):
        spec(tmp_path, layers=["timm resnet18"])
    with pytest.raises(LayerwiseError, match=re.escape("layer 'no.nets.small': no such module")):
        spec(tmp_path, layers=["no.nets.small"])


@pytest.fixture
def fitted(file, tmp_path, monkeypatch):
    """A study that ran: its file, its study and the node of a model with weights of a file, whose digits are grey."""
    monkeypatch.chdir(tmp_path)
    study = study_with(tmp_path, weights=file, new=["0"])
    for words in (["dataset", study.file, "digits"], ["fit", study.file, "digits", "net", "--threads", "1"]):
        assert main(words) == 0
    return study, Node(study.name, "digits", 0, "net")


def test_a_reader_refuses_blocks_that_are_built_otherwise(fitted):
    study, node = fitted
    root = records.dataset_record(study, "digits")["digest"]
    record = records.read_fit(study, node, root)
    assert [word for word, _ in record["fingerprints"]] == [f"{WHOLE} 1", f"{WHOLE} 2", f"{WHOLE} 3-"]
    loading.read_module(node, record)
    record["fingerprints"][1][1] = "another"
    text = re.escape(f"'{WHOLE} 2' was made with another zoonets, and is another block here")
    with pytest.raises(LayerwiseError, match=text):
        loading.read_module(node, record)
    record["versions"]["zoonets"] = "0.26"
    with pytest.raises(LayerwiseError, match=r"was made with zoonets 0\.26's block") as caught:
        loading.read_module(node, record)
    assert "\n" not in str(caught.value)


def test_show_lists_the_blocks_with_shapes_and_parameters(fitted, capsys):
    study, _ = fitted
    assert main(["show", study.file]) == 0
    told = capsys.readouterr().out
    assert f"{WHOLE} on digits: 1x8x8, 10 outputs, 3 blocks, 1,240 parameters" in told
    rows = [line.split() for line in told.splitlines() if re.match(r" +\d ", line)]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [
        ("1", "4x6x6", "48"),
        ("2", "96", "222"),
        ("3", "10", "970"),
    ]


def test_show_says_what_it_cannot_show(lab, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = study_with(tmp_path)
    assert main(["show", study.file]) == 0
    assert "models on digits: blocks and shapes are shown once it is prepared" in capsys.readouterr().out


def test_show_needs_no_torch_without_models(tmp_path):
    code = "import sys; from layerwise.__main__ import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    study = tinystudy.write(tmp_path)
    done = subprocess.run([sys.executable, "-c", code, "show", study], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
