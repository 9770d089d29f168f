"""Record a training step once for each size of batch, and play it back.

On a GPU a step of a small model is a thousand kernels that take longer to start than to run; a CUDA
graph starts them all at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from peftcore.data.batches import Batch

Step = Callable[[Batch], torch.Tensor]
"""Trains on one batch and returns its loss, without waiting for the device."""


class Recorder(Protocol):
    """Takes down what a function asks of the device, and can ask it again."""

    def run(self, function: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Call a function where recordings are made, and return what it gives."""

    def record(
        self, function: Callable[[], torch.Tensor]
    ) -> tuple[Callable[[], None], torch.Tensor]:
        """Take a function down without running it.

        Returns:
            What runs it, and the tensor in which its result lies after each run.

        Raises:
            RuntimeError: something in it can't be recorded.
        """


class CudaGraphs:
    """Records CUDA graphs, all of them in one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, function: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Call a function on the stream of the recordings; see :meth:`Recorder.run`.

        Autograd binds a weight's gradient to the stream of its first use, and a recording must not
        reach out of its own.
        """
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = function()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def record(
        self, function: Callable[[], torch.Tensor]
    ) -> tuple[Callable[[], None], torch.Tensor]:
        """Take a function down as a CUDA graph; see :meth:`Recorder.record`."""
        graph = torch.cuda.CUDAGraph()
        outside = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                result = function()
        except RuntimeError as error:
            # Ending a recording that failed may fail, too: it then hides why, and stays on its
            # stream.
            torch.cuda.set_stream(outside)
            raise RuntimeError(str(error.__context__ or error)) from error
        return graph.replay, result


@dataclass(frozen=True)
class _Recorded:
    batch: Batch
    play: Callable[[], None]
    loss: torch.Tensor


class RecordedSteps:
    """A step of training that is played back wherever a batch has a size met before.

    Args:
        step: the step; it must not depend on anything but its batch and what it keeps on the
            device.
        recorder: takes it down.
        texts: how many a batch has; the last one of an epoch, if it has fewer, isn't recorded.
        failed: told why, should recording fail; it undoes what half a step has left. From then on
            the step runs as it is.
    """

    def __init__(
        self, step: Step, recorder: Recorder, *, texts: int, failed: Callable[[str], None]
    ) -> None:
        self._step = step
        self._recorder = recorder
        self._texts = texts
        self._failed = failed
        self._recorded: dict[int, _Recorded] = {}
        self._met: set[int] = set()
        self._given_up = False

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Train on one batch and return its mean loss before the update, on the device."""
        tokens = batch.input_ids.shape[1]
        # At the first meeting libraries choose their kernels, and the very first step makes the
        # optimiser's state: none of it belongs in a recording.
        first = tokens not in self._met
        self._met.add(tokens)
        if first or len(batch.labels) != self._texts or self._given_up:
            return self._recorder.run(lambda: self._step(batch))
        if tokens not in self._recorded:
            try:
                self._recorded[tokens] = self._record(batch)
            except RuntimeError as error:
                self._given_up = True
                self._failed(str(error).partition("\n")[0])
                return self._recorder.run(lambda: self._step(batch))
        recorded = self._recorded[tokens]
        for name, tensor in _tensors(batch).items():
            getattr(recorded.batch, name).copy_(tensor)
        recorded.play()
        return recorded.loss.clone()

    def _record(self, batch: Batch) -> _Recorded:
        fields: dict[str, Any] = {n: tensor.clone() for n, tensor in _tensors(batch).items()}
        own = dataclasses.replace(batch, **fields)
        play, loss = self._recorder.record(lambda: self._step(own))
        return _Recorded(own, play, loss)


def _tensors(batch: Batch) -> dict[str, torch.Tensor]:
    found = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
