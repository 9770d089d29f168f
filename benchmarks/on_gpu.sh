#!/usr/bin/env bash
# All that only a CUDA GPU can show, in one call: the tests marked gpu, then the engine against
# Trainer on roberta-base by the source study's protocol, what each acceleration is worth there, and
# how far rounding takes each engine. The report is reports/engine/report.md.
#
#   benchmarks/on_gpu.sh                                        # roberta-base and IMDb from the hub
#   benchmarks/on_gpu.sh --peft-weights random --peft-data DIR  # time and memory without the hub
#
# A call that is stopped goes on where it was when it is called again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pytest tests -m gpu --peft-require-gpu
engine=(pytest benchmarks/test_engine.py --peft-scenario imdb-roberta)
"${engine[@]}" -k pairs --peft-set train_examples=3000 --peft-set epochs=3 "$@"
"${engine[@]}" -k equality "$@"
"${engine[@]}" -k ablation --peft-seeds 1 "$@"
