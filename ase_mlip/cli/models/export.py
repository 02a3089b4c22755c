"""``ase-mlip export``: another program's checkpoint, or a model file of an older schema, as a model file."""

from __future__ import annotations

from pathlib import Path

import click

from .. import options
from ..command import Command
from ..common import require_new_file
from ..results import answer

FAMILIES = ("mace", "nequip", "sevennet", "pet")
OURS = "model-file"
KINDS = [*FAMILIES, OURS]


@click.command(cls=Command)
@click.option(
    "--from",
    "family",
    type=click.Choice([*FAMILIES, OURS]),
    required=True,
    help="Say which package wrote SOURCE; model-file stands for this one.",
)
@click.argument("source")
@options.output_file
@options.overwrite
@options.dtype
@click.option("--name", help="Give the model this name; by default that of SOURCE.")
@click.option("--head", help="Take this head of a model with several.")
@click.option("--modal", help="Take this modality of a multi-fidelity model.")
@click.option(
    "--allow-pickle", is_flag=True, help="Read SOURCE although it is a pickle, which can run any code."
)
@options.as_json
def export(
    family: str,
    source: str,
    output: Path | None,
    overwrite: bool,
    dtype: str | None,
    name: str | None,
    head: str | None,
    modal: str | None,
    allow_pickle: bool,
    as_json: bool,
) -> None:
    """Write a checkpoint as a model file.

    SOURCE is a checkpoint of MACE, NequIP, Allegro, SevenNet or PET, or a name that the family's installed
    package knows, such as 7net-0. The file is written only if energies, forces and stress are the family's
    own on ten structures, and on more where these do not hold every species.

    With --from model-file, SOURCE is a model file of any version of ase_mlip, which is written once more as
    this version writes them, with the same weights and the same numbers.
    """
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output': the model file to write.")
    require_new_file(output, overwrite)
    if family == OURS:
        given = {"--dtype": dtype, "--name": name, "--head": head, "--modal": modal}
        given["--allow-pickle"] = allow_pickle or None
        _export_again(
            source, output, [option for option, value in given.items() if value is not None], as_json
        )
        return
    if modal is not None and family != "sevennet":
        raise click.BadParameter("is for --from sevennet", param_hint="--modal")
    if head is not None and family == "sevennet":
        raise click.BadParameter("has no meaning with --from sevennet", param_hint="--head")
    from ...converters import adapt, export_adapted

    adapted = adapt(family, source, allow_pickle=allow_pickle, head=head, modal=modal)
    if name is not None:
        adapted.metadata["name"] = name
    lines, parities = [], []
    for parity in export_adapted(adapted, output, dtype):
        parities.append(parity._asdict())
        lines.append(
            f"{parity.dtype} on {parity.structures} structures, against {adapted.family}: "
            f"energy {parity.energy:.0e} (relative), forces {parity.forces:.0e} eV/Å, "
            f"stress {parity.stress:.0e} eV/Å³"
        )
    name = adapted.metadata["name"]
    lines.append(f"wrote {output}: {name}, {adapted.family}")
    document = {"file": str(output), "name": name, "family": adapted.family, "parity": parities}
    answer(document, "\n".join(lines), as_json)


def _export_again(source: str, output: Path, options: list[str], as_json: bool) -> None:
    if options:
        raise click.UsageError(f"`{options[0]}` means nothing for {OURS}; leave it out")
    from ...converters.export_again import export_again

    info = export_again(source, output)
    document = {"file": str(output), "name": info.name, "schema_version": info.schema_version}
    answer(document, f"wrote {output}: {info.name}, schema {info.schema_version}", as_json)
