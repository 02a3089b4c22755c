"""Tables of docs/architectures_compared.md are what benchmarks/results holds."""

import re

from doc_tables import agree, medians, sentences, shows, stored, table


def test_accuracy():
    rows = stored("silicon-models")["rows"]
    *ours, dft = table("architectures_compared.md", "energy, meV/atom", "optical at Γ, THz")
    for name, *cells in ours:
        errors, elastic, phonons = (rows[name][part] for part in ("errors", "elasticity", "phonons"))
        expected = [errors[key] for key in ("energy_meV_atom", "forces_eV_A", "stress_meV_A3")]
        expected += [elastic[key] for key in ("a_A", "C11_GPa", "C12_GPa", "C44_GPa", "bulk_GPa")]
        agree(cells, [*expected, phonons["mae_THz"], phonons["optical_THz"][0]])
        assert elastic["stable"] and phonons["lowest_THz"] > -0.01
        assert shows(dft[-1], phonons["optical_THz"][1])
    assert [row[0] for row in ours] == list(rows)


def test_what_is_said_of_short_trainings():
    rows, text = stored("silicon-models")["rows"], sentences("architectures_compared.md")
    dft = table("architectures_compared.md", "energy, meV/atom", "optical at Γ, THz")[-1]
    (stiffer,) = re.findall(r"but a C12 (\d+) % too large", text)
    agree([stiffer], [100.0 * (rows["mace-si"]["elasticity"]["C12_GPa"] / float(dft[6]) - 1.0)])
    (softer,) = re.findall(r"flat optical branches, (\S+) THz too low at Γ", text)
    optical, reference, *_ = rows["nequip-si"]["phonons"]["optical_THz"]
    agree([softer], [reference - optical])
    forces = sorted(rows, key=lambda name: rows[name]["errors"]["forces_eV_A"])
    assert forces[1] == "mace-si" and "`mace-si` has the second smallest error of forces" in text


def test_cost():
    found, errors = medians("architectures"), stored("silicon-models")["rows"]
    rows = table("architectures_compared.md", "ASE, µs per atom", "LAMMPS")
    for name, ase, lammps, forces in rows:
        times = [found[f"{name}, ASE, 1000 atoms"], found[f"{name}, LAMMPS, 1 rank(s), 1000 atoms"]]
        agree([ase, lammps, forces], [*times, errors[name]["errors"]["forces_eV_A"]])
    assert len(rows) == 5 and "AMD EPYC" in stored("architectures")["environment"]["cpu"]
