"""Every Python block and every command in README and docs is run.

Blocks of one page share a folder, in order. A Python block names its file in its first line; one
that defines an experiment is only written (commands of the page run it), unless no command does.
Blocks marked `sh` (they set up machines) and `text` (output) are not run.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Pages whose commands take half a minute.
LONG = {"figures.md", "report.md"}
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=pytest.mark.slow if page.name in LONG else ())
        for page in PAGES
    ],
)
def test_code_and_commands_of_a_page_work(page, launch):
    commands = [
        line[2:]
        for kind, text in blocks(page)
        if kind == "console"
        for line in text.splitlines()
        if line.startswith("$ ")
    ]
    for kind, text in blocks(page):
        assert kind in {"python", "console", "sh", "text"}, f"a block marked {kind!r}"
        if kind == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            assert name, f"this block does not name its file:\n{text}"
            launch.write(name[1], text)
            if "Experiment(" not in text:
                done = launch(None, name[1])
                assert done.returncode == 0, done.stderr
            elif not any(name[1] in command for command in commands):
                done = launch.phs(None, name[1])
                assert done.returncode == 0, done.stderr
        elif kind == "console":
            for line in text.splitlines():
                if line.startswith("$ "):
                    run(launch, line[2:])


def run(launch, command: str) -> None:
    words = shlex.split(command)
    ranks = None
    if words[:2] == ["mpirun", "-n"]:
        ranks, words = int(words[2]), words[3:]
    assert words[0] == "python", command
    done = launch(ranks, *words[1:])
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_job_scripts_of_the_page_on_slurm_are_those_that_are_tested():
    files = {path.read_text() for path in (ROOT / "scripts" / "slurm").iterdir()}
    page = ROOT / "docs" / "slurm.md"
    shown = [text for _, text in blocks(page) if text.startswith("#!")]
    assert shown
    assert set(shown) <= files


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_within_the_project_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
