"""What ``make golden`` does: vouch for the code of methods whose golden fits are the same, and raise the revision else.

Bytes depend on the processor and on torch, so digests are kept for each kind of machine, and a difference counts only
between two fits on this very machine. Where the digests of a kind are missing or differ, the code that was last
vouched for is therefore fetched from git and fitted here first. No torch here but for the fits.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layerwise import environment, plugins, store
from layerwise.errors import LayerwiseError
from layerwise.study import identity

DIGESTS = identity.REVISIONS.with_name("digests.json")  # for each kind of machine, the digest of each golden fit


def check() -> None:
    """Refuse code that is not that of its golden fits; LayerwiseError names whose."""
    edited = [_called(name) for name in identity.names() if not identity.vouched(name)]
    gone = [_called(name) for name in _gone()]
    said = [f"{', '.join(edited)}: the code is not that of the golden fits"] if edited else []
    said += [f"{', '.join(gone)}: there are golden fits and no code"] if gone else []
    if said:
        raise LayerwiseError(f"{'; '.join(said)}; run make golden")


def _called(name: str) -> str:
    return f"method {name!r}" if name != identity.SCORES else "the scores"


def _gone() -> list[str]:
    return sorted(set(identity.revisions()) - set(identity.names()))


def golden(again: bool = False) -> Iterator[str]:
    """Fit the golden set, vouch for the code or raise its revision; yields what to print.

    What is vouched for is fitted only where `again` is said: a machine then has its digests recorded.
    """
    names = [name for name in identity.names() if again or not identity.vouched(name)]
    if not names and not _gone():
        yield "all code is that of its golden fits; golden --all fits them nevertheless"
        return
    from layerwise.golden import fits

    kind = machine_kind()
    revisions = {name: dict(known) for name, known in identity.revisions().items() if name not in _gone()}
    every: dict[str, dict[str, str]] = store.read_json(DIGESTS) if DIGESTS.is_file() else {}
    made = {name: dict(fits.digests([name])) for name in names}
    known = {name: _of(name, every.get(kind, {})) for name in names}
    edited = [name for name in names if name in revisions and not identity.vouched(name)]
    unsure = [name for name in edited if any(known[name].get(fit) != digest for fit, digest in made[name].items())]
    before = _earlier(unsure, revisions)
    for name in names:
        past = before.get(name, known[name])
        differ = [fit for fit, digest in made[name].items() if past.get(fit, digest) != digest]
        if name not in revisions:
            revisions[name] = {"revision": 1}
            said = f"new, {len(made[name])} golden fits, revision 1"
        elif name not in edited:
            said = f"the code of revision {revisions[name]['revision']}, {len(made[name])} golden fits"
            if any(known[name].get(fit, digest) != digest for fit, digest in made[name].items()):
                said += "; other bytes than recorded for this kind of machine, whose record is made anew"
        elif not past:
            raise LayerwiseError(
                f"{_called(name)}: no golden fit of its earlier code on a {kind}, here or in git: check out the last "
                "commit that 'python -m layerwise golden --check' passes, run make golden there, then here"
            )
        elif differ or not made[name].keys() & past.keys():
            revisions[name]["revision"] += 1
            yield from (f"differs: {fit}" for fit in differ)
            said = f"{len(differ)} of {len(made[name])} golden fits differ, now revision {revisions[name]['revision']}"
            for machine in every:  # what other machines have is of the earlier revision
                every[machine] = {k: v for k, v in every[machine].items() if k not in _of(name, every[machine])}
        else:
            said = f"{len(made[name])} golden fits are the same, vouched for as revision {revisions[name]['revision']}"
        revisions[name]["text"] = identity.text(name)
        yield f"{_called(name)}: {said}"
    kept = {fit: digest for fit, digest in every.get(kind, {}).items() if _owner(fit) in set(revisions) - set(names)}
    every[kind] = kept | {fit: digest for name in names for fit, digest in made[name].items()}
    store.write_json(DIGESTS, every)
    store.write_json(identity.REVISIONS, revisions)


def _owner(fit: str) -> str:
    """Return the method that a golden fit is of (its name begins so, see `cases.Case.name`)."""
    return fit.partition(":")[0]


def _of(name: str, digests: dict[str, str]) -> dict[str, str]:
    return {fit: digest for fit, digest in digests.items() if _owner(fit) == name}


def machine_kind() -> str:
    """Return what decides the last digits of a fit: whose processor, its instructions, and torch's version."""
    import torch

    vendor = "processor"
    cpu = Path("/proc/cpuinfo")
    if cpu.is_file():
        lines = [line.partition(":") for line in cpu.read_text(encoding="utf-8", errors="replace").splitlines()]
        vendor = next((value.strip() for key, _, value in lines if key.strip() == "vendor_id"), vendor)
    return f"{vendor} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__.partition('+')[0]}"


# ---------------------------------------------------------------- the code that was last vouched for


def _earlier(names: list[str], revisions: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the digests of the golden fits of methods as earlier code makes them on this machine.

    That is the code of the last commit that vouches for itself at the present revisions; methods of which there is
    none are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for commit in _commits() if names else []:
        if len(found) == len(names):
            break
        there = json.loads(_git("show", f"{commit}:./golden/revisions.json") or "{}")
        ours = [
            name
            for name in names
            if name not in found and there.get(name, {}).get("revision") == revisions[name]["revision"]
        ]
        if ours:
            digests = _fitted_at(commit, ours)
            found |= {name: _of(name, digests) for name in ours if _of(name, digests)}
    return found


def _commits() -> list[str]:
    """Return the commits to look at, newest first: this one, and those that vouched for something."""
    return list(dict.fromkeys((_git("rev-parse", "HEAD") + _git("log", "--format=%H", "--", "golden")).split()))


def _fitted_at(commit: str, names: list[str]) -> dict[str, str]:
    """Return the digests that the code of a commit makes here of the methods that it vouches for itself."""
    archive = _git("archive", "--format=tar", commit, ".", text=False)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(Path(folder) / plugins.PACKAGE.name, filter="data")
        # Its own word for what it vouches for, and then its own golden fits; both of its own modules alone.
        code = (
            "import json, sys; from layerwise.study import identity\n"
            "names = [name for name in sys.argv[1:] if identity.vouched(name)]\n"
            "from layerwise.golden import fits\n"
            "json.dump(dict(fits.digests(names)), sys.stdout)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *names],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = (done.stderr.splitlines() or ["no word"])[-1]
        print(f"layerwise: the golden fits of commit {commit[:12]} failed and are left out: {said}", file=sys.stderr)
        return {}
    return json.loads(done.stdout)


def _git(*words: str, text: bool = True) -> Any:
    """Return what git says in the package's folder; nothing where it fails or there is none."""
    said = environment.git(plugins.PACKAGE, *words)
    return said.decode() if text else said
