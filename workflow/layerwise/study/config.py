"""The configuration: what config.yaml says, and what ``--config`` or ``--configfile`` says in its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError
from layerwise.study import schema, text
from layerwise.study.model import seed_list


def configured(given: dict[str, Any], file: Path = Path("config.yaml")) -> dict[str, Any]:
    """Return the configuration, checked and with its defaults; LayerwiseError says what is wrong, and where.

    Parameters
    ----------
    given
        As Snakemake has it, which reads numbers in a list of ``--config`` as text.
    """
    check_file(file)
    seeds = given.get("seeds")
    if isinstance(seeds, list):
        seeds = [int(s) if isinstance(s, str) and re.fullmatch("[0-9]{1,19}", s) else s for s in seeds]
        given = {**given, "seeds": seeds}
    if isinstance(study := given.get("study"), int | float):  # Snakemake takes 2024_1 for 20241, in quotes or not
        raise LayerwiseError(
            f"--config or --configfile: study: {study!r} is a number; name the study as the target, after --"
        )
    _check(given, "--config or --configfile")
    return schema.with_defaults(given, "config")


def check_file(file: Path = Path("config.yaml")) -> None:
    """Refuse a config.yaml that is not right, in one line: Snakemake itself gives a traceback for some."""
    if file.is_file():
        _check(schema.read_yaml(file), str(file))


def _check(content: dict[str, Any], where: str) -> None:
    schema.validate(content, "config", where)
    text.check_plain(content, where)
    if content.get("seeds") is not None:
        seed_list(content["seeds"])
