"""A quick validation, in this process."""

import torch

from ase_mlip.report.validate import Settings

QUICK = Settings(phonon_length=5.0, mesh=4, orientations=3, time=0.01, seconds=0.0, replicas=2)


def run_here(function, calls, processes, ended, tick):
    """In this process: tests start new ones only where that is what they test."""
    for arguments in calls.values():
        function(*arguments[:-1], torch.get_num_threads())
