"""The source torchvision: file formats, what is missing or damaged, downloads, and the published sets themselves."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from layerwise import store
from layerwise.datasets import _idx
from layerwise.datasets import torchvision as source_file
from layerwise.errors import LayerwiseError
from layerwise.preparation.options import split_options
from layerwise.preparation.prepare import prepare

vision = pytest.importorskip("torchvision.datasets")


def refused(match, function, *args, **kwargs):
    """Call the function, which must raise a LayerwiseError of one line that matches."""
    with pytest.raises(LayerwiseError, match=match) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)


def load(source, root=Path("nowhere"), **given):
    return prepare(source, *split_options(source, given, "dataset 'mine'"), Path(root))


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that a server on this machine serves, and its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield SimpleNamespace(folder=folder, address=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()


@pytest.fixture
def mnist(tmp_path, mirror, monkeypatch):
    """A data root with small files under MNIST's names, 40 and 20 samples, with the md5 that torchvision is told."""
    raw, resources, made = tmp_path / "root" / "MNIST" / "raw", [], {}
    raw.mkdir(parents=True)
    for split, n in (("train", 40), ("t10k", 20)):
        made[split] = (np.random.default_rng(n).integers(0, 256, (n, 28, 28)), np.arange(n) % 10)
        for name, array in zip(("images-idx3", "labels-idx1"), made[split], strict=True):
            packed = gzip.compress(idx(array))
            (raw / f"{split}-{name}-ubyte.gz").write_bytes(packed)
            resources.append((f"{split}-{name}-ubyte.gz", md5(packed)))
    monkeypatch.setattr(vision.MNIST, "resources", resources)
    monkeypatch.setattr(vision.MNIST, "mirrors", [mirror.address + "gone/", mirror.address])
    return SimpleNamespace(root=tmp_path / "root", raw=raw, made=made, mirror=mirror.folder)


def test_mnist_is_read_packed_from_a_read_only_root(mnist):
    before = sorted(mnist.root.rglob("*"))
    tensors, record = load("torchvision", mnist.root, name="MNIST", download=False)
    assert sorted(mnist.root.rglob("*")) == before
    np.testing.assert_array_equal(tensors["train"]["x"][:, 0].numpy(), mnist.made["train"][0])
    np.testing.assert_array_equal(tensors["test"]["y"].numpy(), mnist.made["t10k"][1])
    assert record["shape"] == [1, 28, 28]
    assert tensors["train"]["scale"].item() == 255


def test_mnist_is_read_unpacked_too(mnist):
    for path in mnist.raw.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    tensors, _ = load("torchvision", mnist.root, name="MNIST", download=False)
    np.testing.assert_array_equal(tensors["train"]["x"][:, 0].numpy(), mnist.made["train"][0])


def test_only_what_is_missing_is_downloaded(mnist):
    lost = mnist.raw / "t10k-labels-idx1-ubyte.gz"
    lost.rename(mnist.mirror / lost.name)
    tensors, _ = load("torchvision", mnist.root, name="MNIST")
    np.testing.assert_array_equal(tensors["test"]["y"].numpy(), mnist.made["t10k"][1])
    assert lost.exists()


PLANES = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)  # as the files of CIFAR have them


