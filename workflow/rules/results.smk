# What a study comes to: all fits in one table, figures, tables, verdicts, the report page. Each knows by digest what it
# is made for, so that a job that failed is owed until it is done, whatever stands there of an earlier run.
rule fits:
    input:
        gathered,
    output:
        "results/{study}/.made/fits.json",
    log:
        "logs/{study}/fits.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        seeds=SEEDS,
        digest=results_digest,
    message:
        "gather the fits of {wildcards.study}"
    shell:
        "python -m layerwise fits studies/{wildcards.study}.yaml {params.seeds} > {log} 2>&1 || {{ cat {log} >&2; false; }}"


# What a training step of a left-out network would take: no data is needed, and nothing is trained.
rule steps:
    output:
        "results/{study}/steps.csv",
    log:
        "logs/{study}/steps.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        seeds=SEEDS,
        digest=steps_digest,
    message:
        "count the training steps of {wildcards.study}"
    shell:
        "python -m layerwise steps studies/{wildcards.study}.yaml {params.seeds} > {log} 2>&1 || {{ cat {log} >&2; false; }}"


rule verdicts:
    input:
        "results/{study}/.made/fits.json",
        counted,
        elsewhere,
    output:
        report(
            "results/{study}/verdicts.csv",
            caption="../report/verdicts.rst",
            category="{study}",
            labels={"what": "verdicts"},
        ),
    log:
        "logs/{study}/verdicts.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        seeds=SEEDS,
        digest=verdicts_digest,
    message:
        "hold {wildcards.study} against the published values"
    shell:
        "python -m layerwise verdicts studies/{wildcards.study}.yaml {params.seeds} > {log} 2>&1 || {{ cat {log} >&2; false; }}"


rule figure:
    input:
        "results/{study}/.made/fits.json",
        elsewhere,
        seen,
    output:
        report(
            "results/{study}/figures/{name}.svg",
            caption="../report/figure.rst",
            category="{study}",
            subcategory="figures",
            labels={"what": "{name}"},
        ),
        "results/{study}/figures/{name}.png",
    log:
        "logs/{study}/figures/{name}.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        seeds=SEEDS,
        digest=figure_digest,
    message:
        "draw {wildcards.name}"
    shell:
        "python -m layerwise figure studies/{wildcards.study}.yaml {wildcards.name} {params.seeds} > {log} 2>&1 || {{ cat {log} >&2; false; }}"


rule table:
    input:
        "results/{study}/.made/fits.json",
        counted,
        elsewhere,
        seen,
    output:
        report(
            "results/{study}/tables/{name}.csv",
            caption="../report/table.rst",
            category="{study}",
            subcategory="tables",
            labels={"what": "{name}"},
        ),
        "results/{study}/tables/{name}.md",
    log:
        "logs/{study}/tables/{name}.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        seeds=SEEDS,
        digest=table_digest,
    message:
        "make table {wildcards.name}"
    shell:
        "python -m layerwise table studies/{wildcards.study}.yaml {wildcards.name} {params.seeds} > {log} 2>&1 || {{ cat {log} >&2; false; }}"


rule report:
    input:
        shown,
        checkpoints,
    output:
        "results/{study}/report.html",
    log:
        "logs/{study}/report.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        seeds=SEEDS,
        digest=report_digest,
    message:
        "write the report of {wildcards.study}"
    shell:
        "python -m layerwise report studies/{wildcards.study}.yaml {params.seeds} > {log} 2>&1 || {{ cat {log} >&2; false; }}"


# Targets by the name of a study's file, which is not read until one is asked for: `quick`, and for DVC its stages.
taken = {"all", *(rule.name for rule in workflow.rules)}
for name in taken.intersection(study_file.names(Path("studies")), sys.argv[-1:]):
    sys.exit(f"layerwise: study {name!r}: a rule of the workflow is called so; rename studies/{name}.yaml")

for name in study_file.names(Path("studies"), taken):

    rule:
        name:
            name
        input:
            functools.partial(targets, name=name),

    rule:
        name:
            f"{name}:datasets"
        input:
            functools.partial(prepared, name=name),

    rule:
        name:
            f"{name}:networks"
        input:
            functools.partial(gathered, name=name),
            functools.partial(seen, name=name),
            functools.partial(checkpoints, name=name),


# Any other name that is no file: Snakemake alone would say that a rule to produce it is missing.
rule:
    name:
        "study:unknown"
    input:
        unknown,
    output:
        "{target}",
    wildcard_constraints:
        target="(studies/)?[^/]+",
