# Probes: lenses on the fitted networks of a data set, each writing one table into the folder of a network's last node.
rule probe:
    input:
        looked_at,
    output:
        "results/{study}/networks/{dataset}/{group}/probe.{name}.json",
    log:
        "logs/{study}/{name}/{dataset}/{group}.log",
    benchmark:
        "benchmarks/{study}/{name}/{dataset}/{group}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=memory,
        runtime=120,
        gpu=GPU,
    params:
        seeds=seeds,
        digest=probe_digest,
        device=config["device"],
    message:
        "probe {wildcards.name} on {wildcards.dataset}, seeds {params.seeds}"
    shell:
        "python -m layerwise probe studies/{wildcards.study}.yaml {wildcards.name} {wildcards.dataset}"
        " --seeds {params.seeds} --device {params.device} --threads {threads} --done {output} > {log} 2>&1 || {{ cat {log} >&2; false; }}"
