# Layerwise: `snakemake --cores N [STUDY]`. Wiring only: what to run is in studies/, what is common in config.yaml.
from snakemake.utils import min_version

min_version("9.11")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/datasets.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/results.smk"


rule all:
    default_target: True
    input:
        targets(STUDIES[config["study"]]),
