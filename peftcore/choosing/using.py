"""Use what was trained as anybody would, with peft and transformers alone, in a process of its own.

``python -m peftcore.choosing.using`` reads a job from standard input and writes predictions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftcore.data.examples import Examples
from peftcore.errors import PeftcoreError
from peftcore.models.backbones import APART_FILE
from peftcore.running.process import child_environment
from peftcore.trials import Trial

_LAST_LINES = 5


def predict_plainly(trial: Trial, folder: Path, examples: Examples) -> list[int]:
    """Return the class of each example by what is in a folder, loaded afresh.

    Args:
        trial: what was trained.
        folder: what came of it.
        examples: what to predict.

    Raises:
        PeftcoreError: it can't be loaded or used.
    """
    child = subprocess.run(
        [sys.executable, "-P", "-m", "peftcore.choosing.using"],
        input=json.dumps(job_of(trial, folder, examples)),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=child_environment(None),
        check=False,
    )
    if child.returncode != 0:
        words = "\n".join(child.stderr.strip().splitlines()[-_LAST_LINES:])
        raise PeftcoreError(f"{folder} can't be loaded again: {words}")
    predictions: list[int] = json.loads(child.stdout.splitlines()[-1])
    return predictions


def job_of(trial: Trial, folder: Path, examples: Examples) -> dict[str, Any]:
    """Return what :func:`predict` must know, as JSON values."""
    quantised = trial.method.quantisation
    return {
        "folder": str(folder.resolve()),
        "backbone": trial.backbone.path,
        "adapter": trial.method.adapter is not None,
        "four_bit": None if quantised is None else [quantised.data_type, quantised.double],
        "inputs": list(trial.method.inputs),
        "labels": trial.task.labels,
        "texts": list(examples.texts),
        "pairs": None if examples.pairs is None else list(examples.pairs),
    }


def predict(job: Mapping[str, Any]) -> list[int]:
    """Return the class of each text of a job (:func:`job_of`), in this process."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        BitsAndBytesConfig,
    )

    from peftcore.models.architectures import architecture_of

    folder = Path(job["folder"])
    options: dict[str, Any] = {"local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    if job["adapter"]:
        backbone = Path(job["backbone"])
        if job["four_bit"] is not None:
            kind, double = job["four_bit"]
            config = json.loads((backbone / "config.json").read_text(encoding="utf-8"))
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type=kind,
                bnb_4bit_use_double_quant=double,
                bnb_4bit_compute_dtype=torch.float32,
                llm_int8_skip_modules=architecture_of(config["model_type"]).never_quantised,
            )
        base = AutoModelForSequenceClassification.from_pretrained(
            backbone,
            num_labels=job["labels"],
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            use_safetensors=True,
            **options,
        )
        model: Any = PeftModel.from_pretrained(base, folder)
        if (folder / APART_FILE).is_file():
            model.load_state_dict(load_file(folder / APART_FILE), strict=False)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, **options
        )
    model.eval()
    others = {name: torch.zeros(1, dtype=torch.long) for name in job["inputs"]}
    found = []
    for text, pair in zip(job["texts"], job["pairs"] or [None] * len(job["texts"]), strict=True):
        tokens = tokenizer(text, pair, truncation=True, return_tensors="pt")
        with torch.no_grad():
            found.append(int(model(**tokens, **others).logits.argmax()))
    return found


def main() -> None:
    """Read a job, predict, and write the predictions as the last line."""
    from peftcore.models.expecting import as_expected
    from peftcore.training.trial import quiet_libraries

    quiet_libraries()
    with as_expected():
        predictions = predict(json.load(sys.stdin))
    sys.stdout.write(json.dumps(predictions) + "\n")


if __name__ == "__main__":
    main()
