"""The studies of the repository. A user's own, which git does not know, are drafts, and stop no test."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def studies() -> list[Path]:
    """Return those that git knows; where there is no git, all."""
    command = ["git", "ls-files", "--cached", "--", "studies"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    known = {ROOT / name for name in listed}
    found = sorted((ROOT / "studies").glob("*.yaml"))
    return [path for path in found if path in known or not known]
