#!/usr/bin/env bash
# adopt.sh STUDY: take up a study's files from DVC's remote, each by its hash; adopt.py does it.
set -euo pipefail
PYTHONPATH=workflow exec python workflow/adopt.py "$@"
