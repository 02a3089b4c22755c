"""TOML files as typed settings, with one line for each wrong entry; among them the file of a training run.

It imports ``data``, ``model_file``, the hyper-parameters of ``networks`` and what is below.
Public: ``run.read_config``, ``run.RunConfig``, ``typed_table.Sections``, ``typed_table.read_table``,
``typed_table.read_toml``.
"""
