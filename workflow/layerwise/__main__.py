"""The command line: one verb a rule of the workflow, and a few to look around with.

Every verb can be typed by hand, and none needs Snakemake or DVC.
"""

from __future__ import annotations

import argparse
import functools
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from layerwise import __version__, environment, store
from layerwise.errors import LayerwiseError, LayerwiseWarning
from layerwise.layers import words
from layerwise.study import file as study_file
from layerwise.study import model, trie
from layerwise.study.text import one_line, short

MOST_THREADS = 1024


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit status, 2 for a mistake that the user can mend."""
    environment.settle()
    parser = _parser()
    args = parser.parse_args(arguments)
    warnings.simplefilter("always", LayerwiseWarning)
    warnings.showwarning = _one_line
    log = logging.getLogger("layerwise")  # of long trainings: how far they are
    log.setLevel(logging.INFO)
    log.handlers = [_ToStderr()]
    try:
        args.run(args)
    except LayerwiseError as error:
        print(f"layerwise: {one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("layerwise: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except (MemoryError, RuntimeError) as error:
        if not _lacks_memory(error):
            raise
        said = " ".join(str(error).split())
        print(f"layerwise: out of memory ({said}); fit fewer samples or narrower layers", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Tell a lack of memory, on a CPU or a GPU, from torch's other errors."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in told or "can't allocate memory" in told


class _ToStderr(logging.Handler):
    """Shows the log on stderr as it is now, a line a message."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"layerwise: {one_line(record.getMessage())}", file=sys.stderr, flush=True)


def _one_line(message, category, filename, lineno, file=None, line=None) -> None:
    what = "layerwise: warning" if category is LayerwiseWarning else category.__name__
    print(f"{what}: {one_line(str(message))}", file=sys.stderr)


def _whole(word: str) -> int:
    """Return a whole number as it is written: 1_0 and 1e3 are none."""
    if not re.fullmatch("-?[0-9]{1,30}", word):
        raise argparse.ArgumentTypeError(f"{short(word)} is no whole number")
    return int(word)


def _count(word: str) -> int:
    """Return a number of things of which there is one at least."""
    if not 1 <= (count := _whole(word)) <= 10**6:
        raise argparse.ArgumentTypeError(f"{count}: from 1 to 1,000,000")
    return count


