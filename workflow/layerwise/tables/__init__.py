"""Tables of a study, one file each.

A table's file holds a frozen dataclass ``Options`` (its fields are the study's keys, the string after a field
documents it) and

    def make(results: StudyResults, options: Options) -> pandas.DataFrame
    def caption(results: StudyResults, options: Options) -> str

A column ``<name>_half_width`` is the half width of the 95 % interval of the column ``<name>``: the two are one
column, as mean ± half width, wherever the table is read by people. As for methods, ``Options`` must stand on the
standard library, `layerwise.errors` and `layerwise.options` alone.
"""

from __future__ import annotations

from typing import Any

from layerwise import plugins, store
from layerwise.results.study_results import StudyResults
from layerwise.study.model import View
from layerwise.study.trie import home
from layerwise.tables._format import markdown, readable


def make(results: StudyResults, view: View) -> None:
    """Make a table of a study, as ``results/<study>/tables/<name>.csv`` and ``.md``."""
    module, options = opened(view)
    table = module.make(results, options)
    stem = home(results.study.name) / "tables" / view.name
    store.write_csv(stem.with_name(stem.name + ".csv"), table)
    text = f"{markdown(readable(table))}\n{module.caption(results, options)}\n"
    store.write_text(stem.with_name(stem.name + ".md"), text)


def opened(view: View) -> tuple[Any, Any]:
    """Return the module that makes a table of a study, and the options it is made with."""
    module = plugins.load("tables", view.module)
    return module, module.Options(**vars(view.options))
