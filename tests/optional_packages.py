"""Packages that a test needs and an installation may lack."""

from importlib.util import find_spec

import pytest

HAS_PHONO3PY = find_spec("phono3py") is not None
needs_phono3py = pytest.mark.skipif(not HAS_PHONO3PY, reason="phono3py is not installed")