def _threads(word: str) -> int:
    """Return a number of threads that a machine may have."""
    if not 1 <= (threads := _whole(word)) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{threads}: from 1 to {MOST_THREADS}")
    return threads


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m layerwise", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(run, help: str, *more: str) -> None:
        p = verbs.add_parser(run.__name__.strip("_"), help=help, description=help, allow_abbrev=False)
        p.set_defaults(run=run)
        some = "?" if run is _show else None
        p.add_argument("study", nargs=some, help="the study file, such as studies/quick.yaml")
        p.add_argument("--seeds", nargs="+", type=_whole, metavar="SEED", help="in place of the study's own")
        p.add_argument("--left-out", action="store_true", help="the data sets that the study leaves out, and no other")
        for word in more:
            if word == "--device":
                p.add_argument(word, default="auto", help="auto, cpu or cuda")
                p.add_argument("--threads", type=_threads, default=min(os.cpu_count() or 1, MOST_THREADS))
            elif word == "--done":
                p.add_argument(
                    word, type=Path, metavar="FILE", help="write down, last, what was made: Snakemake's file"
                )
            elif word == "--spread":
                p.add_argument(
                    word, action="store_true", help="partitions by processes of their own, which torchrun starts here"
                )
            elif word == "--through":
                text = "shared by the processes of partitions (RANK, WORLD_SIZE) that have no network between them"
                p.add_argument(word, type=Path, metavar="FOLDER", help=text)
            elif word == "--data-root":
                p.add_argument(word, type=Path, default=Path("data"), help="folder of downloaded data sets")
            elif word == "--json":
                p.add_argument(word, action="store_true", help="print JSON with all scores, in place of CSV")
            elif word.endswith("..."):
                text = "images, folders of them, .csv or .safetensors with a sample a row"
                p.add_argument(word.removesuffix("..."), nargs="+", metavar="FILE", help=text)
            elif word.startswith("["):
                p.add_argument(word.strip("[]"), nargs="?")
            else:
                p.add_argument(word)

    node = ("dataset", "path", "--device", "--done")
    fits = (*node, "--spread", "--through")
    verb(_dataset, "prepare a data set", "dataset", "--data-root")
    verb(_fit, "fit the last segment of a path on what those before it give, and score it (torchrun: shared)", *fits)
    verb(_represent, "write what a fitted segment gives on every split, a checkpoint for its children", *node)
    verb(_probe, "look at fitted networks through a probe", "name", "dataset", "[path]", "--device", "--done")
    scored = ("dataset", "path")
    verb(
        _predict, "print class and score of new samples, by a fitted network", *scored, "files...", "--device", "--json"
    )
    verb(_export, "write a fitted network as one file, which layerwise.use.load_network reads", *scored, "file")
    verb(_fits, "gather all fits of a study in fits.csv")
    verb(_figure, "draw a figure, as SVG and PNG", "name")
    verb(_table, "make a table, as CSV and Markdown", "name")
    verb(_steps, "count the memory of training steps of networks that are left out, in steps.csv")
    verb(_verdicts, "hold the measured values against the published ones, in verdicts.csv")
    verb(_report, "write the report page of a study")
    verb(_all, "run a whole study in this process, without Snakemake", "--device", "--data-root")
    verb(_asked, "write the digests of what a study asks for, by which DVC goes")
    verb(_study, "print a study as JSON, which the other verbs read without PyYAML")
    verb(_show, "print the networks of a study, with every option of what it uses; without a study, all there are")
    help = "print the memory of a training step of a model, whole and block by block; nothing is trained"
    p = verbs.add_parser("memory", help=help, description=help, allow_abbrev=False)
    p.set_defaults(run=_memory)
    p.add_argument("model", help="such as vgg13_bn of torchvision, or 'timm mobilevitv2_100'")
    numbers = {"batch": (128, "images a step"), "size": (32, "their side"), "channels": (3, "their channels")}
    for name, (default, text) in {**numbers, "outputs": (10, "classes")}.items():
        p.add_argument(f"--{name}", type=_count, default=default, help=f"{text}, default {default}")
    p.add_argument("--optimizer", choices=("adamw", "adam", "sgd"), default="adamw")
    help = "gather all works and their verdicts in results/index.html and in the table of README.md"
    p = verbs.add_parser("index", help=help, description=help, allow_abbrev=False)
    p.set_defaults(run=_index)
    help = "fit the golden set, and vouch for code that gives the same weights: for who changes the package"
    p = verbs.add_parser("golden", help=help, description=help, allow_abbrev=False)
    p.set_defaults(run=_golden)
    either = p.add_mutually_exclusive_group()
    either.add_argument("--check", action="store_true", help="only tell whose code is not that of its golden fits")
    either.add_argument("--all", action="store_true", help="fit what is vouched for too, and record this machine's")
    return parser


# ---------------------------------------------------------------- one verb a rule


def _plan(args: argparse.Namespace) -> model.Study:
    return study_file.load(args.study, args.seeds, args.left_out)


def _warn_of_twins(plan: model.Study) -> None:
    for line in study_file.twins(plan):
        warnings.warn(line, LayerwiseWarning, stacklevel=2)


def _dataset(args: argparse.Namespace) -> None:
    from layerwise.run import loading

    loading.prepare_dataset(_plan(args), args.dataset, environment.data_root(args.data_root))


def _each_seed(args: argparse.Namespace, paths: Sequence[str], step: Callable[..., str], named: str) -> None:
    """Take a step on nodes, for every seed; then write down what was made, where that is asked for."""
    from layerwise.closed import shards
    from layerwise.gradient import partners
    from layerwise.run import loading, machine, processes, records

    plan = _plan(args)
    for path in paths:
        plan.demand(args.dataset, path)
    on = machine.device(args.device)
    if args.done:
        _check_done(args.done)
    machine.deterministic(on, args.threads)
    machine.keep_freed_memory()
    data = loading.read_dataset(plan, args.dataset)
    if named == "fit":
        processes.join(on, plan, args.dataset, args.path, data, args.through)
    made: dict[str, str] = {}
    try:
        for path in paths:
            for seed in plan.seeds_of(args.dataset):
                node = trie.Node(plan.name, args.dataset, seed, path)
                print(f"{named} {node}: {step(plan, node, data, on)}", flush=True)
                if args.done and shards.rank() == partners.rank() == 0:
                    made[str(node)] = records.score_digest(plan, records.read_fit(plan, node, data.record["digest"]))
        if made:
            store.write_json(args.done, {"made": made})
    finally:
        processes.leave()  # else gloo's threads, cut off where the interpreter ends, abort the process now and then


