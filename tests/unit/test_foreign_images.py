"""Folders of images as strangers have them: read as they are meant, or refused in one line, before work begins."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from layerwise import store
from layerwise.__main__ import main
from layerwise.datasets import _image, imagefolder
from layerwise.errors import LayerwiseError
from layerwise.preparation.folder import digest, scan, shown

STUDY = """
title: Mine
seeds: 1
datasets:
  mine: {source: imagefolder, folder: photos, size: 4OPTIONS}
segments:
  ridge: {method: ridge, layers: [dense outputs]}
networks:
  mine: {ridge: linear}
"""
RECORD = Path("results/mine/datasets/mine/dataset.json")
Change = Callable[[Path], object]


def picture(mode: str = "RGB", seed: int = 0, size: tuple[int, int] = (6, 6)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)
    return Image.fromarray(noise).convert(mode)


def folder_of(top: Path, classes=("cat", "dog"), number: int = 3) -> Path:
    for at, (split, name, i) in enumerate((s, c, i) for s in ("train", "test") for c in classes for i in range(number)):
        (top / split / name).mkdir(parents=True, exist_ok=True)
        picture(seed=1 + at).save(top / split / name / f"{i}.png")
    return top


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    return folder_of(tmp_path / "photos")


def prepared(options: str = "") -> tuple[int, list[str]]:
    """Prepare the data set by the verb; returns its exit status and the lines of its standard error."""
    Path("studies/mine.yaml").write_text(STUDY.replace("OPTIONS", options))
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        status = main(["dataset", "studies/mine.yaml", "mine"])
    err.getvalue().encode("utf-8")  # it can be printed anywhere
    return status, err.getvalue().splitlines()


def refused(text: str, options: str = "") -> None:
    status, lines = prepared(options)
    assert (status, len(lines)) == (2, 1), lines
    assert lines[0].startswith("layerwise: ")
    assert text in lines[0], lines[0]
    assert not RECORD.exists()


def put(data: bytes | Image.Image, name: str = "train/cat/z.png", **how) -> Change:
    """Add a file: bytes, or an image in the format of its name."""

    def change(top: Path) -> None:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data) if isinstance(data, bytes) else data.save(top / name, **how)

    return change


def link(name: str, target: str) -> Change:
    return lambda top: (top / name).symlink_to(target)


def renamed(old: str, new: str) -> Change:
    return lambda top: (top / old).rename(top / new)


def made(name: str) -> Change:
    return lambda top: (top / name).mkdir(parents=True)


def png(width: int, height: int, depth: int = 8, kind: int = 0, rows: bytes = b"") -> bytes:
    """A PNG whose head says what it likes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def as_format(name: str) -> bytes:
    data = io.BytesIO()
    picture().save(data, name)
    return data.getvalue()


def clear(mode: str, **how) -> tuple[Image.Image, dict]:
    """An image of a mode whose first pixel is transparent."""
    image = picture(mode)
    if mode in ("LA", "RGBA"):
        alpha = Image.new("L", image.size, 255)
        alpha.putpixel((0, 0), 254)
        image.putalpha(alpha)
    else:
        how = {"transparency": image.getpixel((0, 0))}
    return image, how


# --- formats: only those that are named are opened

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n"  # Pillow hands it to Ghostscript, whatever its name
OTHERS = {name: as_format(name) for name in ("PPM", "ICO", "TGA", "PCX", "PDF", "ICNS", "SGI", "JPEG2000")}


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.tiff", "x.webp", "x.gif"])
def test_the_pixels_of_a_format_are_those_that_were_saved(tmp_path, name):
    image = picture("P").convert("RGB") if name.endswith("gif") else picture()
    image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    pixels, odd = _image.read_image(tmp_path / name, 6, False, "none")
    assert np.array_equal(pixels, np.asarray(image).transpose(2, 0, 1))
    assert odd == []


@pytest.mark.parametrize("data", [EPS, b"%PDF-1.4\n", b"<html>", b"", *OTHERS.values()])
@pytest.mark.parametrize("name", ["train/cat/z.png", "test/dog/z.JPG", "train/dog/z.bmp"])
def test_another_format_is_never_opened(photos, name, data):
    put(data, name)(photos)
    refused(f"photos/{name}: not a whole image: no PNG, JPEG, BMP, GIF, TIFF, WEBP file, whatever its name says")


