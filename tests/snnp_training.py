"""A small training of an s-NNP on crystals of EMT copper."""

from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

RUN = """
name = "toy"
output = "out"
threads = 1
[data]
train = "train.xyz"
validation_fraction = 0.2
{data}
[model]
architecture = "{architecture}"
cutoff = 4.5
{model}
[loss]
{loss}
[optimizer]
epochs = {epochs}
batch_size = 2
learning_rate = 5e-3
{optimizer}
"""


SNNP = (
    "radial_filters = 2\nangular_filters = 2\nradial_intervals = 6\nangular_intervals = 5\nhidden = [6]\n"
    "inner = 1.5"
)


def prepare(folder, architecture="snnp", model=SNNP, loss="", optimizer="", epochs=6, data=""):
    frames = []
    for seed in range(10):
        atoms = bulk("Cu", cubic=True, a=3.5 + 0.03 * seed)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results, stress=atoms.get_stress())
        frames.append(atoms)
    write(folder / "train.xyz", frames)
    parts = {"architecture": architecture, "model": model, "loss": loss, "optimizer": optimizer, "data": data}
    path = folder / "run.toml"
    path.write_text(RUN.format(**parts, epochs=epochs))
    return path, frames
