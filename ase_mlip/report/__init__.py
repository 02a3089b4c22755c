"""All workflows together, and their pages: the demonstration and the validation of a model on structures.

It imports everything but ``cli``.
Public: ``validate.validate``, ``demo.run_demo``.
"""