def put(folder, name, content):
    """Write a file of CIFAR, and return its name and its md5."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(content))
    return [name, md5((folder / name).read_bytes())]


def test_cifar_images_come_channels_first(tmp_path, monkeypatch):
    kind = vision.CIFAR10
    folder, planes = tmp_path / kind.base_folder, PLANES
    rows = {"data": planes.reshape(20, -1), "labels": [i % 10 for i in range(20)]}
    monkeypatch.setattr(kind, "train_list", [put(folder, "data_batch_1", rows)])
    monkeypatch.setattr(kind, "test_list", [put(folder, "test_batch", {**rows, "data": 255 - rows["data"]})])
    meta = put(folder, "batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(kind, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    tensors, record = load("torchvision", tmp_path, name="CIFAR10", download=False)
    np.testing.assert_array_equal(tensors["train"]["x"].numpy(), planes)
    assert tensors["test"]["y"].tolist() == rows["labels"]
    assert record["task"]["classes"] == tuple("abcdefghij")


def test_a_known_copy_passes_with_a_note_and_no_other_does(tmp_path, monkeypatch):
    kind = vision.CIFAR100
    folder = tmp_path / kind.base_folder
    rows = {"data": PLANES.reshape(20, -1), "fine_labels": [i % 10 for i in range(20)]}
    meta = put(folder, "meta", {"fine_label_names": list("abcdefghij")})
    monkeypatch.setattr(kind, "meta", {"filename": meta[0], "key": "fine_label_names", "md5": meta[1]})
    made = dict([put(folder, "train", rows), put(folder, "test", {**rows, "data": 255 - rows["data"]})])
    refused("CIFAR100: .*train: damaged", load, "torchvision", tmp_path, name="CIFAR100", download=False)
    monkeypatch.setattr(source_file, "COPIES", {"CIFAR100": ("two images may have changed places", made)})
    tensors, record = load("torchvision", tmp_path, name="CIFAR100", download=False)
    np.testing.assert_array_equal(tensors["train"]["x"].numpy(), PLANES)
    assert record["notes"] == {"name": "CIFAR100", "copy": "two images may have changed places"}
    monkeypatch.setattr(kind, "train_list", [["train", made["train"]]])  # the published files come first
    monkeypatch.setattr(kind, "test_list", [["test", made["test"]]])
    assert load("torchvision", tmp_path, name="CIFAR100", download=False)[1]["notes"] == {"name": "CIFAR100"}


def test_svhn_counts_its_digit_zero_as_zero(tmp_path, monkeypatch):
    kind = vision.SVHN
    from scipy.io import savemat

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    told = {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": pixels if split == "train" else 255 - pixels, "y": (np.arange(20) % 10 + 1)[:, None]})
        told[split] = ["", path.name, md5(path.read_bytes())]
    monkeypatch.setattr(kind, "split_list", told)
    tensors, record = load("torchvision", tmp_path, name="SVHN", download=False)
    np.testing.assert_array_equal(tensors["train"]["x"].numpy(), pixels.transpose(3, 2, 0, 1))
    assert tensors["train"]["y"].tolist() == [(i % 10 + 1) % 10 for i in range(20)]
    assert record["task"]["classes"] == tuple("0123456789")


def test_stl10_is_its_labelled_part(tmp_path, monkeypatch):
    kind = vision.STL10
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 96, 96), dtype=np.uint8)  # each plane column by column
    labels = bytes(range(1, 11))
    contents = {"train_X": pixels.tobytes(), "train_y": labels, "test_X": (255 - pixels).tobytes(), "test_y": labels}

    def put(name):
        (folder / name).write_bytes(contents.get(name.removesuffix(".bin"), b"unlabelled"))
        return [name, md5((folder / name).read_bytes())]

    monkeypatch.setattr(kind, "train_list", [put("train_X.bin"), put("train_y.bin"), put("unlabeled_Z.bin")])
    monkeypatch.setattr(kind, "test_list", [put("test_X.bin"), put("test_y.bin")])
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    tensors, record = load("torchvision", tmp_path, name="STL10", download=False)
    np.testing.assert_array_equal(tensors["train"]["x"].numpy(), pixels.transpose(0, 1, 3, 2))
    assert tensors["train"]["y"].tolist() == list(range(10))
    assert record["task"]["classes"] == tuple("abcdefghij")


# --- what is missing or damaged


def mnist_load(mnist, **given):
    return load("torchvision", mnist.root, name="MNIST", **given)


LABELS = "train-labels-idx1-ubyte.gz"


def test_a_missing_file_is_named_with_what_supplies_it(mnist):
    (mnist.raw / LABELS).unlink()
    offline = rf"MNIST: no file {mnist.raw / LABELS}; .* allow download: true .*config.yaml.*LAYERWISE_DATA_ROOT"
    refused(offline, mnist_load, mnist, download=False)
    refused(rf"MNIST: no file {mnist.raw / LABELS}; .*the download failed: HTTP Error 404", mnist_load, mnist)


@pytest.mark.parametrize("spoil", [lambda data: data[:-5], lambda data: data[:-5] + b"12345", lambda data: b""])
def test_a_damaged_file_is_named_and_then_downloaded_again(mnist, spoil):
    path = mnist.raw / LABELS
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    refused(rf"MNIST: {path}: damaged \(its md5 is \w+, not \w+\); delete it", mnist_load, mnist, download=False)
    (mnist.mirror / LABELS).write_bytes(whole)
    assert mnist_load(mnist)[1]["counts"]["train"] == 40
    assert path.read_bytes() == whole


def test_a_file_that_cannot_be_read_is_not_to_be_deleted(mnist, monkeypatch):
    path = mnist.raw / LABELS
    read = _idx.verify
    denied = PermissionError(13, "Permission denied")
    monkeypatch.setattr(_idx, "verify", lambda at, md5: raising(denied) if at == path else read(at, md5))
    refused(rf"MNIST: {path}: cannot be read \(Permission denied\); check", mnist_load, mnist, download=False)


def raising(error):
    raise error


def test_a_damaged_download_is_refused(mnist):
    (mnist.raw / LABELS).unlink()
    (mnist.mirror / LABELS).write_bytes(b"<html>not here</html>")
    refused(
        rf"MNIST: {mnist.raw / LABELS}: damaged .* the download failed: File not found or corrupted", mnist_load, mnist
    )


@pytest.mark.parametrize("left", [0, 3, 4, 6, 8, 47])
def test_an_unpacked_file_that_is_cut_short_is_refused(mnist, left):
    path = mnist.raw / LABELS
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes())[:left])
    path.unlink()
    refused(rf"MNIST: {path}: not a whole IDX file", mnist_load, mnist, download=False)


def test_an_unwritable_data_root_is_told(mnist, tmp_path):
    (tmp_path / "file").write_text("no folder")
    refused(r"MNIST: \S+/file/MNIST/raw/.*download failed", load, "torchvision", tmp_path / "file", name="MNIST")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("KMNIST", "KMNIST/raw/train-images-idx3-ubyte.gz"),
        ("CIFAR10", "cifar-10-batches-py/data_batch_1"),
        ("CIFAR100", "cifar-100-python/train"),
        ("SVHN", "train_32x32.mat"),
        ("STL10", "stl10_binary/train_X.bin"),
    ],
)
def test_an_empty_data_root_names_the_first_file(tmp_path, name, file):
    refused(rf"{name}: no file {tmp_path}/{file};", load, "torchvision", tmp_path, name=name, download=False)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cifar_batch_is_named(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(b"cut")
    refused(r"CIFAR10: .*data_batch_1: damaged", load, "torchvision", tmp_path, name="CIFAR10", download=False)


def test_without_torchvision_the_source_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    refused(r"needs the package torchvision", load, "torchvision", tmp_path, name="MNIST")


def test_two_downloads_at_once_take_turns(mnist):
    whole = (mnist.raw / LABELS).read_bytes()
    (mnist.raw / LABELS).unlink()
    done = []
    with store.alone(mnist.root):  # another process is downloading
        waiting = threading.Thread(target=lambda: done.append(mnist_load(mnist)[1]["counts"]["train"]))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        assert done == []
        (mnist.raw / LABELS).write_bytes(whole)  # it has got the file, which the mirror no longer has
    waiting.join(20)
    assert done == [40]


# --- real data, where there is some


def real(name, folder):
    root = Path(os.environ.get("LAYERWISE_DATA_ROOT", "nowhere"))
    reason = f"LAYERWISE_DATA_ROOT names no folder with {folder}"
    return pytest.param(
        name, root, marks=[pytest.mark.data, pytest.mark.skipif(not (root / folder).is_dir(), reason=reason)]
    )


@pytest.mark.parametrize(
    ("name", "root"),
    [
        real("MNIST", "MNIST/raw"),
        real("FashionMNIST", "FashionMNIST/raw"),
        real("CIFAR10", "cifar-10-batches-py"),
        real("CIFAR100", "cifar-100-python"),
    ],
)
@pytest.mark.filterwarnings("ignore:source 'torchvision'. 10 of 10000 test samples")  # so it is in CIFAR-100
def test_published_sets_have_their_published_counts_and_moments(name, root):
    known = {
        "MNIST": (60000, 0.1307, 0.3081),
        "FashionMNIST": (60000, 0.2860, 0.3530),
        "CIFAR10": (50000, 0.4734, 0.2516),
        "CIFAR100": (50000, 0.4782, 0.2682),
    }
    tensors, record = load("torchvision", root, name=name, standardise="global", download=False)
    total, mean, deviation = known[name]
    assert record["counts"] == {"train": total, "valid": 0, "test": 10000}
    assert abs(tensors["train"]["shift"].item() / 255 - mean) < 1e-4
    assert abs(tensors["train"]["scale"].item() / 255 - deviation) < 1e-4


@pytest.mark.parametrize(("name", "root"), [real("MNIST", "MNIST/raw")])
def test_mnist_10k_of_the_papers(name, root):
    tensors, record = load("torchvision", root, name=name, subset=10000, valid=1.0, download=False)
    assert record["class_counts"]["train"] == record["class_counts"]["valid"] == [1000] * 10
    seen = {row.tobytes() for row in tensors["train"]["x"].numpy().reshape(10000, -1)}
    assert len(seen) == 10000  # the split of MNIST has no duplicates, so an image in both splits would show
    assert not seen & {row.tobytes() for row in tensors["valid"]["x"].numpy().reshape(10000, -1)}
