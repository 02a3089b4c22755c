"""Loss landscapes: how the error on the training frames rises when the weights of a model move.

- :mod:`.entropy`: ``loss_entropy(losses, kT)``, ``combined_entropy(energy_losses, force_losses)`` and what
  else curves say; NumPy only, and public here, too.
- :mod:`.weights`: ``model_weights(model)``, the weights of a loaded model as named filters that can be moved.
- :mod:`.families`: which stored numbers are weights, for each family.
- :mod:`.directions`: ``direction(weights, kind, seed, number)``, normalised filter by filter.
- :mod:`.losses`: ``FrameLosses(model, samples)``, L_E and L_F with the weights as they are.
- :mod:`.curves`: losses along lines and in a plane, point after point, resumed after a kill.
- :mod:`.sample`: a stratified sample of frames.
- :mod:`.document`: the layout of a landscape's JSON, ``read_document(path)``.
- :mod:`.landscape`: ``landscape(model, frames)``, all of it together; public as :func:`ase_mlip.landscape`.
- :mod:`.result`: ``Landscape``, what that returns.
- :mod:`.predictors`: other numbers that may say how far a model goes: sharpness, scans of bonds, leverage.
- :mod:`.comparison`: ``comparison.compare.compare(landscapes, others)``, models side by side.

The package may import the layers below training (CONTRIBUTING.md). Nothing but the mathematics is imported
here, so that it needs no torch.
"""

from .entropy import combined_entropy, loss_entropy

__all__ = ["combined_entropy", "loss_entropy"]
