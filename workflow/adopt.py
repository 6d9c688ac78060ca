"""adopt.py STUDY: bring a study's heavy files from DVC's remote, and let Snakemake take all its files as its own.

A pull sets times in no order and brings no Snakemake metadata: without this, Snakemake would make all anew. And a pull
takes what a remote has under a name for what the name says. Here every file is held against the hash in dvc.lock, which
git keeps, before anything in results/ is touched.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from layerwise.errors import LayerwiseError
from layerwise.study import file as study_file
from layerwise.study import text

LOCK = Path("dvc.lock")
ABSENT = "is not in the remote; see dvc remote list, and dvc push from where it was made"
CHANGED = "is not what dvc.lock asks for: changed in the remote, or cut short; dvc push it anew from where it was made"
STAGES = ("asked", "data", "networks", "study")
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def adopt(name: str) -> None:
    if not text.NAME.fullmatch(name):
        raise LayerwiseError(f"study {name!r}: name one file of studies/, such as STUDY=quick")
    study = study_file.load(f"studies/{name}.yaml")
    locked = stages(name)
    outs = {out["path"]: out["md5"] for stage in locked.values() for out in stage["outs"]}
    asked = {
        dep["path"].rpartition("/")[2]: dep["md5"]
        for stage in locked.values()
        for dep in stage.get("deps", ())
        if dep["path"].startswith(f"results/{name}/.asked/")
    }
    if asked != {key: md5(f"{digest}\n".encode()) for key, digest in study.asked_digests().items()}:
        raise LayerwiseError(
            f"study {name}: its files are not of the options and code here; run: dvc repro study@{name}"
        )
    for path, want in outs.items():
        if not want.endswith(".dir") and not (Path(path).is_file() and md5(Path(path)) == want):
            raise LayerwiseError(f"{path}: not as dvc.lock has it: see git diff; nothing was taken up")
    bring({path: want for path, want in outs.items() if want.endswith(".dir")})
    targets = [f"{stage}@{name}" for stage in STAGES]
    run("dvc", "checkout", "--quiet", *targets)
    if run("dvc", "status", "--json", *targets[1:]).strip() != "{}":
        raise LayerwiseError(
            f"study {name}: its files are not of the options and code here; run: dvc repro study@{name}"
        )
    run("snakemake", "--cores", "1", "--quiet", "all", "--touch", "--forceall", "--", name)
    print(f"== study {name} is adopted: snakemake --dry-run {name} has nothing to do")


def stages(name: str) -> dict[str, Any]:
    """Return what dvc.lock has of the stages of a study."""
    again = f"bring the one that was committed with the results, or run: dvc repro study@{name}"
    try:
        content = yaml.safe_load(LOCK.read_text(encoding="utf-8"))
        found = {stage: content["stages"].get(f"{stage}@{name}") for stage in STAGES}
        for stage in filter(None, found.values()):
            for out in [*stage["outs"], *stage.get("deps", ())]:
                if not (isinstance(out["path"], str) and MD5.fullmatch(out["md5"])):
                    raise TypeError
    except FileNotFoundError:
        raise LayerwiseError(f"{LOCK}: no such file here; {again}") from None
    except OSError as error:
        raise LayerwiseError(f"{LOCK}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, AttributeError, KeyError, TypeError):
        raise LayerwiseError(f"{LOCK}: not as DVC writes it, a conflict of git perhaps; {again}") from None
    missing = [stage for stage, content in found.items() if not content]
    if missing:
        raise LayerwiseError(f"{LOCK}: has no {missing[0]}@{name}; {again}")
    return found


def bring(folders: dict[str, str]) -> None:
    """Bring all files of folders into DVC's cache, once they, and what stands in their place, are what they should be.

    Parameters
    ----------
    folders
        Where each belongs, with the hash of its list of files.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            cache, remote = repo.cache.local, repo.cloud.get_remote_odb(None, "pull")
            into_cache(cache, remote, folders)
            wanted = {}
            for folder, want in folders.items():
                wanted |= listed(folder, Path(cache.oid_to_path(want)))
            kept(cache, folders, wanted)
            into_cache(cache, remote, wanted)
            for path, want in wanted.items():
                if "/.made/" in path:
                    shown(path, Path(cache.oid_to_path(want)))
    except (DvcException, ImportError) as error:
        raise LayerwiseError(f"DVC: {' '.join(str(error).split())}") from None


