"""One grammar of commands: an option has one meaning, one default and one text, and is declared once."""

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path

import click
import pytest

from ase_mlip import cli
from ase_mlip.cli.options import BY_COMMAND, RETIRED
from ase_mlip.cli.program import main

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
SOURCES = sorted(Path(cli.__file__).parent.rglob("*.py"))
# -o is a folder, a file, or with design either; some commands take several of what others take one of
MADE_OFTEN = {"--output": 3, "--temperature": 2, "--symmetrize": 2}


def options():
    """Command and option, of all commands."""
    for name, command in main.commands.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                yield name, parameter


def name_of(option: click.Option) -> str:
    """The long one; -o FOLDER and -o FILE are two."""
    long = option.opts[-1]
    return f"{long} {option.metavar}" if long == "--output" else long


def meaning(option: click.Option) -> dict:
    """All that a user sees of an option; some commands take several of what others take one of."""
    default = option.default[0] if option.multiple and isinstance(option.default, tuple) else option.default
    return {
        "text": option.help,
        "default": None if isinstance(default, tuple) and not default else default,
        "shown default": option.show_default,
        "type": "path" if isinstance(option.type, click.Path) else repr(option.type.to_info_dict()),
        "values": option.nargs,
        "metavar": option.metavar,
        "flag": option.is_flag,
        "negation": option.secondary_opts,
        "short": option.opts[:-1],
    }


def test_one_name_has_one_meaning_one_default_and_one_text():
    found = defaultdict(lambda: defaultdict(list))
    for command, option in options():
        for what, value in meaning(option).items():
            found[name_of(option), what][str(value)].append(command)
    differing = {key: dict(values) for key, values in found.items() if len(values) > 1}
    assert differing == {}


def test_options_of_several_commands_are_declared_in_one_place():
    """No file declares an option that another declares, and those of several commands are in options.py."""
    declared = defaultdict(list)
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "option"):
                continue
            names = [part.value for part in node.args if isinstance(part, ast.Constant)]
            (long,) = [name.partition("/")[0] for name in names if name.startswith("--")]
            declared[long].append(source.name)
    twice = {name: files for name, files in declared.items() if len(files) > MADE_OFTEN.get(name, 1)}
    assert twice == {}
    commands = defaultdict(set)
    for command, option in options():
        commands[option.opts[-1]].add(command)
    assert set(commands) == set(declared)
    shared = {name for name, of in commands.items() if len(of) > 1}
    elsewhere = {name for name in shared if set(declared[name]) != {"options.py"}}
    assert elsewhere == set()


@pytest.mark.parametrize("command", main.commands)
def test_help_texts_are_sentences(command):
    """They begin with a capital and end with a full stop."""
    for option in main.commands[command].params:
        if isinstance(option, click.Option):
            assert option.help, f"{command} {option.opts[-1]} has no text"
            assert option.help[0].isupper() and option.help.endswith("."), f"{command} {option.opts[-1]}"


def test_defaults_differ_by_command_only_where_that_is_declared_with_the_reason():
    """No option of several commands names a default in words of its own."""
    named = {
        name_of(option) for _, option in options() if re.search(r"[Bb]y default|default is", option.help)
    }
    commands = defaultdict(set)
    for command, option in options():
        commands[name_of(option)].add(command)
    differing = {name for name in named if len(commands[name]) > 1}
    assert differing == BY_COMMAND.keys()
    for name, declared in BY_COMMAND.items():
        assert declared.values.keys() <= commands[name]
        assert declared.reason[0].isupper() and declared.reason.endswith(".")


def test_the_page_says_why_defaults_differ():
    rows = [[f"`{name}`", declared.text(), declared.reason] for name, declared in sorted(BY_COMMAND.items())]
    assert table("Defaults by command") == rows


def test_options_that_were_given_up_are_gone():
    there = {(command, name) for command, option in options() for name in option.opts}
    assert RETIRED and not there & RETIRED.keys()
    assert {command for command, _ in RETIRED} <= main.commands.keys()


# ---- docs/commands.md --------------------------------------------------------------------------------------


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def row(name: str) -> list[str]:
    """What the page says of an option: its spellings, its default, its text, the commands that have it."""
    having = [(command, option) for command, option in options() if name_of(option) == name]
    option = having[0][1]
    spellings = [f"`{spelling}`" for spelling in (*option.opts, *option.secondary_opts)]
    values = "" if option.is_flag or option.metavar is None else f" {option.metavar}"
    shown = option.show_default if isinstance(option.show_default, str) else meaning(option)["default"]
    if option.is_flag or str(shown) in ("None", "Sentinel.UNSET", ""):
        shown = f"`{option.opts[0]}`" if option.is_flag and option.default is True else "–"
    cells = [", ".join(spellings) + values, str(shown), option.help]
    return [cell.replace("|", "\\|") for cell in cells] + [", ".join(sorted({c for c, _ in having}))]


def test_the_page_lists_every_option_once():
    assert table("Options") == [row(name) for name in sorted({name_of(option) for _, option in options()})]


def test_the_page_names_the_commands_whose_exit_status_judges():
    """Those that end with a status of their own, beside errors and wrong usage."""
    judging = set()
    for name, command in main.commands.items():
        source = inspect.getsource(inspect.unwrap(command.callback))
        if "sys.exit(" in source or 'raise click.ClickException(f"failed' in source:
            judging.add(name)
    assert {cells[0].strip("`") for cells in table("Exit status") if cells[0].startswith("`")} == judging


def test_every_command_but_lammps_has_json_and_those_with_a_folder_overwrite():
    having = {option.opts[-1]: set() for _, option in options()}
    for command, option in options():
        having[option.opts[-1]].add(command)
    assert main.commands.keys() - having["--json"] == {"lammps"}
    folders = {command for command, option in options() if name_of(option) == "--output FOLDER"}
    assert folders - having["--overwrite"] == set()
