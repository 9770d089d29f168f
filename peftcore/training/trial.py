"""One trial from end to end, in the process that calls it."""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers

from peftcore.accelerations import COMPILED_KERNELS, SORTED_EVALUATION
from peftcore.data.batches import Tokenised
from peftcore.data.examples import Sample
from peftcore.errors import CheckFailed
from peftcore.measuring.counting import count_operations, weights_sha256
from peftcore.measuring.driver import find_driver, gpu
from peftcore.measuring.energy import energy_meter
from peftcore.measuring.environment import sources_sha256
from peftcore.measuring.flops import ModelFlops, count_flops
from peftcore.measuring.matmul import matmul_rate
from peftcore.measuring.memory import memory_meter, process_bytes
from peftcore.measuring.phases import Phases
from peftcore.measuring.weights import BEGUN, KEEP_NOTHING, TRAINED, Keep
from peftcore.methods import Trains
from peftcore.models.attach import Classifier, attach, count_parameters
from peftcore.models.checks import (
    DropoutWatch,
    WeightWatch,
    check_head,
    check_pass,
    check_reload,
    check_targets,
)
from peftcore.models.loading import (
    DTYPES,
    classifier_config,
    load_classifier,
    load_tokenizer,
    weights_folder,
)
from peftcore.models.saving import load_trained, save_for_use, save_trained, save_weights
from peftcore.scenarios import Recipe
from peftcore.training.accelerating import Accelerated, accelerated, autocast, plain
from peftcore.training.bag_of_words import run_bag_of_words
from peftcore.training.checkpoints import CheckpointFolder, Checkpoints, sole_use
from peftcore.training.ending import TrialResult, about_the_test_set, costs
from peftcore.training.evaluating import Evaluator, probe
from peftcore.training.kernels.compiling import find_kernels
from peftcore.training.observing import Observer
from peftcore.training.preparing import run_of, tokenised
from peftcore.training.resuming import Keeper
from peftcore.trials import Engine, Trial

WARM_UP_BATCHES = 2

ENGINES = {
    Engine.PEFTCORE: "peftcore.training.loop",
    Engine.TRAINER: "peftcore.training.trainer",
}
"""The module of each engine; only the one that runs is imported, and counts in memory."""


def run_trial(
    trial: Trial,
    sample: Sample,
    observe: Observer,
    *,
    keep: Keep = KEEP_NOTHING,
    checkpoints: Checkpoints | None = None,
) -> TrialResult:
    """Run ``trial`` and return what came of it.

    Args:
        trial: what to run; its backbone was located on this machine.
        sample: the examples that the trial's seed drew. The whole data set is not read here: its
            texts would stay resident and count as the method's memory.
        observe: told of each phase as it begins and of progress in training.
        keep: what is kept of what is trained.
        checkpoints: where the engine ``peftcore`` keeps checkpoints and goes on from one; ``None``
            keeps none.

    Raises:
        CheckFailed: the trial did not do what its method says.
        LossNotFinite: the training loss became NaN or infinite.
    """
    if trial.method.trains is Trains.BAG_OF_WORDS:
        return run_bag_of_words(trial, sample, observe)
    if checkpoints is None or trial.engine is not Engine.PEFTCORE:
        return _run_classifier(trial, sample, observe, keep, None)
    with sole_use(checkpoints.folder) as ours:
        # Another session may be running the very same trial, and writing its checkpoints there.
        return _run_classifier(trial, sample, observe, keep, checkpoints if ours else None)