def into_cache(cache: Any, remote: Any, wanted: dict[str, str]) -> None:
    """Bring what the cache lacks of files, by their hashes; nothing goes there that is not what its name says."""
    from dvc.fs import LocalFileSystem

    lacking = {oid: path for path, oid in wanted.items() if not right(Path(cache.oid_to_path(oid)), oid)}
    if not lacking:
        return
    Path(cache.path).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".adopt", dir=cache.path) as folder:

        def fetched(oid: str) -> str | None:
            try:
                remote.fs.get(remote.oid_to_path(oid), f"{folder}/{oid}")
            except FileNotFoundError:
                return ABSENT
            except Exception as error:  # each kind of remote has its own
                return f"cannot be read ({' '.join(str(error).split()) or type(error).__name__}); see dvc remote list"
            return None if right(Path(folder, oid), oid) else CHANGED

        with ThreadPoolExecutor(8) as pool:
            wrong = [(oid, why) for oid, why in zip(lacking, pool.map(fetched, lacking), strict=True) if why]
        if len(wrong) == len(lacking) and CHANGED not in dict(wrong).values():
            wrong = wrong[:1]  # it is the remote, and not the files
        if wrong:
            lines = (f"{lacking[o]}: nothing was taken up: {remote.oid_to_path(o)} {why}" for o, why in wrong)
            raise LayerwiseError("\nlayerwise: ".join(lines))
        for oid in lacking:
            Path(cache.oid_to_path(oid)).unlink(missing_ok=True)
            cache.add(f"{folder}/{oid}", LocalFileSystem(), oid, hardlink=True)


def listed(folder: str, manifest: Path) -> dict[str, str]:
    """Return the files of a folder and their hashes, as DVC's list of it has them."""
    wanted = {}
    for entry in json.loads(manifest.read_text(encoding="utf-8")):
        inside = PurePosixPath(entry["relpath"])
        if inside.is_absolute() or ".." in inside.parts or not MD5.fullmatch(entry["md5"]):
            raise LayerwiseError(
                f"{folder}: dvc.lock asks for a file outside of it, {str(inside)!r}; nothing was taken up"
            )
        wanted[f"{folder}/{inside}"] = entry["md5"]
    return wanted


def kept(cache: Any, folders: dict[str, str], wanted: dict[str, str]) -> None:
    """Refuse to write over what is in no other place."""
    for folder in folders:
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.name != ".lock" and not path.name.startswith(".resume."):
                has = md5(path)
                if wanted.get(path.as_posix()) != has and not Path(cache.oid_to_path(has)).is_file():
                    raise LayerwiseError(
                        f"{path}: here it is another, that no other place has; nothing was taken up: move "
                        f"{folder} away first, or keep it and run dvc repro"
                    )


def shown(path: str, record: Path) -> None:
    """Hold tables, figures and verdicts, which are git's, against what was noted down when they were made."""
    folder = Path(path.replace("/.made/", "/", 1)).parent
    for name, want in json.loads(record.read_text(encoding="utf-8")).get("files", {}).items():
        if not (folder / name).is_file() or hashlib.sha256((folder / name).read_bytes()).hexdigest() != want:
            raise LayerwiseError(f"{folder / name}: not as it was made: see git diff; nothing was taken up")


def right(path: Path, oid: str) -> bool:
    return path.is_file() and md5(path) == oid.removesuffix(".dir")


def md5(what: Path | bytes) -> str:
    if isinstance(what, bytes):
        return hashlib.md5(what, usedforsecurity=False).hexdigest()
    with what.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.strip()]
        raise LayerwiseError(f"{' '.join(command[:2])}: {' '.join(said) or f'ended with {done.returncode}'}")
    return done.stdout


if __name__ == "__main__":
    try:
        adopt(" ".join(sys.argv[1:]))
    except LayerwiseError as error:
        sys.exit(f"layerwise: {error}")
