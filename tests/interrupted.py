"""Ctrl-C at a moment that a test chooses."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def interrupted_at_save(module, number: int = 2) -> Iterator[None]:
    """Ctrl-C just after ``module.save_checkpoint`` was called ``number`` times, which ends the block."""
    real, saved = module.save_checkpoint, []

    def save(*arguments):
        real(*arguments)
        saved.append(1)
        if len(saved) == number:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "save_checkpoint", save)
        yield
