# Probes: lenses on fitted networks, each writing one table into the folder of the network's last node.
for plan, number in PARTS:

    rule:
        name:
            f"{plan.name}_probe{number}"
        input:
            network=partial(lineage, plan),
            code=partial(probe_code, plan),
            taken=partial(probe_inputs, plan),
        output:
            each_seed(plan, "{probe}.csv"),
        log:
            aside(plan, "logs", "{probe}", "log"),
        benchmark:
            aside(plan, "benchmarks", "{probe}", "jsonl")
        wildcard_constraints:
            dataset=any_of(plan.networks),
            seed=r"\d+",
            path=any_of({path for _, _, path in plan.looks()}),
            probe=any_of(plan.probes),
        conda:
            "../../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=120,
            gpu=GPU,
        params:
            study=plan.file,
            seeds=partial(seeds_of, plan),
            spec=partial(probe_spec, plan),
            device=config["device"],
        message:
            "probe {wildcards.probe} of {wildcards.path} on {wildcards.dataset}, seeds {params.seeds}"
        shell:
            "python -m layerwise probe {params.study} {wildcards.probe} {wildcards.dataset} {wildcards.path}"
            " --seeds {params.seeds} --device {params.device} --threads {threads} > {log} 2>&1"
