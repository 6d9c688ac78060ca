# The trie: fit a segment on its parent's features, run it over every split and score it. Both are recursive over the
# path, so baseline SGD training, per-layer closed forms and trained heads are one rule.
for plan, number in PARTS:

    rule:
        name:
            f"{plan.name}_fit{number}"
        input:
            features=partial(fit_inputs, plan),
            code=partial(fit_code, plan),
        output:
            each_seed(plan, "segment.safetensors", "fit.json"),
        log:
            aside(plan, "logs", "fit", "log"),
        benchmark:
            aside(plan, "benchmarks", "fit", "jsonl")
        wildcard_constraints:
            dataset=any_of(plan.networks),
            seed=r"\d+",
            path=any_of({p for d in plan.networks for p in plan.paths(d)}),
        conda:
            "../../envs/cpu.yaml"
        threads: 1
        resources:
            mem_mb=4000,
            runtime=240,
            gpu=GPU,
        params:
            study=plan.file,
            seeds=partial(seeds_of, plan),
            spec=partial(fit_spec, plan),
            device=config["device"],
        message:
            "fit {wildcards.path} on {wildcards.dataset}, seeds {params.seeds}"
        shell:
            "python -m layerwise fit {params.study} {wildcards.dataset} {wildcards.path} --seeds {params.seeds}"
            " --device {params.device} --threads {threads} > {log} 2>&1"

    for keep in (True, False):

        rule:
            name:
                f"{plan.name}_represent" + ("" if keep else "_in_passing") + number
            input:
                features=partial(taken_in, plan),
                fitted=partial(of_nodes, plan, names=("segment.safetensors", "fit.json")),
                code=here(plugins.represent_sources()),
            output:
                (list if keep else temp)(each_seed(plan, *(f"{split}.safetensors" for split in SPLITS))),
                each_seed(plan, "score.json"),
            log:
                aside(plan, "logs", "represent", "log"),
            benchmark:
                aside(plan, "benchmarks", "represent", "jsonl")
            wildcard_constraints:
                dataset=any_of(plan.networks),
                seed=r"\d+",
                path=any_of({p for d in plan.networks for p in plan.paths(d) if plan.kept(p) == keep}),
            conda:
                "../../envs/cpu.yaml"
            threads: 1
            resources:
                mem_mb=4000,
                runtime=60,
                gpu=GPU,
            params:
                study=plan.file,
                seeds=partial(seeds_of, plan),
                device=config["device"],
            message:
                "represent {wildcards.dataset} by {wildcards.path}, seeds {params.seeds}"
            shell:
                "python -m layerwise represent {params.study} {wildcards.dataset} {wildcards.path} --seeds {params.seeds}"
                " --device {params.device} --threads {threads} > {log} 2>&1"
