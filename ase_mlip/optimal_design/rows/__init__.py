"""Rows of structures: the derivatives of energies, forces and stress by a model's coefficients; no labels.

- :mod:`.structure_rows`: ``Rows(energy [1, p], forces [k, p], stress [6 or 0, p], atoms [N or 0, p],
  n_atoms)`` of one structure; ``rows.block(labels)`` stacks them, ``rows.sketched(directions, seed)``
  shortens the force rows; ``gram(blocks)`` is Σ XᵀX.
- :mod:`.linear_basis`: ``LinearBasis(network, constants=True)``, the least-squares basis of an s-NNP, with
  ``names``, ``size``, ``cutoff``, ``prior(information)``; ``linear_rows(basis, structures, labels, atoms)``
  iterates over Rows; ``undetermined(information, names)``.
- :mod:`.auto_basis`: ``auto_basis(pool)``, knots from the pool; ``basis_from_hypers(hypers, pool)`` for a
  recipe, ``basis_from_model(model)`` for an s-NNP's file.
- :mod:`.sketch`: ``sketch_rows(model, structures, directions=8, seed=0, symmetrize=None, labels, constants,
  atoms)`` iterates over Rows for any model file with ``features``; ``directions=None`` gives all 3N force
  rows; ``feature_names(model, size)``. Its parts: :mod:`.feature_sums`, derivatives of a structure's summed
  features; :mod:`.side_by_side`, structures in threads.
- :mod:`.scaling`: ``Scaling(energy, forces, stress)`` holds σ; ``scaling.of(rows, labels)`` is the block φ/σ;
  ``balanced(pool_rows, scaling, labels)`` gives energies and forces equal total weight.
- :mod:`.source`: which of these a design takes, and its scaled rows; :mod:`.fixed`: what of energies, forces
  and stress is there without the coefficients.

All but the last know nothing of a design. Nothing is imported here.
Public: ``source.row_source``, ``source.RowSource``, ``source.linear_source``, ``source.feature_source``,
``source.basis_of_hypers``, ``source.counts_of``, ``structure_rows.Rows``, ``structure_rows.gram``,
``linear_basis.LinearBasis``, ``linear_basis.linear_rows``, ``linear_basis.rows_of_graph``,
``linear_basis.undetermined``, ``linear_basis.decomposed``, ``linear_basis.taking_part``,
``linear_basis.periodic_volume``, ``auto_basis.auto_basis``, ``auto_basis.basis_from_hypers``,
``auto_basis.basis_from_model``, ``sketch.sketch_rows``, ``scaling.Scaling``, ``scaling.balanced``.
"""
