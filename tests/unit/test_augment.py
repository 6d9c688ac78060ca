"""Augmented batches: each image becomes what its augmentation may make of it, by the seed alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy import stats

from layerwise.contract import NO_HOOKS, Features, Hooks, Pixels, Segment, Split, Task
from layerwise.errors import LayerwiseError
from layerwise.gradient import loop
from layerwise.gradient.augment import AUGMENTATIONS, Augmented
from layerwise.gradient.autoaugment import POLICIES, AutoAugment
from layerwise.gradient.batches import Batches
from layerwise.methods import local, sgd

X = torch.arange(1, 1 + 64 * 2 * 16 * 16).reshape(64, 2, 16, 16).float()
PAD = 2  # of 16 pixels
CPU = torch.device("cpu")


def augmented(name: str) -> torch.Tensor:
    return AUGMENTATIONS[name](X, torch.Generator().manual_seed(0))


def test_a_flip_is_the_image_or_its_mirror():
    mirrored = [torch.equal(new, old.flip(-1)) for new, old in zip(augmented("flip"), X, strict=True)]
    kept = [torch.equal(new, old) for new, old in zip(augmented("flip"), X, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_crop_is_the_image_shifted():
    shifts = set()
    for new, old in zip(augmented("crop"), X, strict=True):
        padded = torch.nn.functional.pad(old, [PAD] * 4)
        found = [
            (down, right)
            for down in range(2 * PAD + 1)
            for right in range(2 * PAD + 1)
            if torch.equal(new, padded[:, down : down + 16, right : right + 16])
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert {down for down, _ in shifts} == {right for _, right in shifts} == set(range(2 * PAD + 1))


def test_cutout_takes_a_square_of_all_channels_away():
    for new, old in zip(augmented("cutout"), X, strict=True):
        hole = new == 0
        assert torch.equal(new[~hole], old[~hole])
        assert torch.equal(hole[0], hole[1])
        rows, columns = hole[0].any(1), hole[0].any(0)
        assert torch.equal(hole[0], rows[:, None] & columns)
        assert 4 <= int(rows.sum()) <= 8
        assert 4 <= int(columns.sum()) <= 8


@pytest.mark.parametrize("names", [("flip",), ("crop", "flip", "cutout")])
def test_batches_are_augmented_by_their_generator(names):
    split, sizes = Split(X, torch.arange(64)), [16] * 4
    first, again = (Augmented(split, sizes, 7, names) for _ in range(2))
    one, other = list(first), list(first)
    assert not torch.equal(one[0][0], other[0][0])
    list(again)
    for (x, t), (x_again, t_again) in zip(other, again, strict=True):
        assert torch.equal(x, x_again)
        assert torch.equal(t, t_again)


def test_none_are_the_batches_as_they_are():
    split, sizes = Split(X, torch.arange(64)), [16] * 4
    for (x, t), (mine, own) in zip(Batches(split, sizes, 7), Augmented(split, sizes, 7, ()), strict=True):
        assert torch.equal(x, mine)
        assert torch.equal(t, own)


# ---------------------------------------------------------------- AutoAugment

COLOURS = Pixels(torch.tensor([[[[120.7]]]]), torch.tensor([[[[64.15]]]]))
STANDARDISED = {
    "full scale": Pixels(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 255.0)),
    "raw": Pixels(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)),
    "global": COLOURS,
    "feature": Pixels(torch.rand(1, 3, 16, 16) * 255, torch.rand(1, 3, 16, 16) * 100 + 1e-3),
}


def pixels(count: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.randint(40, 216, (count, channels, 4, 4), dtype=torch.uint8, generator=generator)
    return blobs.repeat_interleave(4, 2).repeat_interleave(4, 3)


def samples(images: torch.Tensor, how: Pixels = COLOURS) -> torch.Tensor:
    return images.float().sub_(how.shift).div_(how.scale)


def v2():
    return pytest.importorskip("torchvision.transforms.v2")


def operations(policy: str):
    """torchvision's own transform, its policies, and each operation as a function of one image and a sign."""
    transforms = v2()
    own = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy))

    def once(image, operation, level, negative):
        magnitudes, signed = own._AUGMENTATION_SPACE[operation]
        values = magnitudes(10, *image.shape[-2:])
        magnitude = 0.0 if values is None else float(values[level]) * (-1 if signed and negative else 1)
        how = {"interpolation": own.interpolation, "fill": own._fill}
        return own._apply_image_or_video_transform(image, operation, magnitude, **how), signed

    return own, once


