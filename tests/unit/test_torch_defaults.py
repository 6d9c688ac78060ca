"""A program may have made another floating type or another device torch's default: no fit sees it."""

import pytest
import torch

from layerwise.golden import cases, fits

EVERY = cases.every()
SOME = {
    case.name: case for case in (*EVERY[::9], *(c for c in EVERY if c.options.get("mask") or c.method == "permuted"))
}


@pytest.fixture(params=["float64", "device"])
def default(request):
    known = torch.get_default_dtype(), torch.get_default_device()
    yield request.param
    torch.set_default_dtype(known[0])
    torch.set_default_device(None if known[1].type == "cpu" else known[1])


def set_default(which):
    if which == "float64":
        torch.set_default_dtype(torch.float64)
    else:
        torch.set_default_device("meta")  # where nothing has a number


def test_every_method_is_among_them():
    assert {case.method for case in SOME.values()} == {case.method for case in EVERY}


@pytest.mark.filterwarnings("ignore::layerwise.errors.LayerwiseWarning")
@pytest.mark.parametrize("name", SOME)
def test_a_fit_is_the_same_to_the_byte(name, default):
    for data in {case.data for case in SOME.values()}:
        fits.data(data, SOME[name].dtype)
    usual = fits.digest(SOME[name])
    set_default(default)
    assert fits.digest(SOME[name]) == usual
