"""Blocks of code in README and docs; as a program it lists which are run, and why others are not.

A block is ```` ```kind ````:

python
    Names its file in its first line, ``# name.py``. It is written there; one that defines an
    experiment is run by commands of its page, or else by ``python -m phs_mpi``, others as they are.
console
    ``$ command`` is run (``# status 2`` after it: and ends so); lines after it are what it prints,
    to the letter, with ``…`` for any text in a line and, alone in a line, for any lines. After
    ``<!-- numbers vary -->`` a number stands for any number.
c
    A program that names its file, ``/* name.c */``, and is compiled for parallel HDF5.
sh, text
    Not run; a comment before it says why: ``<!-- not run: it needs a cluster -->``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KINDS = {"python", "console", "c", "sh", "text"}

_BLOCK = re.compile(
    r"^(?:<!-- (?P<remark>[^\n]*) -->\n\n?)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = r"[-+−]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?"


@dataclass(frozen=True)
class Block:
    """A fenced block: where it starts, what it holds, and the remark in a comment before it."""

    page: Path
    line: int
    kind: str
    text: str
    remark: str = ""

    @property
    def reason(self) -> str:
        """Why it is not run; empty if it is."""
        if self.kind not in ("sh", "text"):
            return ""
        return self.remark.removeprefix("not run: ") if "not run: " in self.remark else "?"

    @property
    def name(self) -> str | None:
        """The file that a program is written to."""
        found = re.match(r"(?:# |/\* )(\w+\.(?:py|c))\b", self.text)
        return found[1] if found else None

    @property
    def commands(self) -> list[Command]:
        """What a console block runs; nothing for others."""
        found: list[Command] = []
        if self.kind != "console":
            return found
        for line in self.text.splitlines():
            if line.startswith("$ "):
                command, _, status = line[2:].partition("  # status ")
                found.append(Command(command, int(status or 0), "", self.remark == "numbers vary"))
            elif found:
                found[-1] = found[-1].followed_by(line)
        return found


@dataclass(frozen=True)
class Command:
    """A line of a console block: its exit status, and what it prints (empty: not shown)."""

    line: str
    status: int
    output: str
    numbers_vary: bool

    def followed_by(self, line: str) -> Command:
        """With one more line of output."""
        return Command(self.line, self.status, f"{self.output}{line}\n", self.numbers_vary)

    def printed(self, output: str) -> bool:
        """Whether that is the output shown."""
        pattern = "".join(map(self._pattern, self.output.rstrip().splitlines()))
        return re.fullmatch(
            pattern, "".join(f"{x.rstrip()}\n" for x in output.rstrip().splitlines())
        )

    def _pattern(self, line: str) -> str:
        if line.strip() == "…":
            return r"(?:[^\n]*\n)*"
        parts = re.split(f"(…|{_NUMBER})", line.rstrip())
        return "".join(map(self._part, parts)) + r"\n"

    def _part(self, part: str) -> str:
        if part == "…":
            return r"[^\n]*"
        if self.numbers_vary and re.fullmatch(_NUMBER, part):
            return _NUMBER
        return re.escape(part)


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text[: found.start("kind")].count("\n") + 1,
            found["kind"],
            found["text"],
            found["remark"] or "",
        )
        for found in _BLOCK.finditer(text)
    ]


def main() -> int:
    """Print the list, as a table in Markdown."""
    every = [block for page in PAGES for block in blocks(page)]
    excluded = [block for block in every if block.reason]
    print(f"{len(every)} blocks, {len(every) - len(excluded)} of them run; not run:\n")
    print("| block | reason |\n|---|---|")
    for block in excluded:
        print(
            f"| {block.page.relative_to(ROOT)}, line {block.line} ({block.kind}) | {block.reason} |"
        )
    return int(any(block.reason == "?" for block in excluded))


if __name__ == "__main__":
    sys.exit(main())
