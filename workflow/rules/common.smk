# What the rules share: a study that is asked for, read once, and functions from wildcards to its files and digests.
import functools
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from layerwise import environment
from layerwise.errors import LayerwiseError
from layerwise.preparation import folder
from layerwise.results.made import forget_what_is_gone
from layerwise.study import file as study_file
from layerwise.study import model
from layerwise.study.config import check_file, configured
from layerwise.study.text import NAME
from layerwise.study.trie import prefixes

environment.pass_to_jobs()
environment.forget_dead_runs(Path(".snakemake"))

try:
    check_file()
except LayerwiseError as error:
    sys.exit(f"layerwise: {error}")


configfile: "config.yaml"


try:
    config = configured(config)
except LayerwiseError as error:
    sys.exit(f"layerwise: {error}")

GPU = int(config["device"] == "cuda")
SPREAD = " --spread" if config["concurrent"] == "processes" else ""
SEEDS = "" if config["seeds"] is None else " ".join(["--seeds", *map(str, model.seed_list(config["seeds"]))])


wildcard_constraints:
    study=NAME.pattern,
    dataset=NAME.pattern,
    group="seeds|seed[0-9]+",
    path=f"{NAME.pattern}([+/]{NAME.pattern})*",
    name=NAME.pattern,


def said(function):
    """Let a user's mistake, in a study that a target asks for, be one line in place of a traceback."""

    @functools.wraps(function)
    def wrapped(*args, **more):
        try:
            return function(*args, **more)
        except LayerwiseError as error:
            sys.exit(f"layerwise: {error}")

    return wrapped


@functools.cache
def study(name):
    """A study, read when it is first asked for: one that is not stops no other."""
    plan = study_file.load(f"studies/{name}.yaml", config["seeds"])
    forget_what_is_gone(plan)
    return plan


# ------------------------------------------------------------ where things lie


def made(study, *, dataset="{dataset}", group="{group}", path="{path}", name="node"):
    """The one file that Snakemake knows of a node and a group of seeds: written last, it says what was made."""
    return f"results/{study}/networks/{dataset}/{group}/{path}/{name}.json"


def each_group(plan, dataset, path, name="node"):
    return [str(plan.marker(dataset, group, path, name)) for group in plan.groups(dataset)]


def known(wildcards):
    """The study of a job, once its data set, seeds and path are known to be of it."""
    plan = study(wildcards.study)
    plan.demand(wildcards.dataset, wildcards.get("path"))
    if "group" in wildcards.keys() and wildcards.group not in plan.groups(wildcards.dataset):
        has = ", ".join(plan.groups(wildcards.dataset))
        raise LayerwiseError(f"{wildcards.group!r} is no group of seeds of {wildcards.dataset!r} here: {has}")
    return plan


# ------------------------------------------------------------ what a job takes in


def dataset_of(plan, dataset):
    return f"results/{plan.name}/datasets/{dataset}/dataset.json"


@said
def before(wildcards):
    """What has to be made before a node: the data set, its parent, its nearest checkpoint, networks that it looks at."""
    plan, path = known(wildcards), wildcards.path
    *parents, _ = prefixes(path)
    here = functools.partial(made, plan.name, dataset=wildcards.dataset, group=wildcards.group)
    kept = [p for p in parents if plan.kept(p)]
    return [
        dataset_of(plan, wildcards.dataset),
        *(here(path=p) for p in [*parents[-1:], *plan.segment(path).uses]),
        *(here(path=p, name="features") for p in kept[-1:]),
    ]


@said
def fitted(wildcards):
    """A node itself, for what is done with it."""
    plan = known(wildcards)
    return [dataset_of(plan, wildcards.dataset), made(**wildcards_of(wildcards))]


@said
def processes(wildcards):
    """How many processes share the fit of a node: those of all partitions of its segment, where these are spread."""
    options = known(wildcards).segment(wildcards.path).options
    return getattr(options, "processes", 1) if SPREAD else 1


def wildcards_of(wildcards):
    return {key: wildcards[key] for key in ("study", "dataset", "group", "path")}


@said
def looked_at(wildcards):
    """The networks of a data set that a probe looks at."""
    plan = known(wildcards)
    here = functools.partial(made, plan.name, dataset=wildcards.dataset, group=wildcards.group)
    paths = plan.looked_at(wildcards.name, wildcards.dataset)
    return [dataset_of(plan, wildcards.dataset), *(here(path=p) for p in paths)]


@said
def prepared(wildcards, name=None):
    """The data sets of a study."""
    plan = study(name or wildcards.study)
    return [dataset_of(plan, dataset) for dataset in plan.networks]


