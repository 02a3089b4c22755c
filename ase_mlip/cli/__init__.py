"""The command line: reads arguments, prints, sets the exit status. Nothing imports it.

``program`` holds the group of commands, ``command`` what each does with its command line and on Ctrl-C,
``options`` declares what several of them ask for, with the kinds of ``values``, ``results`` writes what they
find, ``common`` has what else they share. ``simulations`` has the commands that run a model on
structures, ``models`` those on models and their data. It may import everything, when a command runs.
The docstring of a command is its help text.
Public: ``program.main``; for commands ``options``, ``results`` and ``common``.
"""


def main() -> None:
    """The entry point of ``ase-mlip``."""
    from .program import main as run

    run(prog_name="ase-mlip")
