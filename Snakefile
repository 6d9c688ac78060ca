# Layerwise: `snakemake --cores N [STUDY]`. Wiring only: what to run is in studies/, what is common in config.yaml.
from snakemake.utils import min_version

min_version("9.11")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/results.smk"


onstart:
    # Snakemake's own limit, 100 jobs a second, arms one more timer at every job it finishes, and each plans anew every
    # second until the run ends: after 180 jobs of `dmn` they took a fifth of a core. A limit the user gives stays.
    limiter = workflow.scheduler.job_rate_limiter
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


rule all:
    default_target: True
    input:
        functools.partial(targets, name=config["study"]),