def _check_done(path: Path) -> None:
    """Refuse, before any work, a file to write down last what was made in, where there can be none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            return
        said = "it is a folder"
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
    raise LayerwiseError(f"{path}: cannot be written ({said}); name a file after --done")


def _fit(args: argparse.Namespace) -> None:
    if args.spread:
        _spread(args)
    from layerwise.run import node

    _each_seed(args, [args.path], node.fit, "fit")


def _spread(args: argparse.Namespace) -> None:
    """Go on as torchrun, with the processes of the segment's partitions, if it has several and this is the first."""
    plan = _plan(args)
    plan.demand(args.dataset, args.path)
    count = getattr(plan.segment(args.path).options, "processes", 1)
    if count == 1 or os.environ.get("WORLD_SIZE", "1") != "1":
        return
    words = ["fit", args.study, args.dataset, args.path, "--device", args.device]
    words += ["--threads", str(max(1, args.threads // count))]
    words += ["--seeds", *map(str, args.seeds)] if args.seeds else []
    words += ["--left-out"] if args.left_out else []
    words += ["--done", str(args.done)] if args.done else []
    words += ["--through", str(args.through)] if args.through else []
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    os.execv(sys.executable, [sys.executable, *torchrun, "-m", "layerwise", *words])


def _represent(args: argparse.Namespace) -> None:
    from layerwise.run import node

    _each_seed(args, [args.path], node.represent, "represent")


def _probe(args: argparse.Namespace) -> None:
    from layerwise.run import probe

    plan = _plan(args)
    view = plan.view("probes", args.name)
    paths = [args.path] if args.path else plan.looked_at(args.name, args.dataset)
    if not paths:
        raise LayerwiseError(f"probe {args.name!r} looks at no network of {args.dataset!r} in the study {plan.name}")
    _each_seed(args, paths, functools.partial(probe.probe, view=view), f"probe {args.name}")


def _one_seed(args: argparse.Namespace) -> model.Study:
    """Return the study, of whose seeds the first counts unless another is named."""
    if args.seeds and len(args.seeds) > 1:
        raise LayerwiseError(f"--seeds {' '.join(map(str, args.seeds))}: a network is of one seed; name one")
    return _plan(args)


def _predict(args: argparse.Namespace) -> None:
    import json

    from layerwise.run import machine
    from layerwise.use import fitted

    plan, on = _one_seed(args), machine.device(args.device)
    machine.deterministic(on, args.threads)
    network, _ = fitted.network_of(plan, args.dataset, args.path)
    rows = fitted.predictions(network, args.files, on)
    print(json.dumps(rows, indent=1) if args.json else fitted.table(rows), flush=True)


def _export(args: argparse.Namespace) -> None:
    from layerwise.use import export_network, fitted

    network, header = fitted.network_of(_one_seed(args), args.dataset, args.path)
    export_network(network, header, args.file)
    print(f"exported {args.dataset}/{args.path}, seed {header.origin['seed']}: {args.file}")


def _fits(args: argparse.Namespace) -> None:
    from layerwise.results import collect, elsewhere, made

    plan = _plan(args)
    if args.left_out:
        elsewhere.write(plan)
    else:
        try:
            table = collect.collect(plan)
        except LayerwiseError:
            for node in collect.owed(plan):  # what Snakemake believes to be made, and is not
                plan.marker(node.dataset, plan.group(node.dataset, node.seed), node.path).unlink(missing_ok=True)
            raise
        with made.making(plan, "fits", plan.results_digest(), [trie.home(plan.name) / "fits.csv"]) as (path,):
            store.write_csv(path, table)


def _figure(args: argparse.Namespace) -> None:
    from layerwise import figures
    from layerwise.results import study_results as results

    plan = _plan(args)
    figures.make(results.StudyResults(plan), plan.view("figures", args.name))


def _table(args: argparse.Namespace) -> None:
    from layerwise import tables
    from layerwise.results import study_results as results

    plan = _plan(args)
    tables.make(results.StudyResults(plan), plan.view("tables", args.name))


def _steps(args: argparse.Namespace) -> None:
    from layerwise.results import made
    from layerwise.run import steps

    plan = _plan(args)
    if not plan.counted:
        raise LayerwiseError(f"study {plan.name}: it leaves out no network whose training steps can be counted")
    digest, table = plan.steps_digest(), trie.home(plan.name) / "steps.csv"
    try:
        made.check(plan, "steps", digest, [table], "steps")
        print(f"steps of {plan.name}: already counted, left alone")  # large models take an hour
    except LayerwiseError:
        with made.making(plan, "steps", digest, [table], steps.TEXT) as (path,):
            store.write_csv(path, steps.count(plan))


def _verdicts(args: argparse.Namespace) -> None:
    from layerwise.results import made, published, study_results

    plan = _plan(args)
    results = study_results.StudyResults(plan)
    table = published.verdicts(plan, results.fits, results.elsewhere, results.steps, results.probe)
    digest = made.view_digest(plan, plan.verdicts_digest())
    with made.making(plan, "verdicts", digest, [trie.home(plan.name) / "verdicts.csv"]) as (path,):
        store.write_csv(path, table)


def _report(args: argparse.Namespace) -> None:
    from layerwise.report import page as report

    plan = _plan(args)
    report.write(plan, trie.home(plan.name) / "report.html")


# ---------------------------------------------------------------- all of them, and looking around


def _all(args: argparse.Namespace) -> None:
    from layerwise.run import machine

    plan = _plan(args)
    machine.device(args.device)  # one that is not there is known before any work
    _warn_of_twins(plan)

    def run(verb: str, *words: str) -> None:
        if main([verb, args.study, *words]):
            raise LayerwiseError(f"study {plan.name}: stopped at {verb} {' '.join(words)}")

    seeds = [*(["--left-out"] if args.left_out else []), *(["--seeds", *map(str, args.seeds)] if args.seeds else [])]
    where = ["--device", args.device, "--threads", str(args.threads)]
    for dataset in plan.networks:
        run("dataset", dataset, *seeds, "--data-root", str(args.data_root))
        for path in plan.paths(dataset):
            run("fit", dataset, path, *seeds, *where)
            if plan.kept(path):
                run("represent", dataset, path, *seeds, *where)
    for name, dataset in dict.fromkeys((name, dataset) for name, dataset, _ in plan.looks()):
        run("probe", name, dataset, *seeds, *where)
    run("fits", *seeds)
    if args.left_out:
        print(f"measured: {plan.elsewhere}; beside the study on another machine it counts in tables and verdicts")
        return
    if plan.counted:
        run("steps", *seeds)
    for name in plan.figures:
        run("figure", name, *seeds)
    for name in plan.tables:
        run("table", name, *seeds)
    run("verdicts", *seeds)
    run("report", *seeds)


def _asked(args: argparse.Namespace) -> None:
    plan = _plan(args)
    for name, digest in plan.asked_digests().items():
        store.write_text(trie.home(plan.name) / ".asked" / name, digest + "\n")


def _study(args: argparse.Namespace) -> None:
    import json

    print(json.dumps(study_file.marked(_plan(args).raw), indent=1))


def _show(args: argparse.Namespace) -> None:
    from layerwise.study import json_schema, reference

    if args.study is None:
        for section in reference.sections(store.read_json(json_schema.FILE)):
            print("\n".join(reference.lines(section)))
        return
    plan = _plan(args)
    _warn_of_twins(plan)
    print(f"{plan.name}: {plan.title}; seeds {plan.seeds_in_words()}")
    for dataset, networks in plan.networks.items():
        print(f"\n{dataset}")
        for path, label in networks.items():
            print(f"  {path:40} {label}")
    for kind, name in _used(plan):
        section = reference.of_plugin(kind, name, json_schema.options_schema(kind, name, {}))
        print("\n".join(reference.lines(section)))
    if any(isinstance(words.parse(word), words.Blocks) for s in plan.segments.values() for word in s.layers):
        from layerwise.run import blocks

        for line in blocks.report(plan):
            print(line, flush=True)


def _used(plan: model.Study) -> Iterator[tuple[str, str]]:
    """Give kind and name of every plugin that a study uses."""
    used = {
        "datasets": {plan.dataset(name)[0] for name in plan.networks},
        "selections": {s.selects.selection for s in plan.segments.values() if s.selects},
        "methods": {s.method for s in plan.segments.values()},
        **{kind: {view.module for view in getattr(plan, kind).values()} for kind in ("probes", "figures", "tables")},
    }
    yield from ((kind, name) for kind, names in used.items() for name in sorted(names))


def _memory(args: argparse.Namespace) -> None:
    from layerwise.run import memory

    sizes = {name: getattr(args, name) for name in ("batch", "size", "channels", "outputs")}
    for line in memory.report(args.model, **sizes, optimiser=args.optimizer):
        print(line, flush=True)


def _index(args: argparse.Namespace) -> None:
    from layerwise.report import index

    index.write()
    print(f"{index.PAGE} and the table in {index.README}")


def _golden(args: argparse.Namespace) -> None:
    from layerwise.golden import vouch

    if args.check:
        vouch.check()
        return
    for line in vouch.golden(args.all):
        print(line, flush=True)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # for what a terminal has no letter
    sys.exit(main())
