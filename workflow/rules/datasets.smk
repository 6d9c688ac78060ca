# Data preparation: each data set of a study in its canonical form, the root of its trie.
for plan in STUDIES.values():

    rule:
        name:
            f"{plan.name}_dataset"
        input:
            partial(dataset_inputs, plan),
        output:
            expand(
                f"results/{plan.name}/datasets/{{{{dataset}}}}/{{file}}",
                file=[*(f"{split}.safetensors" for split in SPLITS), "dataset.json"],
            ),
        log:
            f"logs/{plan.name}/dataset/{{dataset}}.log",
        benchmark:
            f"benchmarks/{plan.name}/dataset/{{dataset}}.jsonl"
        wildcard_constraints:
            dataset=any_of(plan.datasets),
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=4000,
            runtime=60,
        params:
            study=plan.file,
            root=config["data_root"],
            spec=partial(dataset_spec, plan),
        message:
            "prepare data set {wildcards.dataset}"
        shell:
            "python -m layerwise dataset {params.study} {wildcards.dataset} --data-root {params.root:q} > {log} 2>&1"

    rule:
        name:
            f"{plan.name}_datasets"
        input:
            [dataset_folder(plan.name, name) / "dataset.json" for name in plan.datasets if name not in plan.left_out],
