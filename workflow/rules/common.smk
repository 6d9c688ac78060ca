# What the rules share: the studies, and functions from a study and wildcards to files.
import os
import re
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from layerwise import environment, plugins
from layerwise.study import file as study_file, model as studies, schema
from layerwise.preparation.folder import files
from layerwise.errors import LayerwiseError
from layerwise.study.trie import Node, SPLITS, dataset_folder

environment.pass_to_jobs()
environment.forget_dead_runs(Path(".snakemake"))


def here(paths):
    """Paths as seen from the working directory: a clone that moves is not another workflow."""
    return [Path(os.path.relpath(path)) for path in paths]


try:
    schema.validate(config, "config", "config.yaml")
    config = schema.with_defaults(config, "config")
    STUDIES = {path.stem: study_file.load(path, config["seeds"]) for path in sorted(Path("studies").glob("*.yaml"))}
    if config["study"] not in STUDIES:
        study_file.load(f"studies/{config['study']}.yaml")  # says which studies there are
except LayerwiseError as error:
    sys.exit(f"layerwise: {error}")

GPU = int(config["device"] == "cuda")
SEEDS = "" if config["seeds"] is None else " ".join(["--seeds", *map(str, next(iter(STUDIES.values())).seeds)])
# What a job does for all seeds is one rule for each list of seeds; the first has the plain name.
PARTS = [(part, f"_{i}" if i > 1 else "") for plan in STUDIES.values() for i, part in enumerate(plan.parts(), 1)]


# ------------------------------------------------------------ patterns of outputs


def each_seed(plan, *names):
    """Files of a node: of one seed (a wildcard), or of all seeds where one job fits them together."""
    folder = f"results/{plan.name}/networks/{{dataset}}/seed{{seed}}/{{path}}"
    patterns = [f"{folder}/{name}" for name in names]
    if not plan.seeds_together:
        return patterns
    return [p.replace("{seed}", str(s)) for s in plan.seeds for p in patterns]


def aside(plan, top, rule, ending):
    """A log or benchmark beside the results, with the wildcards of the rule's outputs."""
    seed = "" if plan.seeds_together else "seed{seed}/"
    return f"{top}/{plan.name}/{rule}/{{dataset}}/{seed}{{path}}.{ending}"


def any_of(names):
    """A wildcard constraint that takes these names alone."""
    return "|".join(map(re.escape, sorted(names))) or "(?!)"


# ------------------------------------------------------------ inputs from a study and wildcards


def nodes(plan, wildcards):
    """The nodes that a job works on."""
    seeds = plan.seeds if plan.seeds_together else [int(wildcards.seed)]
    return [Node(plan.name, wildcards.dataset, s, wildcards.path) for s in seeds]


def seeds_of(plan, wildcards):
    return [node.seed for node in nodes(plan, wildcards)]


def taken_in(plan, wildcards, splits=SPLITS):
    """What the segments of a job take in: the features of their parents, and the records that vouch for them."""
    folders = {node.source for node in nodes(plan, wildcards)}
    files = [f / f"{split}.safetensors" for f in folders for split in splits]
    records = [n.parent.folder / "fit.json" for n in nodes(plan, wildcards) if n.parent]
    root = dataset_folder(plan.name, wildcards.dataset)
    # Every step reads the labels, which lie with the data set alone.
    files += [root / f"{split}.safetensors" for split in splits]
    return sorted({*files, *records, root / "dataset.json"})


def fit_inputs(plan, wildcards):
    """What a fit takes in: training and validation features, and the networks that its segment looks at."""
    used = [
        Node(plan.name, node.dataset, node.seed, path)
        for node in nodes(plan, wildcards)
        for path in plan.segment(wildcards.path).uses
    ]
    return taken_in(plan, wildcards, ("train", "valid")) + [
        node.folder / name for node in used for name in ("segment.safetensors", "fit.json")
    ]


def of_nodes(plan, wildcards, names):
    """Files in the folders of the nodes that a job works on."""
    return [node.folder / name for node in nodes(plan, wildcards) for name in names]


def fit_code(plan, wildcards):
    return here(plugins.sources("methods", plan.segment(wildcards.path).method))


def fit_spec(plan, wildcards):
    """The digest of what a fit depends on, apart from its input files: another option is another digest."""
    spec = {**plan.segment_spec(wildcards.path), "code": None}
    return studies.digest_of(spec)


def dataset_inputs(plan, wildcards):
    """The code of a source, and the user's own files where the source reads them."""
    source, options, _ = plan.dataset(wildcards.dataset)
    try:
        return here(plugins.sources("datasets", source) + files(options))
    except LayerwiseError as error:
        sys.exit(f"layerwise: {error}")


def dataset_spec(plan, wildcards):
    return studies.digest_of({**plan.dataset_spec(wildcards.dataset), "code": None})


def targets(plan):
    """What a whole study ends in."""
    return [f"results/{plan.name}/{name}" for name in plan.targets()]


def elsewhere(plan):
    """Fits from another machine of what a study leaves out here, where there are any."""
    return here([plan.elsewhere]) if plan.left_out and plan.elsewhere.is_file() else []


def scored(plan):
    """The records of all fits of a study."""
    return [node.folder / name for node in plan.nodes() for name in ("fit.json", "score.json")]


def kept(plan):
    """The features that a study marks to keep."""
    return [node.folder / f"{split}.safetensors" for node in plan.nodes() if plan.kept(node.path) for split in SPLITS]


def seen(plan):
    """What the probes of a study wrote down."""
    return [
        Node(plan.name, dataset, seed, path).folder / f"{probe}.csv"
        for probe, dataset, path in plan.looks()
        for seed in plan.seeds_of(dataset)
    ]


def lineage(plan, wildcards):
    """The fits of all segments of a network, and the data set that a probe sends through them."""
    fits = [
        each.folder / name
        for node in nodes(plan, wildcards)
        for each in node.lineage
        for name in ("segment.safetensors", "fit.json")
    ]
    root = dataset_folder(plan.name, wildcards.dataset)
    return fits + [root / name for name in (*(f"{split}.safetensors" for split in SPLITS), "dataset.json")]


def code_of(name):
    """A file of the package, and those that it imports."""
    return here(plugins.closure(plugins.PACKAGE / name))


def probe_code(plan, wildcards):
    return here(plugins.sources("probes", plan.probes[wildcards.probe].module))


def probe_inputs(plan, wildcards):
    """What the last segment of a network takes in, for a probe that follows its training; none for any other."""
    return fit_inputs(plan, wildcards) if plan.follows(wildcards.probe) else []


def probe_spec(plan, wildcards):
    return plan.view_digest("probes", wildcards.probe)


def view_code(plan, kind, wildcards):
    return here(plugins.sources(kind, getattr(plan, kind)[wildcards.name].module))


def view_spec(plan, kind, wildcards):
    return plan.view_digest(kind, wildcards.name)
