"""Get the record of a trial: from the store where it holds a good one, else by running it."""

from __future__ import annotations

from datetime import UTC, datetime

from peftcore.measuring.environment import describe_environment, environment_key
from peftcore.results.records import Measurement, Record
from peftcore.results.store import Store
from peftcore.running.process import Progress, run_in_child
from peftcore.trials import Outcome, Trial


def stored_record(trial: Trial, store: Store) -> Record | None:
    """Return the record that may stand for running ``trial`` here and now, if there is one.

    It must have ended well, with the same package versions, on the same hardware, and from the
    same sources of peftcore.
    """
    return store.find(trial.id, environment_key(describe_environment()))


def run_and_store(
    trial: Trial,
    store: Store,
    *,
    timeout_seconds: float | None = None,
    progress: Progress = lambda event: None,
) -> Record:
    """Run ``trial``, commit its record whatever its outcome, and return it.

    A trial that the user interrupts is committed as cancelled, and the interrupt goes on.

    Raises:
        StoreError: the record could not be stored.
    """
    try:
        report = run_in_child(trial, timeout_seconds=timeout_seconds, progress=progress)
    except KeyboardInterrupt:
        store.commit(_record(trial, outcome=Outcome.CANCELLED, error="interrupted by the user"))
        raise
    measurement = report.measurement
    record = _record(
        trial,
        outcome=report.outcome,
        error=report.error,
        measurement=None if measurement is None else Measurement.from_json(measurement),
        predictions=report.predictions,
        labels=report.labels,
    )
    store.commit(record)
    return record


def _record(
    trial: Trial,
    *,
    outcome: Outcome,
    error: str | None,
    measurement: Measurement | None = None,
    predictions: tuple[int, ...] | None = None,
    labels: tuple[int, ...] | None = None,
) -> Record:
    return Record(
        trial=trial.describe(),
        outcome=outcome,
        error=error,
        measurement=measurement,
        environment=describe_environment(),
        predictions=predictions,
        labels=labels,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
