"""``python -m ase_mlip`` is ``ase-mlip``."""

from .cli import main

if __name__ == "__main__":
    main()
