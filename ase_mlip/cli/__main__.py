"""``python -m ase_mlip.cli`` is ``ase-mlip``."""

from . import main

if __name__ == "__main__":
    main()
