"""Units and conventions that reference data may be in, by the names in a training's TOML file."""

from types import MappingProxyType

from ase import units

ENERGY_UNITS = MappingProxyType(
    {
        "eV": 1.0,
        "meV": 1e-3,
        "kcal/mol": units.kcal / units.mol,
        "kJ/mol": units.kJ / units.mol,
        "Hartree": units.Hartree,
    }
)
LENGTH_UNITS = MappingProxyType({"Å": 1.0, "Angstrom": 1.0, "Bohr": units.Bohr, "nm": units.nm})
STRESS_UNITS = MappingProxyType(
    {
        "eV/Å^3": 1.0,
        "eV/Angstrom^3": 1.0,
        "GPa": units.GPa,
        "kbar": 0.1 * units.GPa,
        "Hartree/Bohr^3": units.Hartree / units.Bohr**3,
    }
)
# Where the six numbers of a stress stand in ASE's order xx, yy, zz, yz, xz, xy.
STRESS_ORDERS = MappingProxyType({"ase": (0, 1, 2, 3, 4, 5), "vasp": (0, 1, 2, 4, 5, 3)})
