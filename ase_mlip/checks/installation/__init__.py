"""The doctor: what is installed, what was built against what, and the command that corrects it.

It imports ``building``, ``lammps``, ``model_file`` (late) and the modules beside the packages.
Public: ``doctor.run``, ``requirements.install_command``.
"""
