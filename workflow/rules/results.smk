# What a study comes to: all fits in one table, figures, tables, verdicts, the report page; and a target per study.
for plan in STUDIES.values():

    rule:
        name:
            f"{plan.name}_networks"
        input:
            scored(plan),
            kept(plan),
            seen(plan),

    rule:
        name:
            f"{plan.name}_fits"
        input:
            nodes=scored(plan),
            datasets=[dataset_folder(plan.name, d) / "dataset.json" for d in plan.networks],
        output:
            f"results/{plan.name}/fits.csv",
        log:
            f"logs/{plan.name}/fits.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            study=plan.file,
            seeds=SEEDS,
            labels=plan.networks,
        message:
            "gather the fits of {params.study}"
        shell:
            "python -m layerwise fits {params.study} {params.seeds} > {log} 2>&1"

    rule:
        name:
            f"{plan.name}_verdicts"
        input:
            fits=f"results/{plan.name}/fits.csv",
            elsewhere=elsewhere(plan),
            code=code_of("published.py"),
            published=here([plugins.PACKAGE / "published.csv"]),
        output:
            report(
                f"results/{plan.name}/verdicts.csv",
                caption="../report/verdicts.rst",
                category=plan.name,
                labels={"what": "verdicts"},
            ),
        log:
            f"logs/{plan.name}/verdicts.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            study=plan.file,
            seeds=SEEDS,
            rows=[plan.published, plan.verdicts],
        message:
            "hold {params.study} against the published values"
        shell:
            "python -m layerwise verdicts {params.study} {params.seeds} > {log} 2>&1"

    rule:
        name:
            f"{plan.name}_figure"
        input:
            fits=f"results/{plan.name}/fits.csv",
            probes=seen(plan),
            code=partial(view_code, plan, "figures"),
        output:
            report(
                f"results/{plan.name}/figures/{{name}}.svg",
                caption="../report/figure.rst",
                category=plan.name,
                subcategory="figures",
                labels={"what": "{name}"},
            ),
            f"results/{plan.name}/figures/{{name}}.png",
        log:
            f"logs/{plan.name}/figures/{{name}}.log",
        wildcard_constraints:
            name=any_of(plan.figures),
        conda:
            "../../envs/cpu.yaml"
        params:
            study=plan.file,
            seeds=SEEDS,
            spec=partial(view_spec, plan, "figures"),
        message:
            "draw {wildcards.name}"
        shell:
            "python -m layerwise figure {params.study} {wildcards.name} {params.seeds} > {log} 2>&1"

    rule:
        name:
            f"{plan.name}_table"
        input:
            fits=f"results/{plan.name}/fits.csv",
            elsewhere=elsewhere(plan),
            probes=seen(plan),
            code=partial(view_code, plan, "tables"),
        output:
            report(
                f"results/{plan.name}/tables/{{name}}.csv",
                caption="../report/table.rst",
                category=plan.name,
                subcategory="tables",
                labels={"what": "{name}"},
            ),
            f"results/{plan.name}/tables/{{name}}.md",
        log:
            f"logs/{plan.name}/tables/{{name}}.log",
        wildcard_constraints:
            name=any_of(plan.tables),
        conda:
            "../../envs/cpu.yaml"
        params:
            study=plan.file,
            seeds=SEEDS,
            spec=partial(view_spec, plan, "tables"),
        message:
            "make table {wildcards.name}"
        shell:
            "python -m layerwise table {params.study} {wildcards.name} {params.seeds} > {log} 2>&1"

    rule:
        name:
            f"{plan.name}_report"
        input:
            made=[name for name in targets(plan) if name != f"results/{plan.name}/report.html"],
            code=code_of("report.py") + here(sorted((plugins.PACKAGE / "report_page").iterdir())),
        output:
            f"results/{plan.name}/report.html",
        log:
            f"logs/{plan.name}/report.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            study=plan.file,
            seeds=SEEDS,
            said=[plan.title, plan.description],
        message:
            "write the report of {params.study}"
        shell:
            "python -m layerwise report {params.study} {params.seeds} > {log} 2>&1"

    rule:
        name:
            plan.name
        input:
            targets(plan),
