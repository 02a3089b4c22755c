"""Loss landscapes: how the error on the training frames rises when the weights of a model move.

- :mod:`.entropy`: ``loss_entropy(losses, kT)``, ``combined_entropy(energy_losses, force_losses)`` and what
  else curves say; NumPy only, and public here, too.
- :mod:`.weights`: ``model_weights(model)``, the weights of a loaded model as named filters that can be moved.
- :mod:`.families`: which stored numbers are weights, for each family.
- :mod:`.document`: the layout of a landscape's JSON, ``read_document(path)``.

The package may import the layers below training (CONTRIBUTING.md). Nothing but the mathematics is imported
here, so that it needs no torch.
"""

from .entropy import combined_entropy, loss_entropy

__all__ = ["combined_entropy", "loss_entropy"]