def outcomes(image: torch.Tensor, policy: str) -> Counter:
    """The probability of each image that a policy may make of one, by brute force."""
    own, once = operations(policy)
    chances: Counter = Counter()
    for one, other in own._policies:
        states = [(1 / len(own._policies), image)]
        for operation, probability, level in (one, other):
            after = []
            for chance, state in states:
                after.append((chance * (1 - probability), state))
                for negative in (False, True):
                    result, _ = once(state, operation, level, negative)
                    after.append((chance * probability / 2, result))
            states = after
        for chance, state in states:
            chances[state.numpy().tobytes()] += chance
    return chances


def p_value(seen: Counter, chances: Counter, count: int) -> float:
    """Of a chi-squared test, with the rare outcomes together."""
    assert {key for key in seen if not chances[key]} == set()
    common = [key for key, chance in chances.items() if chance * count >= 8]
    expected = [chances[key] * count for key in common]
    observed = [seen[key] for key in common]
    rest = count - sum(expected)
    if rest >= 8:
        expected, observed = [*expected, rest], [*observed, count - sum(observed)]
    return float(stats.chisquare(observed, [e * sum(observed) / sum(expected) for e in expected]).pvalue)


@pytest.mark.parametrize("name", POLICIES)
def test_the_images_of_a_batch_are_drawn_as_torchvision_draws_single_ones(name):
    image, count = pixels(1)[0], 3000
    chances = outcomes(image, POLICIES[name])
    assert sum(chances.values()) == pytest.approx(1)
    mine = AutoAugment(name, COLOURS)
    generator = torch.Generator().manual_seed(3)
    batches = [mine.augmented(image.repeat(100, 1, 1, 1), generator) for _ in range(count // 100)]
    assert p_value(Counter(x.numpy().tobytes() for x in torch.cat(batches)), chances, count) > 0.01
    own, _ = operations(POLICIES[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        theirs = Counter(own(image).numpy().tobytes() for _ in range(count // 4))
    assert p_value(theirs, chances, count // 4) > 0.01


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_each_image_of_a_batch_becomes_what_it_becomes_alone(name, channels, monkeypatch):
    images = pixels(256, channels)
    mine = AutoAugment(name, COLOURS)
    together = mine.augmented(images.clone(), torch.Generator().manual_seed(5))
    _, once = operations(POLICIES[name])
    generator = torch.Generator().manual_seed(5)
    chosen = torch.randint(25, (256,), generator=generator)
    chances = torch.rand(256, 2, generator=generator)
    negative = torch.rand(256, 2, generator=generator) <= 0.5
    for i, image in enumerate(images):
        for step, (operation, probability, level) in enumerate(mine.policies[chosen[i]]):
            if chances[i, step] <= probability:
                image, _ = once(image, operation, level, bool(negative[i, step]))
        assert torch.equal(image, together[i])


@pytest.mark.parametrize("how", STANDARDISED)
def test_samples_become_images_and_samples_again_to_the_byte(how):
    x = samples(torch.randint(256, (64, 3, 16, 16), dtype=torch.uint8), STANDARDISED[how])
    mine = AutoAugment("autoaugment", STANDARDISED[how])
    mine.policies = [(("Invert", -1.0, None), ("Invert", -1.0, None))]  # which is never done
    assert torch.equal(mine(x, torch.Generator()), x)
    mine.policies = [(("Invert", 1.0, None), ("Invert", 1.0, None))]
    assert torch.equal(mine(x, torch.Generator()), x)


def test_labels_stay_and_the_data_set_too():
    x = samples(pixels(64))
    split, kept = Split(x, torch.arange(64)), x.clone()
    given = list(Augmented(split, [16] * 4, 7, ("crop", "flip", "autoaugment", "cutout"), COLOURS))
    assert sorted(int(t) for _, labels in given for t in labels) == list(range(64))
    assert torch.equal(x, kept)
    plain = {int(t): image for image, t in zip(x, split.y, strict=True)}
    only = list(Augmented(split, [16] * 4, 7, ("autoaugment",), COLOURS))
    moved = sum(not torch.equal(plain[int(t)], x) for xs, ts in only for x, t in zip(xs, ts, strict=True))
    assert 32 < moved < 64  # about a fifth of the images are left as they are


TASK = Task("onehot", 3, ("a", "b", "c"))
EVERY = ("crop", "flip", "autoaugment", "cutout")


def images_in_classes() -> Features:
    x, y = samples(pixels(48)), torch.arange(48) % 3
    return Features(Split(x, y), Split(x[:0], y[:0]), TASK, pixels=COLOURS)


def trained(augment=EVERY, hooks: Hooks = NO_HOOKS) -> dict[str, torch.Tensor]:
    segment = Segment(("conv 3 4", "relu", "dense outputs"), (3, 16, 16), 3)
    options = sgd.Options(batch=16, epochs=3, augment=augment)
    return sgd.fit(segment, images_in_classes(), options, seed=1, device=CPU, hooks=hooks).module.state_dict()


def test_sgd_sees_augmented_images():
    results = [trained(names)["0.weight"] for names in ((), EVERY, ("autoaugment",), ("autoaugment svhn",))]
    assert len({result.numpy().tobytes() for result in results}) == 4


def test_one_window_of_local_learning_sees_the_images_of_backpropagation():
    words = ("conv 3 4", "relu", "conv 3 4", "relu", "dense outputs")
    segment, features, how = Segment(words, (3, 16, 16), 3), images_in_classes(), {"batch": 16, "augment": EVERY}
    twin = sgd.fit(segment, features, sgd.Options(epochs=3, **how), seed=1, device=CPU).module.state_dict()
    options = local.Options(epochs=(3,), window=2, **how)
    mine = local.fit(segment, features, options, seed=1, device=CPU).module.state_dict()
    assert all(torch.equal(weight, mine[name]) for name, weight in twin.items())


def test_windows_above_the_first_see_augmented_images_too():
    words = ("conv 3 4", "relu", "conv 3 4", "relu", "dense outputs")
    segment, features = Segment(words, (3, 16, 16), 3), images_in_classes()
    results = []
    for names in (("flip",), ("flip", "autoaugment"), ("flip", "autoaugment")):
        options = local.Options(epochs=(1, 2), batch=16, augment=names)
        results.append(local.fit(segment, features, options, seed=1, device=CPU).module.state_dict()["2.weight"])
    assert torch.equal(results[1], results[2])
    assert not torch.equal(results[0], results[1])


class _Stop(Exception):
    pass


def test_an_interrupted_training_sees_the_same_images(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    whole = trained()
    kept: list[tuple[dict, dict]] = []

    def save(tensors, notes):
        kept.append(({n: t.clone() for n, t in tensors.items()}, notes))
        raise _Stop

    with pytest.raises(_Stop):
        trained(hooks=Hooks(save=save))
    again = trained(hooks=Hooks(load=kept.pop))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize(
    ("names", "shape", "how", "text"),
    [
        (("flip",), (64,), None, "is for images"),
        (("autoaugment",), (3, 16, 16), None, "takes the pixels of a data set of 8-bit images"),
    ],
)
def test_what_cannot_be_augmented(names, shape, how, text):
    with pytest.raises(LayerwiseError, match=text) as caught:
        Augmented(Split(torch.zeros(4, *shape), torch.arange(4)), [4], 0, names, how)
    assert "\n" not in str(caught.value)
