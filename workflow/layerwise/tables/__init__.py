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

from pathlib import Path
from typing import Any

import pandas as pd

from layerwise import plugins, store
from layerwise.results import made
from layerwise.results.study_results import StudyResults
from layerwise.study.model import View
from layerwise.study.trie import home
from layerwise.tables._format import escaped, markdown, readable


def make(results: StudyResults, view: View) -> None:
    """Make a table of a study, as ``results/<study>/tables/<name>.csv`` and ``.md``."""
    module, options = opened(view)
    table = module.make(results, options)
    own, columns = files(results, view), store.text_columns(table)
    with made.making(results.study, f"tables/{view.name}", digest(results, view), own, columns) as (csv, text):
        store.write_csv(csv, table)
        store.write_text(text, f"{markdown(readable(table))}\n{escaped(module.caption(results, options))}\n")


def read(results: StudyResults, view: View) -> pd.DataFrame:
    """Read a table as it was made; LayerwiseError where it was made for anything else than the study asks for now."""
    own = files(results, view)
    columns = made.check(results.study, f"tables/{view.name}", digest(results, view), own, "table")
    return store.read_csv(own[0], [], columns)


def files(results: StudyResults, view: View) -> list[Path]:
    stem = home(results.study.name) / "tables" / view.name
    return [stem.with_name(f"{stem.name}.{kind}") for kind in ("csv", "md")]


def digest(results: StudyResults, view: View) -> str:
    return made.view_digest(results.study, results.study.view_digest("tables", view.name))


def opened(view: View) -> tuple[Any, Any]:
    """Return the module that makes a table of a study, and the options it is made with."""
    module = plugins.load("tables", view.module)
    return module, module.Options(**vars(view.options))