def test_a_named_format_under_the_suffix_of_another_is_read(photos):
    put(as_format("PNG"), "train/cat/z.jpg")(photos)
    put(as_format("JPEG"), "train/cat/y.bmp")(photos)
    assert prepared() == (0, [])


# --- images that are not as they seem


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB", "1"])
def test_transparent_pixels_need_a_background(photos, mode):
    image, how = clear(mode)
    put(image, **how)(photos)
    refused("photos/train/cat/z.png: has transparent pixels; say what they are put on, such as background: white")
    assert prepared(", background: black") == (0, [])


def test_alpha_that_the_head_of_a_bitmap_does_not_tell_of(photos):
    """32 bits a pixel: many programs write alpha into the fourth byte, and the others a constant."""
    opaque = picture("RGBA", size=(5, 7))
    put(opaque, "train/cat/z.bmp")(photos)
    assert prepared() == (0, [])
    image = opaque.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    put(image, "train/cat/z.bmp")(photos)
    put(image, "train/cat/y.png")(photos)
    RECORD.unlink()
    refused("photos/train/cat/y.png: has transparent pixels")
    (photos / "train/cat/y.png").rename("y.png")
    refused("photos/train/cat/z.bmp: has transparent pixels")
    one, other = (_image.read_image(path, 4, False, "white")[0] for path in (photos / "train/cat/z.bmp", Path("y.png")))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("background", "value"), [("black", 0), ("grey", 128), ("white", 255)])
@pytest.mark.parametrize("grey", [True, False])
def test_transparent_pixels_take_the_background(tmp_path, background, value, grey):
    Image.new("RGBA", (3, 3), (9, 99, 200, 0)).save(tmp_path / "clear.png")
    assert (_image.read_image(tmp_path / "clear.png", 2, grey, background)[0] == value).all()


def test_an_alpha_channel_without_transparency_is_no_matter(photos):
    put(picture("RGBA"))(photos)
    assert prepared() == (0, [])


WRONG_IMAGES = {
    "a strip": (put(Image.new("L", (100000, 1))), "z.png: an image of 100000 x 1 pixels"),
    "a tall strip": (put(Image.new("1", (1, 40000)), "train/cat/z.bmp"), "z.bmp: an image of 1 x 40000 pixels"),
    "a bomb": (put(png(30000, 30000)), "z.png: an image of more than"),
    "a smaller bomb": (put(png(20000, 6000)), "z.png: an image of more than"),
    "a head that lies": (put(png(2000, 2000)), "z.png: not a whole image"),
    "no pixels": (put(png(0, 5)), "z.png: not a whole image"),
    "16 bits of grey": (put(png(1, 1, 16, 0, b"\0ab")), "z.png: an image of more than 8 bits a channel"),
    "16 bits of colour": (put(png(1, 1, 16, 2, b"\0abcdef")), "z.png: an image of more than 8 bits a channel"),
    "16 bits and alpha": (put(png(1, 1, 16, 6, b"\0abcdefgh")), "z.png: an image of more than 8 bits a channel"),
    "a TIFF of 16 bits": (put(Image.new("I;16", (2, 2)), "train/cat/z.tif"), "z.tif: an image of more than 8 bits"),
    "a TIFF of floats": (put(Image.new("F", (2, 2)), "train/cat/z.tif"), "z.tif: an image of more than 8 bits"),
    **{
        f"several pictures in a {name}": (
            put(picture(), f"train/cat/z.{name}", save_all=True, append_images=[picture(seed=9)]),
            f"z.{name}: a moving image, or several",
        )
        for name in ("gif", "tif", "webp")
    },
    "a moving image": (put(picture(), save_all=True, append_images=[picture("L")]), "z.png: a moving image"),
}


@pytest.mark.parametrize("what", WRONG_IMAGES)
def test_an_image_that_would_be_cut_short_is_refused(photos, what):
    change, text = WRONG_IMAGES[what]
    change(photos)
    refused(text)


def test_heads_are_checked_before_any_image_is_read(photos, monkeypatch):
    put(png(30000, 30000), "test/dog/z.png")(photos)
    monkeypatch.setattr(imagefolder, "read_image", lambda *_: pytest.fail("read an image"))
    refused("test/dog/z.png: an image of more than")


