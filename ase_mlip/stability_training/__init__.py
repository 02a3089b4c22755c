"""StABlE training: potentials that learn from the runs in which they fail.

Molecular dynamics finds where a potential becomes unstable; the network is corrected so that observables
come out as a reference has them, beside the energies and forces it was trained on (S. Raja et al.,
arXiv:2402.13984).
Method, options and outputs: docs/stability_training.md.

- :mod:`.estimator`: the derivative of an average by the parameters, as weights of energies; NumPy only.
  ``boltzmann_coefficients(observables, loss_gradient, beta)``, ``cross_fitted_coefficients``,
  ``local_coefficients``, ``boltzmann_weights``, ``effective_sample_size``.
- :mod:`.trainable`: the network of a model file with weights that can change; ``open_trainable(path)``.
- :mod:`.gradients`: the weighted backward pass, ⟨∂g/∂θ⟩ of observables that depend on the parameters.
- :mod:`.observables`: h(r), g(r), bond lengths, smallest distances, pressure, with their reference values.
- :mod:`.learning`: the steps, and what measures them.
- :mod:`.samplers`: replicas of dynamics for the loop; :mod:`.loop`: the epochs; :mod:`.settings`: the TOML
  file.
- :mod:`.workflow`: ``stabilize(path, resume=False)``, which is also ``ase_mlip.stabilize``.

The package may import the layers below training and training itself (CONTRIBUTING.md); its workflow and its
report may import what shows results. Nothing but the estimator is imported here.
"""

from .estimator import (
    boltzmann_coefficients,
    boltzmann_weights,
    cross_fitted_coefficients,
    effective_sample_size,
    local_coefficients,
)

__all__ = [
    "boltzmann_coefficients",
    "boltzmann_weights",
    "cross_fitted_coefficients",
    "effective_sample_size",
    "local_coefficients",
]