@said
def gathered(wildcards, name=None):
    """All nodes of a study."""
    plan = study(name or wildcards.study)
    nodes = [file for d in plan.networks for p in plan.paths(d) for file in each_group(plan, d, p)]
    return prepared(wildcards, plan.name) + nodes


@said
def elsewhere(wildcards):
    """Fits from another machine of what a study leaves out here, where there are any."""
    plan = study(wildcards.study)
    return [str(plan.elsewhere)] if plan.left_out and plan.elsewhere.is_file() else []


@said
def counted(wildcards):
    """The memory of the training steps of what a study leaves out, where it can be counted."""
    plan = study(wildcards.study)
    return [f"results/{plan.name}/steps.csv"] if plan.counted else []


@said
def seen(wildcards, name=None):
    """What the probes of a study wrote down."""
    plan = study(name or wildcards.study)
    looks = dict.fromkeys((name, dataset) for name, dataset, _ in plan.looks())
    return [
        f"results/{plan.name}/networks/{d}/{group}/probe.{name}.json" for name, d in looks for group in plan.groups(d)
    ]


@said
def checkpoints(wildcards, name=None):
    """The features that a study keeps."""
    plan = study(name or wildcards.study)
    return [
        file
        for d in plan.networks
        for p in plan.paths(d)
        if plan.kept(p)
        for file in each_group(plan, d, p, "features")
    ]


@functools.cache
def tell(name):
    """Say once, before a whole study is planned, what it will fit, and which networks have one label."""
    from layerwise.results import owed  # which takes pandas: jobs read this file too, and plan no whole study

    plan = study(name)
    for line in study_file.twins(plan):
        print(f"layerwise: warning: {line}", file=sys.stderr)
    print(f"layerwise: {owed.in_words(plan)}", file=sys.stderr)


@said
def targets(wildcards, name=None):
    """What a whole study ends in."""
    plan = study(name or wildcards.study)
    tell(plan.name)
    return [f"results/{plan.name}/{target}" for target in plan.targets()]


@said
def unknown(wildcards):
    """Nothing: a name that no study and no rule has, and no file."""
    raise LayerwiseError(study_file.no_target(wildcards.target, Path("studies")))


@said
def shown(wildcards):
    """What the report of a study shows."""
    return [name for name in targets(wildcards) if Path(name).name != "report.html"]


# ------------------------------------------------------------ what a job needs of a machine


def memory(wildcards, attempt):
    """MB: as much again at every attempt, for a job that ended for want of it. A profile says how many there are."""
    return 4000 * attempt


def launcher(wildcards, resources):
    """What starts a fit that several processes share, where a profile gives it tasks; a fit is the same without it."""
    if not resources.get("mpi"):
        return ""
    process = shlex.quote(str(Path(workflow.basedir) / "workflow/process.sh"))
    return f"{resources.mpi} --nodes={resources.nodes} --ntasks={resources.tasks} bash {process} "


# ------------------------------------------------------------ what a job is done for, as digests


def data_root(wildcards):
    """The folder of downloaded data sets; given by a function, its braces are no wildcards."""
    return config["data_root"]


@said
def seeds(wildcards):
    plan = known(wildcards)
    return (
        plan.seeds_of(wildcards.dataset) if wildcards.group == "seeds" else [int(wildcards.group.removeprefix("seed"))]
    )


@said
def dataset_digest(wildcards):
    return model.digest_of(known(wildcards).dataset_spec(wildcards.dataset))


@functools.cache
def _files_digest(study_name, dataset):
    source, options, _ = study(study_name).dataset(dataset)
    return folder.digest(source, options)


@said
def files_digest(wildcards):
    """The user's own files, where a data set is made of them. As inputs of a job they would be printed with it, one by
    one, and not be seen where an older file takes the place of one."""
    known(wildcards)
    return _files_digest(wildcards.study, wildcards.dataset)


@said
def node_digest(wildcards):
    return known(wildcards).plan_digest(wildcards.dataset, wildcards.path)


@said
def probe_digest(wildcards):
    plan = known(wildcards)
    paths = plan.looked_at(wildcards.name, wildcards.dataset)
    nodes = [plan.plan_digest(wildcards.dataset, p) for p in paths]
    return model.digest_of([plan.probe_digest(wildcards.name), nodes])


@said
def results_digest(wildcards):
    return study(wildcards.study).results_digest()


@said
def steps_digest(wildcards):
    return study(wildcards.study).steps_digest()


@said
def figure_digest(wildcards):
    return study(wildcards.study).view_digest("figures", wildcards.name)


@said
def table_digest(wildcards):
    return study(wildcards.study).view_digest("tables", wildcards.name)


@said
def verdicts_digest(wildcards):
    return study(wildcards.study).verdicts_digest()


@said
def report_digest(wildcards):
    return study(wildcards.study).report_digest()