def test_more_images_than_memory_holds_are_refused_before_any_is_opened(photos, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 50)
    monkeypatch.setattr(imagefolder, "check_image", lambda _: pytest.fail("opened an image"))
    refused("photos: 12 images of 3 x 4 x 4 take 0.0 GiB, and this machine has 0.0; set a smaller size")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_an_image_that_cannot_be_read_is_not_to_be_removed(photos, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(_image.Image, "open", fails)
    refused(f"photos/train/cat/0.png: cannot be read ({error.strerror}); check its permissions")


def test_what_is_odd_about_an_image_is_said(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    cut = exif.tobytes()[:-6]
    for name in "yz":
        put(picture(), f"train/cat/{name}.jpg", exif=cut)(photos)
    status, lines = prepared()
    assert status == 0
    assert len(lines) == 1
    assert "photos/train/cat/y.jpg: " in lines[0]
    assert lines[0].endswith("(so in 2 images)")


STORED = Image.Transpose
TURNS = {2: STORED.FLIP_LEFT_RIGHT, 3: STORED.ROTATE_180, 4: STORED.FLIP_TOP_BOTTOM, 5: STORED.TRANSPOSE,
         6: STORED.ROTATE_90, 7: STORED.TRANSVERSE, 8: STORED.ROTATE_270}  # fmt: skip


@pytest.mark.parametrize("orientation", TURNS)
def test_an_image_is_turned_as_its_camera_was_held(tmp_path, orientation):
    upright = picture(size=(4, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.save(tmp_path / "upright.png")
    upright.transpose(TURNS[orientation]).save(tmp_path / "turned.png", exif=exif)
    one, other = (_image.read_image(tmp_path / f"{name}.png", 6, False, "none")[0] for name in ("upright", "turned"))
    np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> list[bytes]:
    top = tmp_path_factory.mktemp("seeds")
    for mode, suffix in (("RGB", "png"), ("P", "png"), ("LA", "png"), ("RGB", "jpg"), ("CMYK", "jpg"), ("RGB", "bmp")):
        picture(mode).save(top / f"{mode}.{suffix}")
    return [path.read_bytes() for path in sorted(top.iterdir())]


@settings(
    derandomize=True, deadline=None, database=None, max_examples=int(os.environ.get("LAYERWISE_FUZZ", 200)),
)  # fmt: skip
@given(
    which=st.integers(0, 5),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=4), st.integers(0, 4)), max_size=6),
)
def test_a_spoiled_image_is_read_or_refused_in_one_line(tmp_path_factory, seeds, which, edits):
    data = bytearray(seeds[which])
    for place, new, gone in edits:
        at = int(place * len(data))
        data[at : at + gone] = new
    path = tmp_path_factory.getbasetemp() / "spoiled.png"
    path.write_bytes(data)
    try:
        shape, said = _image.read_image(path, 2, False, "white")[0].shape, f"{path}: read"
    except LayerwiseError as error:
        shape, said = (3, 2, 2), str(error)
    assert shape == (3, 2, 2)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said


# --- folders

WRONG_FOLDERS = {
    "a link to nothing": (link("train/cat/z.png", "gone.png"), "photos/train/cat/z.png: a link to gone.png, which"),
    "a class that is not there": (link("train/emu", "/gone/emu"), "photos/train/emu: a link to /gone/emu"),
    "a split that is not there": (link("valid", "/gone"), "photos/valid: a link to /gone, which is not there"),
    "a folder in a class": (link("train/cat/more", "/gone"), "photos/train/cat/more: a link to /gone"),
    "a link to itself": (link("train/cat/z.png", "z.png"), "photos/train/cat/z.png: cannot be read (Too many levels"),
    "a circle": (link("train/cat/up", ".."), "photos/train/cat/up: leads to the folder photos/train, which is read"),
    "a link upwards": (link("train/cat/up", "/"), "photos/train/cat/up: leads to the folder /, which is read already"),
    "a class twice": (link("train/dog2", "dog"), "photos/train/dog2: leads to the folder photos/train/dog"),
    "validated on test": (link("valid", "test"), "photos/test: leads to the folder photos/valid, which is read"),
    "val": (made("val/cat"), "photos/val: this split is called valid; rename it"),
    "Validation": (made("Validation/cat"), "photos/Validation: this split is called valid; rename it"),
    "Train": (renamed("train", "Train"), "photos/Train: this split is called train; rename it"),
    "testing": (renamed("test", "testing"), "photos/testing: this split is called test; rename it"),
    "tarin": (renamed("train", "tarin"), "photos/train: no class folder in it; did you mean the folder photos/tarin?"),
    "one level deeper": (
        lambda top: (shutil.move(top, "in"), Path("photos").mkdir(), shutil.move("in", "photos/all")),
        "photos/train: no class folder in it; did you mean the folder photos/all?",
    ),
    "an empty class": (
        made("train/emu"),
        "photos/train/emu: no image in it (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp); add some",
    ),
    "a class of others": (
        put(b"", "train/emu/0.ppm"),
        "no image in it (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp), but 1 .ppm",
    ),
    "a class of test alone": (renamed("test/cat", "test/Cat"), "class 'Cat' is not among those of train; did"),
    "a class on two lines": (made("train/a\nb"), r"photos/train/a\nb: no name of a class"),
    "a class that turns text": (made("train/\u202ecat"), r"photos/train/\u202ecat: no name of a class"),
    "a class in Latin-1": (made(os.fsdecode(b"train/\xe9")), r"photos/train/\udce9: no name of a class"),
    "one name in two ways": (
        lambda top: [made(f"train/{unicodedata.normalize(form, 'é')}")(top) for form in ("NFC", "NFD")],
        "there are two folders of this name",
    ),
}


@pytest.mark.parametrize("what", WRONG_FOLDERS)
def test_a_folder_that_is_not_as_it_should_be(photos, what):
    change, text = WRONG_FOLDERS[what]
    change(photos)
    refused(text)


@pytest.mark.parametrize("folder", ["~nobody_x/photos", "a\\0b", "", ".", "studies/mine.yaml", "x" * 300])
def test_a_folder_that_cannot_be_one(photos, folder):
    Path("studies/mine.yaml").write_text(STUDY.replace("OPTIONS", "").replace("photos", f'"{folder}"'))
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert main(["dataset", "studies/mine.yaml", "mine"]) == 2
    assert len(err.getvalue().splitlines()) == 1


def test_a_folder_that_may_not_be_read(photos, monkeypatch):
    def fails(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", fails)
    refused("photos: cannot be read (Permission denied); check its permissions")


SAID = {
    "others": (
        lambda top: [
            put(b"", f"train/{c}/{i}")(top) for c in ("cat", "dog") for i in ("1.ppm", "2.ppm", "1.ICO", "2.ico")
        ],
        "8 files are no images in a class folder (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp) and were left "
        "out: "
        "2 .ico in train/cat, 2 .ppm in train/cat, 2 .ico in train/dog, 2 .ppm in train/dog",
    ),
    "images in no class": (put(picture(), "train/z.png"), "were left out: 1 .png in train"),
    "a pipe": (lambda top: os.mkfifo(top / "train/cat/z.png"), "were left out: 1 no plain file in train/cat"),
    "a device": (link("train/cat/z.png", "/dev/zero"), "were left out: 1 no plain file in train/cat"),
    "a fourth split": (made("extra"), "folders that are no split (train, valid, test) were left out: extra"),
    "test is train": (
        lambda top: (shutil.rmtree(top / "test"), shutil.copytree(top / "train", top / "test")),
        "6 of 6 test samples are training samples too",
    ),
    "valid is train": (lambda top: shutil.copytree(top / "train", top / "valid"), "6 of 6 valid samples are"),
    "one of train in test": (
        lambda top: shutil.copy(top / "train/cat/0.png", top / "test/dog/z.png"),
        "1 of 7 test samples are training samples too",
    ),
    "a class without test": (lambda top: shutil.rmtree(top / "test/dog"), "no sample of 1 of 2 classes ('dog')"),
}


@pytest.mark.parametrize("what", SAID)
def test_what_a_user_should_know_is_said_and_recorded(photos, what):
    change, text = SAID[what]
    change(photos)
    status, lines = prepared()
    assert (status, len(lines)) == (0, 1), lines
    assert text in lines[0]
    assert store.read_json(RECORD)["warnings"] == [lines[0].removeprefix("layerwise: warning: ")]


def test_what_systems_leave_behind_is_nothing(photos):
    for name in (".DS_Store", "train/__MACOSX/cat/._0.png", "train/cat/Thumbs.db", "train/cat/._0.png", "__MACOSX/a"):
        put(b"", name)(photos)
    assert prepared() == (0, [])
    assert store.read_json(RECORD)["counts"] == {"train": 6, "valid": 0, "test": 6}


def test_folders_within_a_class_belong_to_it(photos):
    for i, name in enumerate(("train/cat/a/b/0.png", "train/cat/c/0.png", "train/dog/z.png/0.png")):
        put(picture(seed=90 + i), name)(photos)
    assert prepared() == (0, [])
    assert store.read_json(RECORD)["class_counts"]["train"] == [5, 4]


ODD = ["scan{12}.png", "{wildcards.x}.png", "a$b.png", "q'\".png", "new\nline.png", "-rf.png", "*.png", "\x1b[31m.png",
       os.fsdecode(b"\xe9.png")]  # fmt: skip


def test_images_of_any_name_are_read(photos):
    for i, name in enumerate(ODD):
        put(picture(seed=50 + i), f"train/cat/{name}")(photos)
    assert prepared() == (0, [])
    assert store.read_json(RECORD)["class_counts"]["train"] == [3 + len(ODD), 3]


@pytest.mark.parametrize("name", ODD)
def test_an_image_of_any_name_is_named_on_one_line(photos, name):
    put(b"", f"train/cat/{name}")(photos)
    refused(f"photos/train/cat/{shown(name)}: not a whole image")


def test_a_name_in_two_spellings_of_unicode_is_one_class(photos):
    for split, form in (("train", "NFD"), ("test", "NFC")):
        put(picture(seed=99 + len(split)), f"{split}/{unicodedata.normalize(form, 'é')}/0.png")(photos)
    assert prepared() == (0, [])
    assert store.read_json(RECORD)["task"]["classes"] == ["cat", "dog", "é"]


NUMBERS = {
    "[1, 2]": ("01", "02", "03", "10"),
    "[0, 1]": ("1", "2", "3"),
    "[1, 2]  #": ("1.0", "2.0"),
    "[1, 2] #": ("01_cat", "02_dog", "03_emu"),
    "[1, -1]": ("+1", "-1"),
    "[2, 1]": ("c1", "c2", "c3"),
    "[1, 0]": ("(1)", "#2"),
}


@pytest.mark.parametrize("classes", NUMBERS)
def test_a_number_is_no_place_among_classes_named_by_numbers(photos, classes):
    shutil.rmtree(photos)
    folder_of(photos, NUMBERS[classes])
    refused("; class names hold numbers, so write them in full: ", f", classes: {classes.strip(' #')}")


@pytest.mark.parametrize(("classes", "read"), [("[01, 02]", "01"), ("[2, 0x10]", "0x10"), ("[1_0, 2]", "1_0")])
def test_a_number_that_yaml_rewrites_is_no_class(photos, classes, read):
    shutil.rmtree(photos)
    folder_of(photos, ("1", "2", "10", "16", read))
    refused(f"YAML reads {read} as another number; put it in quotes", f", classes: {classes}")


@pytest.mark.parametrize(
    ("classes", "names", "want"),
    [("[1, 10]", ("1", "2", "10"), ["1", "10"]), ("['02', '01']", ("01", "02", "03"), ["02", "01"]),
     ("[2, 0]", ("a", "b", "c"), ["c", "a"])],
)  # fmt: skip
def test_classes_that_are_meant_are_taken(photos, classes, names, want):
    shutil.rmtree(photos)
    folder_of(photos, names)
    assert prepared(f", classes: {classes}") == (0, [])
    assert store.read_json(RECORD)["task"]["classes"] == want


# --- what the workflow goes by


CHANGES = {
    "an older image": lambda top: os.utime(top / "train/cat/0.png", (1e9, 1e9)),
    "a longer image": lambda top: (top / "test/dog/2.png").open("ab").write(b"x"),
    "two images swapped": lambda top: (
        (top / "test/dog/2.png").rename(top / "t"), (top / "test/dog/1.png").rename(top / "test/dog/2.png"),
        (top / "t").rename(top / "test/dog/1.png"),
    ),
    "one renamed": renamed("train/cat/0.png", "train/cat/9.png"),
    "one more": put(picture()),
    "one of another class": renamed("train/cat/0.png", "train/dog/9.png"),
    "another file": put(b"", "train/cat/0.ppm"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_the_digest_follows_every_change_of_the_files(photos, what):
    before = scan(photos).digest
    assert scan(photos).digest == before
    CHANGES[what](photos)
    assert scan(photos).digest != before


def test_a_source_from_outside_may_have_a_folder_of_its_own_shape(tmp_path):
    options = imagefolder.Options(folder=str(tmp_path), size=1)
    (tmp_path / "table.csv").write_text("1,2")
    before = digest("mylab.tables", options)
    (tmp_path / "table.csv").write_text("1,2,3")
    assert before != digest("mylab.tables", options) != ""
    assert digest("mylab.tables", imagefolder.Options(folder=str(tmp_path / "gone"), size=1)) == ""
