# Data preparation: each data set of a study in its canonical form, the root of its trie.
rule dataset:
    output:
        "results/{study}/datasets/{dataset}/dataset.json",
    log:
        "logs/{study}/dataset/{dataset}.log",
    benchmark:
        "benchmarks/{study}/dataset/{dataset}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=memory,
        runtime=60,
    params:
        root=data_root,
        digest=dataset_digest,
        files=files_digest,
    message:
        "prepare data set {wildcards.dataset}"
    shell:
        "python -m layerwise dataset studies/{wildcards.study}.yaml {wildcards.dataset} --data-root={params.root:q}"
        " > {log} 2>&1 || {{ cat {log} >&2; false; }}\n"
        "grep -a '^layerwise: warning' {log} >&2 || true"
