"""The training loop of the engine ``peftcore``.

AdamW, the gradient clipped to a norm, the rate decaying linearly to zero, matrix products in the
recipe's precision: step by step what transformers' Trainer computes, with nothing around it. How
the model computes its logits, :mod:`peftcore.training.accelerating` decides.
"""

from __future__ import annotations

import math

from peftcore.accelerations import STEP_GRAPH
from peftcore.data.batches import Tokenised, training_order
from peftcore.measuring.counting import tensor_bytes
from peftcore.measuring.phases import Phases
from peftcore.scenarios import Recipe
from peftcore.training.accelerating import Accelerated
from peftcore.training.evaluating import Evaluator
from peftcore.training.observing import LossWatch, Observer, StepClock, TrainingLog
from peftcore.training.recording import CudaGraphs, RecordedSteps, Step
from peftcore.training.resuming import Keeper, TrainingState
from peftcore.training.updating import Update


def train(
    classifier: Accelerated,
    examples: Tokenised,
    recipe: Recipe,
    *,
    seed: int,
    evaluator: Evaluator,
    phases: Phases,
    observe: Observer,
    keeper: Keeper,
) -> TrainingLog:
    """Train the classifier in place, evaluating as the recipe says, and return what happened.

    Args:
        classifier: those of its parameters that require gradients are trained.
        examples: what to train on; every epoch visits each once.
        recipe: how.
        seed: draws the order of the examples; dropout draws from torch's global generator.
        evaluator: predicts the test set's labels.
        phases: evaluation is counted apart from training.
        observe: told of progress now and then.
        keeper: goes on from a checkpoint, if there is one, and writes those that are due.

    Raises:
        LossNotFinite: the loss became NaN or infinite.
    """
    steps_per_epoch = math.ceil(len(examples) / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    log = TrainingLog()
    watch = LossWatch(steps, steps_per_epoch, observe)
    with phases.measure("train"):
        feed = classifier.feed(examples)
        update = Update(classifier, recipe, steps)
        step = _step(update, classifier, recipe)
    state = TrainingState(
        model=classifier.model,
        device=classifier.device,
        update=update,
        watch=watch,
        log=log,
        steps_per_epoch=steps_per_epoch,
        evaluated_epochs=recipe.evaluated_epochs(),
        predictions=len(evaluator.feed),
    )
    keeper.resume(state)
    # A checkpoint at an epoch's end comes before its evaluation, which is then still to be done.
    begun = max(0, len(watch.losses) - 1) // steps_per_epoch
    for epoch in range(begun, recipe.epochs):
        trained = (len(watch.losses) - epoch * steps_per_epoch) * recipe.batch_size
        order = training_order(len(examples), seed=seed, epoch=epoch)[trained:]
        with phases.measure("train"):
            classifier.model.train()
            ticks = StepClock(classifier.device)
            for batch in feed.batches(order, recipe.batch_size):
                watch.saw(step(batch))
                ticks.tick()
                if keeper.is_due(state):
                    log.step_seconds += ticks.seconds()
                    keeper.save(state)
                    ticks.restart()
            watch.fetch()
            log.step_seconds += ticks.seconds()
            if keeper.is_due(state, epoch_ends=True):
                keeper.save(state)
        if epoch + 1 not in recipe.evaluated_epochs():
            continue
        with phases.measure("evaluate"):
            observe({"phase": "evaluate", "epoch": epoch + 1})
            log.predictions = evaluator.predict(classifier.model, classifier.logits)
        log.epoch_accuracies.append(evaluator.accuracy(log.predictions))
    with phases.measure("count"):
        # Here, where the optimiser still holds its states.
        log.tensor_bytes = tensor_bytes()
    log.losses = watch.losses
    return log


def _step(update: Update, classifier: Accelerated, recipe: Recipe) -> Step:
    """Return what trains on one batch."""
    if not classifier.on(STEP_GRAPH):
        return update

    def failed(why: str) -> None:
        classifier.forget_gradients()
        classifier.turn_off(STEP_GRAPH, f"a step can't be recorded: {why}")

    graphs = CudaGraphs(classifier.device)
    return RecordedSteps(update, graphs, texts=recipe.batch_size, failed=failed)
