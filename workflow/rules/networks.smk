# The trie. One node, one job: fit a segment on what those before it give, score it on every split. Recursive over the
# path, so baseline SGD training, per-layer closed forms, partitions and trained heads are one rule.
rule node:
    input:
        before,
    output:
        made("{study}"),
    log:
        "logs/{study}/fit/{dataset}/{group}/{path}.log",
    benchmark:
        "benchmarks/{study}/fit/{dataset}/{group}/{path}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: processes
    resources:
        mem_mb=memory,
        runtime=240,
        gpu=GPU,
    params:
        seeds=seeds,
        digest=node_digest,
        device=config["device"],
        launch=launcher,
    message:
        "fit {wildcards.path} on {wildcards.dataset}, seeds {params.seeds}"
    shell:
        "{params.launch}python -m layerwise fit studies/{wildcards.study}.yaml {wildcards.dataset} {wildcards.path}"
        " --seeds {params.seeds} --device {params.device} --threads {threads}"
        + SPREAD
        + " --done {output} > {log} 2>&1 || {{ cat {log} >&2; false; }}"


# Checkpoints: the features that a study keeps. DVC tracks them, and what comes after is fitted on them.
rule represent:
    input:
        fitted,
    output:
        made("{study}", name="features"),
    log:
        "logs/{study}/represent/{dataset}/{group}/{path}.log",
    benchmark:
        "benchmarks/{study}/represent/{dataset}/{group}/{path}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=memory,
        runtime=60,
        gpu=GPU,
    params:
        seeds=seeds,
        digest=node_digest,
        device=config["device"],
    message:
        "represent {wildcards.dataset} by {wildcards.path}, seeds {params.seeds}"
    shell:
        "python -m layerwise represent studies/{wildcards.study}.yaml {wildcards.dataset} {wildcards.path}"
        " --seeds {params.seeds} --device {params.device} --threads {threads} --done {output} > {log} 2>&1 || {{ cat {log} >&2; false; }}"
