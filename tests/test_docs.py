"""Blocks of code in README and docs are run as :mod:`documentation` says; links lead somewhere."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess

import pytest
from documentation import KINDS, PAGES, ROOT, Block, Command, blocks

from phs_mpi import cli

#: Pages whose commands take a while: they draw every figure.
LONG = {"figures.md", "quickstart.md", "report.md"}
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("value", ["0.0144, 3", "-5.6e-05, 12", "7, 1,234.5"])
def test_any_number_may_stand_for_another(value):
    shown = Command("", 0, "f(x=0.000239, 20) …\n", numbers_vary=True)
    assert shown.printed(f"f(x={value}) is it\n")
    assert not shown.printed(f"f(y={value}) is it\n")
    assert not shown.printed(f"f(x={value}, 1) is it\n")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=pytest.mark.slow if page.name in LONG else ())
        for page in PAGES
    ],
)
def test_code_and_commands_of_a_page_work(page, launch):
    found = blocks(page)
    lines = [
        command.line for block in found if block.kind == "console" for command in block.commands
    ]
    for block in found:
        where = f"{page.name}, line {block.line}"
        assert block.kind in KINDS, f"{where}: a block marked {block.kind!r}"
        assert block.reason != "?", f"{where}: it is not said why this block is not run"
        if block.kind in ("python", "c"):
            assert block.name, f"{where}: this block does not name its file"
            launch.write(block.name, block.text)
        if block.kind == "python" and "Experiment(" not in block.text:
            if not any(block.name in line for line in lines):
                done = launch(None, block.name)
                assert done.returncode == 0, f"{where}\n{done.stderr}"
        elif block.kind == "python" and not any(block.name in line for line in lines):
            done = launch.phs(None, block.name)
            assert done.returncode == 0, f"{where}\n{done.stderr}"
        elif block.kind == "c":
            compile_and_run(launch, block)
        elif block.kind == "console":
            for command in block.commands:
                run(launch, command, where)


def run(launch, command: Command, where: str) -> None:
    words = shlex.split(command.line)
    ranks = None
    if words[:2] == ["mpirun", "-n"]:
        ranks, words = int(words[2]), words[3:]
    assert words[0] in ("python", "cat"), command.line
    if words[0] == "cat":
        output = (launch.folder / words[1]).read_text()
    else:
        done = launch(ranks, *words[1:], COLUMNS="100")
        output = done.stdout + done.stderr
        assert done.returncode == command.status, f"{where}: {command.line}\n{output}"
    if command.output:
        assert command.printed(output), f"{where}: {command.line} prints\n{output}"


def compile_and_run(launch, block: Block) -> None:
    flags = hdf5_flags()
    program = launch.folder / block.name.removesuffix(".c")
    subprocess.run(
        ["mpicc", "-Wall", "-Werror", block.name, "-o", program, *flags],
        cwd=launch.folder,
        check=True,
    )
    done = subprocess.run([program], cwd=launch.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def hdf5_flags() -> list[str]:
    """How to compile against the parallel HDF5 of this machine."""
    if not shutil.which("mpicc") or not shutil.which("pkg-config"):
        pytest.skip("no mpicc or no pkg-config here")
    found = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "hdf5-openmpi"], capture_output=True, text=True
    )
    if found.returncode:
        pytest.skip("no parallel HDF5 of the system here")
    return found.stdout.split()


def test_job_scripts_of_the_page_on_slurm_are_those_that_are_tested():
    files = {path.read_text() for path in (ROOT / "scripts" / "slurm").iterdir()}
    shown = [block.text for block in blocks(ROOT / "docs" / "slurm.md") if "#!" in block.text[:2]]
    assert shown
    assert set(shown) <= files


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_within_the_project_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_page_of_commands_has_every_command_and_option_and_no_other():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `([\w-]+)[^\n]*\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    grammar = cli.parser()
    commands = next(action.choices for action in grammar._actions if action.choices)
    for name, command in commands.items():
        there = {option for action in command._actions for option in action.option_strings}
        described = set(re.findall(r"^- `(-[^`]*)`", sections[name], re.M))
        named = {word for words in described for word in re.findall(r"(?:^|(?<=, ))-[\w-]+", words)}
        assert named == there - {"-h", "--help"}, name
    assert sections.keys() >= commands.keys()


def test_the_floor_plan_is_the_contract_that_is_checked():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    floors = config["importlinter:contract:floors"]["layers"].split("\n")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    plan = page.partition("## Floors")[2].partition("## Tests")[0]
    described = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`[^|]*) \|", plan, re.M)]
    assert described == [floor.split(" | ") for floor in floors if floor]
