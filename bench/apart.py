"""What a computation takes by itself: its answer, seconds and memory, from a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import torch
from torch import Tensor

from layerwise.run import machine

CPU = torch.device("cpu")


def measured(answer: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """Return an answer, its seconds of the processor and its memory in MB, from a process with a heap of its own."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        with machine.metered(CPU) as resting:
            pass
        start = time.process_time()
        with machine.metered(CPU) as reading:
            found = answer()
        seconds = time.process_time() - start
        answers.put((found.numpy(), seconds, reading["peak_memory_mb"] - resting["peak_memory_mb"]))

    process = context.Process(target=child)
    process.start()
    found, seconds, memory = answers.get()
    process.join()
    return torch.from_numpy(found), seconds, memory
