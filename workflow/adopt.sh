#!/usr/bin/env bash
# adopt.sh STUDY: bring a study's heavy files with `dvc pull`, and let Snakemake take all its files as its own.
# A pull sets times in no order and brings no Snakemake metadata: without this, Snakemake would make all anew.
set -euo pipefail
study=${1:?usage: adopt.sh STUDY}
dvc pull --quiet "asked@$study" "data@$study" "networks@$study" "study@$study"
status=$(dvc status --json "study@$study" "networks@$study" "data@$study" "asked@$study")
if [ "$status" != "{}" ]; then
  echo "layerwise: study $study: its files are not of the options and code here; run: dvc repro study@$study" >&2
  dvc status "study@$study" "networks@$study" "data@$study" >&2
  exit 1
fi
snakemake --cores 1 --quiet all --touch --forceall -- "$study"
echo "== $study is adopted: snakemake --dry-run $study has nothing to do"
