"""The model card of what was trained, as the Hugging Face hub reads it."""

from __future__ import annotations

import json

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from peftcore.choosing.choice import Choice
from peftcore.choosing.delivering import ADAPTER_FOLDER, base_of
from peftcore.choosing.telling import compared, epochs_of, how_new
from peftcore.choosing.testing import classes_of, tested_accuracy
from peftcore.choosing.wording import percent
from peftcore.methods import Trains
from peftcore.models.architectures import architecture_of
from peftcore.models.backbones import APART_FILE, read_config
from peftcore.report.markdown import escape


def write_card(choice: Choice) -> str:
    """Return the model card: metadata that the hub reads, and what a user must know."""
    trial, parts = choice.trial, choice.parts
    method, backbone = trial.method, trial.backbone
    adapter = method.trains is Trains.ADAPTER
    tested, low, high = tested_accuracy(choice.record)
    found = classes_of(choice.record)
    results = (
        ("accuracy", "Accuracy", tested / 100),
        ("f1", "Macro-F1", found.macro_f1 / 100),
        ("matthews_correlation", "Matthews' correlation", found.matthews),
    )
    base, revision = base_of(backbone)
    data = ModelCardData(
        base_model=base if revision is not None else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="text-classification",
        tags=["text-classification", "peftcore", method.slug],
        metrics=[kind for kind, *_ in results],
        model_name=f"{method.name} on {parts.name}",
        eval_results=[
            EvalResult(
                task_type="text-classification",
                dataset_type=parts.name,
                dataset_name=parts.name,
                dataset_split="test",
                metric_type=kind,
                metric_name=name,
                metric_value=round(value, 4),
            )
            for kind, name, value in results
        ],
    )
    classes = [parts.task.class_of(label) for label in range(parts.task.labels)]
    recipe = trial.recipe
    name = base if revision is not None else backbone.name
    text = f"""
# {escape(method.name)} on {escape(parts.name)}

A text classifier: {escape(name)}, fine-tuned with {escape(method.name)}. {escape(method.summary)}

- **Classes**: {", ".join(escape(one) for one in classes)}
- **Test accuracy**: {tested:.1f}%, 95% interval [{low:.1f}, {high:.1f}] of this one trained model,
  on {len(choice.record.labels or ()):,} examples, {how_new(choice)}
- **Test macro-F1**: {found.macro_f1:.1f}%, and Matthews' correlation {found.matthews:.3f}
- **Why this method**: {_reason(choice)}

## Use

```python
{_snippet(choice, base, revision, classes)}
```

## Training

{trial.task.train_examples:,} examples, {epochs_of(choice)} in batches of {recipe.batch_size},
AdamW at a learning rate of {recipe.learning_rate:g} that falls to zero, texts of up to
{trial.task.max_length} tokens, {recipe.precision}, seed {trial.seed}. Made by peftcore; every trial
of the choice is in its `records.jsonl`.

## Limits

It knows the classes above and texts like those that it was trained on. Nothing is known of its
accuracy on other texts, nor of how it treats groups of people that the data does not tell apart.
"""
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{text}"))


def _reason(choice: Choice) -> str:
    """Return why this method was taken."""
    if not compared(choice):
        return "it was the only one that could be compared"
    top, all_of_it = choice.race.top, choice.race.train
    part = "" if top == all_of_it else f", on {top:,} of {all_of_it:,} training examples"
    return (
        f"with a probability of {percent(choice.decision.within)} it is within "
        f"{choice.request.within:g} points\n  of the best of "
        f"{len(choice.decision.belief.standings)} methods and learning rates that were tried on "
        f"this data{part}"
    )


def _snippet(choice: Choice, base: str, revision: str | None, classes: list[str]) -> str:
    """Return the code that answers one text."""
    method, pairs = choice.trial.method, choice.parts.task.pair_column is not None
    lines = ["import torch"]
    texts = '"A text", "and its second"' if pairs else '"A text"'
    apart = (choice.delivered.folder / APART_FILE).is_file()
    others = "".join(f", {name}=torch.zeros(1, dtype=torch.long)" for name in method.inputs)
    if method.trains is Trains.ADAPTER:
        lines.append("from peft import PeftModel")
    quantised = method.quantisation
    names = ["AutoModelForSequenceClassification", "AutoTokenizer"]
    names += ["BitsAndBytesConfig"] if quantised else []
    if apart:
        lines.append("from safetensors.torch import load_file")
    lines.append(f"from transformers import {', '.join(names)}")
    lines += [
        "",
        f'folder = "{ADAPTER_FOLDER}"  # where this model is',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
    ]
    if method.trains is Trains.ADAPTER:
        labels = json.dumps(dict(enumerate(classes)), ensure_ascii=False)
        lines.append(f"classes = {{int(n): name for n, name in {labels}.items()}}")
        # A head that the base has, for other classes, is left.
        options = ["id2label=classes", "ignore_mismatched_sizes=True"]
        if revision is not None:
            options.append(f'revision="{revision}"')
        if quantised:
            architecture = architecture_of(read_config(choice.trial.backbone)["model_type"])
            lines += [
                "four_bit = BitsAndBytesConfig(",
                "    load_in_4bit=True,",
                f'    bnb_4bit_quant_type="{quantised.data_type}",',
                f"    bnb_4bit_use_double_quant={quantised.double},",
                f"    llm_int8_skip_modules={json.dumps(architecture.never_quantised)},",
                ")",
            ]
            options.append("quantization_config=four_bit")
        lines += [
            "base = AutoModelForSequenceClassification.from_pretrained(",
            *(f"    {option}," for option in (json.dumps(base), *options)),
            ")",
            "model = PeftModel.from_pretrained(base, folder).eval()",
        ]
        if apart:
            apart_file = f'f"{{folder}}/{APART_FILE}"'
            lines.append(f"model.load_state_dict(load_file({apart_file}), strict=False)")
    else:
        lines.append("model = AutoModelForSequenceClassification.from_pretrained(folder).eval()")
    lines += [
        f'tokens = tokenizer({texts}, truncation=True, return_tensors="pt")',
        "with torch.no_grad():",
        f"    label = model(**tokens{others}).logits.argmax().item()",
        "print(model.config.id2label[label])",
    ]
    return "\n".join(lines)
