"""Torch's settings of the process: a user's own neither change a fit nor are changed by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Settings:
    """The default type and device, and whether operations are recorded for gradients."""

    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")  # noqa: RUF009, a device does not change
    grad: bool = True
    inference: bool = False

    @classmethod
    def now(cls) -> Settings:
        device = torch.get_default_device()
        return cls(torch.get_default_dtype(), device, torch.is_grad_enabled(), torch.is_inference_mode_enabled())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Compute under these settings and without autocast, then go back to those from before."""
        before = Settings.now()
        with ExitStack() as stack:
            if before.dtype != self.dtype:  # global to all threads: left alone where it is right
                stack.callback(torch.set_default_dtype, before.dtype)
                torch.set_default_dtype(self.dtype)
            if before.device != self.device:  # the context costs time in every call of torch
                stack.enter_context(self.device)
            if before.inference != self.inference:
                stack.enter_context(torch.inference_mode(self.inference))
            stack.enter_context(torch.set_grad_enabled(self.grad))
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            yield


PLAIN = Settings()
