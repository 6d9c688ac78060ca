"""Pictures of a study, one file each.

A figure's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and

    def draw(results: StudyResults, options: Options) -> matplotlib.figure.Figure
    def caption(results: StudyResults, options: Options) -> str

The caption says what is shown, over how many seeds, on which machine, and where the numbers came from. As for
methods, ``Options`` must stand on the standard library, `layerwise.errors` and `layerwise.options` alone.
"""

from __future__ import annotations

from layerwise.figures._matplotlib import settings

# isort: split
import re
import warnings
from pathlib import Path
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from layerwise import plugins, store
from layerwise.errors import LayerwiseWarning
from layerwise.figures._style import PIXELS_PER_INCH, STYLE
from layerwise.results import made
from layerwise.results.study_results import StudyResults
from layerwise.study.model import View
from layerwise.study.trie import home

NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # letters that no XML may hold
PATHS, DECIMALS = re.compile(r'(?<= d=")[^"]+'), re.compile(r"(\.\d\d)\d+")


def make(results: StudyResults, view: View) -> None:
    """Draw a figure of a study and save it as ``results/<study>/figures/<name>.svg`` and ``.png``."""
    module, options = opened(view)
    with style():
        figure = module.draw(results, options)
        caption = module.caption(results, options)
        with made.making(results.study, f"figures/{view.name}", digest(results, view), files(results, view)):
            save(figure, home(results.study.name) / "figures" / view.name, caption)


def check(results: StudyResults, view: View) -> Path:
    """Return the SVG of a figure; LayerwiseError where it was made for anything else than the study asks for now."""
    made.check(results.study, f"figures/{view.name}", digest(results, view), files(results, view), "figure")
    return files(results, view)[0]


def files(results: StudyResults, view: View) -> list[Path]:
    stem = home(results.study.name) / "figures" / view.name
    return [stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png")]


def digest(results: StudyResults, view: View) -> str:
    return made.view_digest(results.study, results.study.view_digest("figures", view.name))


def opened(view: View) -> tuple[Any, Any]:
    """Return the module that draws a figure of a study, and the options it is drawn with."""
    module = plugins.load("figures", view.module)
    return module, module.Options(**vars(view.options))


def style() -> Any:
    """Return the context in which figures are drawn and saved: the same on every machine, and texts as written."""
    return settings(**STYLE, **{"text.parse_math": False, "svg.hashsalt": "layerwise"})


def save(figure: Figure, stem: Path, caption: str = "") -> None:
    """Save a figure as SVG and PNG, the caption inside; the same figure gives the same bytes."""
    svg, png = (stem.with_name(f"{stem.name}.{kind}") for kind in ("svg", "png"))
    with warnings.catch_warnings(record=True) as told, style():
        warnings.simplefilter("always")
        _set_powers(figure)
        with store.replacing(svg) as path:
            metadata = {"Creator": "Layerwise", "Date": None, "Description": caption}
            figure.savefig(path, format="svg", dpi=PIXELS_PER_INCH, metadata=metadata)
            # A hundredth of a point is finer than any eye, and the six decimals of a path fill a third of the file.
            text = PATHS.sub(lambda d: DECIMALS.sub(r"\1", d[0]), path.read_text("utf-8"))
            path.write_text(NO_XML.sub("\N{REPLACEMENT CHARACTER}", text), "utf-8")
        with store.replacing(png) as path:
            metadata = {"Software": None, "Description": caption}
            figure.savefig(path, format="png", dpi=PIXELS_PER_INCH, metadata=metadata)
    for text in dict.fromkeys(" ".join(NO_XML.sub("", str(each.message)).split()) for each in told):
        warnings.warn(f"{svg}: {text}", LayerwiseWarning, stacklevel=2)  # a letter that the font has not, no room left


def _set_powers(figure: Figure) -> None:
    """Let the powers of ten along a logarithmic axis be set as mathematics, which all other texts are not."""
    for axis in figure.findobj(Axis):
        for formatter, ticks, places in (
            (axis.get_major_formatter(), axis.get_major_ticks, axis.get_majorticklocs),
            (axis.get_minor_formatter(), axis.get_minor_ticks, axis.get_minorticklocs),
        ):
            if isinstance(formatter, LogFormatter):
                for tick in ticks(1 + 2 * len(places())):  # more than there will be once panels have their final sizes
                    tick.label1.set_parse_math(True)
                    tick.label2.set_parse_math(True)