def pick_device() -> torch.device:
    """Return the first visible CUDA device, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def require_known(device: torch.device) -> None:
    """Check that what trains is what the record's environment names.

    Raises:
        CheckFailed: torch and NVIDIA's driver do not see the same.
    """
    named = gpu()["gpu"]
    if device.type == "cuda" and find_driver() is None:
        raise CheckFailed(
            "torch trains on a GPU that can't be asked what it is: NVIDIA's management library "
            "(libnvidia-ml) is missing, which a container has where it is started with "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility; or hide the GPU with "
            "CUDA_VISIBLE_DEVICES= to train on the processor"
        )
    if device.type == "cuda" and named is None:
        raise CheckFailed(
            "torch trains on a GPU that NVIDIA's driver does not name: give CUDA_VISIBLE_DEVICES "
            "its number or its whole UUID (nvidia-smi -L)"
        )
    if device.type == "cpu" and named is not None:
        raise CheckFailed(
            f"torch can't use {named}: install a torch for its CUDA (peftcore doctor), or hide the "
            "GPU with CUDA_VISIBLE_DEVICES= to train on the processor"
        )


def _run_classifier(
    trial: Trial,
    sample: Sample,
    observe: Observer,
    keep: Keep,
    checkpoints: Checkpoints | None,
) -> TrialResult:
    device = pick_device()
    require_known(device)
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    phases = Phases(memory_meter(device), synchronise, energy_meter(device))
    recipe, task, method = trial.recipe, trial.task, trial.method
    config = classifier_config(trial.backbone, labels=task.labels, dropout=recipe.dropout)

    def load_backbone(*, quantised: bool = True) -> transformers.PreTrainedModel:
        return load_classifier(
            folder,
            config,
            seed=trial.seed,
            quantisation=method.quantisation if quantised else None,
            precision=recipe.precision,
            device=device,
        )

    def probe_plainly(model: torch.nn.Module) -> torch.Tensor:
        unaccelerated = plain(model, device, recipe.precision, inputs=method.inputs)
        return probe(model, unaccelerated.feed(test), unaccelerated.logits)

    observe({"phase": "load"})
    with weights_folder(trial, config) as folder:
        with phases.measure("load"):
            train, test = tokenised(trial, sample, config)
            backbone = load_backbone()
        observe({"phase": "attach"})
        with phases.measure("attach"):
            run = run_of(trial, train, full_precision=partial(load_backbone, quantised=False))
            classifier = attach(backbone, method, seed=trial.seed, dropout=recipe.dropout, run=run)
        with phases.measure("check"):
            checks = [check_targets(classifier), check_head(classifier)]
        if keep.weights is not None:
            save_weights(classifier, keep.weights / BEGUN)
        with phases.measure("compile"):
            # Once a machine, in whichever trial comes first: its time is nobody's but this phase's.
            if device.type == "cpu" and COMPILED_KERNELS.name in recipe.accelerations:
                find_kernels()
        with accelerated(classifier, recipe, device, train) as running:
            with phases.measure("check"):
                watch = WeightWatch(classifier)
                # What allocates ranks keeps a state of its own, which no checkpoint holds.
                kept = checkpoints if running.allocate is None else None
                keeper = _keeper(kept, trial, watch.digest(), phases)
            observe({"phase": "warm up"})
            with phases.measure("warm up"):
                warm_up(running, train, recipe)
            evaluator = Evaluator(
                running.feed(test), recipe.eval_batch_size, running.on(SORTED_EVALUATION)
            )
            transformers.set_seed(trial.seed)
            dropping = DropoutWatch(classifier, device)
            log = import_module(ENGINES[trial.engine]).train(
                running,
                train,
                recipe,
                seed=trial.seed,
                evaluator=evaluator,
                phases=phases,
                observe=observe,
                keeper=keeper,
            )
            checks.append(dropping.check())
            seconds_to_trained = keeper.seconds_to_here()
            driver_bytes = process_bytes(device)
            accelerated_logits = probe(classifier.model, evaluator.feed, running.logits)
            with phases.measure("count"):
                operations = count_operations(
                    lambda: _forward_and_backward(running, train, recipe, batches=1)
                )
        observe({"phase": "save"})
        with phases.measure("matmul rate"):
            rate = matmul_rate(
                round(recipe.batch_size * train.tokens() / len(train)),
                config.hidden_size,
                dtype=DTYPES[recipe.precision],
                device=device,
                synchronise=synchronise,
            )
        with phases.measure("check"):
            checks += watch.check()
            flops = _count_flops(classifier, device, recipe).training(
                train.lengths(), epochs=recipe.epochs, batch_size=recipe.batch_size
            )
        if keep.weights is not None:
            save_weights(classifier, keep.weights / TRAINED)
        if keep.model is not None:
            save_for_use(
                classifier,
                load_tokenizer(trial.backbone),
                keep.model,
                classes=[task.class_of(label) for label in range(task.labels)],
                max_length=task.max_length,
            )
        counts = count_parameters(classifier)
        logits = probe_plainly(classifier.model)
        checks.append(check_pass(logits, accelerated_logits, recipe.precision))
        with tempfile.TemporaryDirectory(prefix="peftcore-") as saved:
            with phases.measure("save"):
                file_bytes = save_trained(classifier, Path(saved))
            with phases.measure("reload"):
                reloaded = load_trained(classifier, load_backbone(), Path(saved))
                rounds = method.adapter is not None and method.adapter.rounds_on_saving
                rounding = recipe.precision if rounds else None
                checks.append(check_reload(logits, probe_plainly(reloaded), rounding=rounding))
    measurement = {
        "accuracy": log.epoch_accuracies[-1],
        "step_seconds": log.median_step_seconds(),
        "seconds_to_trained": seconds_to_trained,
        "peak_process_bytes": driver_bytes,
        "total_parameters": counts.total,
        "trainable_parameters": counts.trainable,
        "head_parameters": counts.head,
        "adapter_parameters": counts.adapter,
        "adapter_file_bytes": file_bytes,
        "losses": [[step, loss] for step, loss in enumerate(log.losses, start=1)],
        "epoch_accuracies": [
            [epoch, accuracy]
            for epoch, accuracy in zip(recipe.evaluated_epochs(), log.epoch_accuracies, strict=True)
        ],
        "checks": checks + keeper.checks(),
        "resumed": keeper.resumed,
        "accelerations": running.describe(),
        "weights_sha256": weights_sha256(classifier.trained_parameters()),
        "tensor_bytes": log.tensor_bytes,
        "operations": operations,
        **costs(phases, evaluations=len(log.epoch_accuracies)),
        **_utilisation(
            phases, tokens=recipe.epochs * train.tokens(), model_flops=flops, matmul_rate=rate
        ),
        **about_the_test_set(sample.test),
    }
    return TrialResult(measurement, log.predictions, list(test.labels))


def _keeper(checkpoints: Checkpoints | None, trial: Trial, begin: str, phases: Phases) -> Keeper:
    """Return what keeps the checkpoints of a trial whose weights have this digest at the start."""
    if checkpoints is None:
        return Keeper(None, phases)
    identity = {
        "trial": trial.id,
        "environment": checkpoints.environment,
        "peftcore": sources_sha256(),
        "weights at the start": begin,
    }
    return Keeper(CheckpointFolder(checkpoints.folder, identity), phases, checkpoints.seconds)


def warm_up(classifier: Accelerated, examples: Tokenised, recipe: Recipe) -> None:
    """Run a few batches forward and backward, so that no library starts up on the clock.

    It updates no weight and leaves no gradient; the caller seeds the generators afterwards.
    """
    _forward_and_backward(classifier, examples, recipe, batches=WARM_UP_BATCHES)


def _forward_and_backward(
    classifier: Accelerated, examples: Tokenised, recipe: Recipe, *, batches: int
) -> None:
    order = range(min(len(examples), batches * recipe.batch_size))
    classifier.model.train()
    for batch in classifier.feed(examples).batches(order, recipe.batch_size):
        classifier.losses(batch)[0].backward()
    classifier.forget_gradients()


def _count_flops(classifier: Classifier, device: torch.device, recipe: Recipe) -> ModelFlops:
    def forward(ids: torch.Tensor) -> object:
        others = {name: torch.zeros_like(ids[:, 0]) for name in classifier.method.inputs}
        with autocast(device, recipe.precision):
            return classifier.model(input_ids=ids, **others)

    return count_flops(classifier.model, classifier.architecture, forward)


def _utilisation(
    phases: Phases, *, tokens: int, model_flops: int, matmul_rate: float
) -> dict[str, Any]:
    """Return how much was trained on a second, as keys of the measurement."""
    per_second = model_flops / phases["train"].seconds
    return {
        "train_tokens": tokens,
        "tokens_per_second": tokens / phases["train"].seconds,
        "model_flops": model_flops,
        "model_flops_per_second": per_second,
        "matmul_flops_per_second": matmul_rate,
        "utilisation": per_second / matmul_rate,
    }


def quiet_libraries() -> None:
    """Keep progress bars and load reports of transformers out of the trial's output."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
