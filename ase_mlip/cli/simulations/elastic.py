"""``ase-mlip elastic``: elastic constants of a crystal."""

from __future__ import annotations

import click
from click.core import ParameterSource

from ...progress.bars import bar
from ...voigt import NAMES
from ..command import Command
from ..options import POSITIVE
from ..values import Finite, Whole
from .crystal_run import CrystalRun, crystal_options, describe_cell


@click.command(cls=Command)
@click.option("--strain", default=0.005, show_default=True, type=Finite(0.0, 0.1, True, True),
              help="Strain each component by at most this much.")  # fmt: skip
@click.option("--strains", default=4, show_default=True, type=Whole(min=2),
              help="Apply this many strains of each component; the number must be even.")  # fmt: skip
@click.option("--clamped", is_flag=True, help="Keep the fractional positions of the atoms in strained cells.")
@click.option("--strained-fmax", default=0.001, show_default=True, type=POSITIVE,
              help="Relax the atoms of strained cells until no force is larger than this, "
              "in eV/Å.")  # fmt: skip
@crystal_options
def elastic(run: CrystalRun, strain: float, strains: int, clamped: bool, strained_fmax: float) -> None:
    """Compute the elastic constants of a crystal.

    They follow from the stresses under small strains of the first frame of STRUCTURE, which is relaxed first,
    and tell whether the crystal is mechanically stable. The axes are those of the file, and the order is
    Voigt's: xx, yy, zz, yz, xz, xy.
    """
    given = click.get_current_context().get_parameter_source("strained_fmax")
    if clamped and given is ParameterSource.COMMANDLINE:
        raise click.BadParameter("has no meaning with --clamped", param_hint="--strained-fmax")
    if strains < 2 or strains % 2:
        raise click.BadParameter(f"must be even and at least 2, got {strains}", param_hint="--strains")
    atoms = run.start()
    from ...mechanics.elasticity import elastic_constants

    with bar("strain") as progress, run.warned():
        result = elastic_constants(
            atoms,
            relax_first=False,  # it is, if that is asked for
            strain=strain,
            strains=strains,
            clamped=clamped,
            strained_fmax=strained_fmax,
            symmetrize=run.symmetrize,
            symprec=run.symprec,
            checkpoint=run.results.parts,
            progress=progress,
        )
    text = f"{run.structure}: {describe_cell(atoms)}\n{_text(result, run.force(result.residual_force))}"
    run.finish(result.to_dict(), text, result.plot)


def _text(result, force: str) -> str:
    ions = "relaxed ions" if result.relaxed_ions else "clamped ions"
    group = f", averaged over the point group of {result.space_group}" if result.space_group else ""
    model = "" if result.averaging == "none" else f"; model averaged over {result.averaging}"
    lines = [f"stiffness, GPa ({ions}{group}{model})", "      " + "".join(f"{name:>9}" for name in NAMES)]
    lines += [
        f"  {name}  " + "".join(f"{entry + 0.0:9.2f}" for entry in row)
        for name, row in zip(NAMES, result.stiffness.round(6), strict=True)
    ]
    state = "stable" if result.stable else "NOT stable"
    lines.append(f"mechanically {state}: smallest eigenvalue {result.eigenvalues[0]:.2f} GPa")
    if result.moduli is not None:
        m = result.moduli
        lines += [
            "of a polycrystal       Voigt     Reuss      Hill",
            f"  bulk modulus     {m.bulk_voigt:9.2f} {m.bulk_reuss:9.2f} {m.bulk:9.2f} GPa",
            f"  shear modulus    {m.shear_voigt:9.2f} {m.shear_reuss:9.2f} {m.shear:9.2f} GPa",
            f"  Young's modulus                      {m.young:9.2f} GPa",
            f"  Poisson's ratio {m.poisson_ratio:.4f}, universal anisotropy {m.anisotropy:.4f}",
        ]
    stress = " ".join(f"{entry + 0.0:.3f}" for entry in result.residual_stress.round(3))
    lines += [
        f"residual stress {stress} GPa",
        f"residual force {force}",
        f"antisymmetric part removed {result.asymmetry:.3f} GPa, deviation from straight lines "
        f"{result.fit_error:.4f} GPa",
    ]
    if result.symmetry_deviation is not None:
        lines.append(
            f"changed by averaging over the point group, at most {result.symmetry_deviation:.3f} GPa"
        )
    return "\n".join(lines)
