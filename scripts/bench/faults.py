"""Fault campaign: runs under mpirun, each with a fault at a random instant, then resumed.

    python scripts/bench/faults.py [--runs 200] [--seed 1] [--ranks 8] [--kinds kill-worker,raises]

Each run is a small experiment (evaluations of about 20 ms, half of the time also Bayesian ones)
whose target keeps a log of its own, on disk line by line. A fault strikes; the same command is
started again until all is evaluated; then the results file is held against the target's log. One
line of JSON a run goes to ``--out``: stopped and started again, the campaign goes on. At the end it
prints the table. Words in it:

completed
    The target's function returned, or failed in a way that is recorded, **and** its row was
    committed. That is known from outside in two ways: the row is whole in the file when the run
    with the fault has ended, or its worker went on to another evaluation, by the target's log,
    which it does only after the commit.
lost
    A completed evaluation whose row is not whole after the fault, or is not the same, byte for
    byte, at the very end, or was begun again although it was whole; and any row at the end that
    says something else than the target's log, or is not there.
twice
    An evaluation that the file's log calls completed twice, not lost in between.
repeated work
    Evaluations begun again that had not been completed: their worker was killed in them, or in
    the moment between the function's return and the commit. At most one a worker and fault.
hang
    A run that has not ended within ``--deadline`` seconds (it is then killed), or a process of it
    that is still there `AFTERWARDS` seconds after its launcher has ended.
other
    Anything else that should not be: a traceback of ours, a resumed run that does not end with
    status 0.

``disk-full`` mounts a small tmpfs and takes root; without it that kind is left out, with a line
saying so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import faults_check as check

HERE = Path(__file__).resolve().parent
#: Seconds that processes have to end after their launcher.
AFTERWARDS = 30.0
#: Times the same command is started again before the run counts as unfinished.
RESUMES = 3
#: Seconds of SIGSTOP.
STOPPED = 5.0
#: Seconds that an evaluation may take where evaluations have a process of their own.
TIMEOUT = 1.5

#: Faults of the target itself: the harm (see faults_experiment.py), and whether it can only end
#: where evaluations have a process of their own and a time limit.
TARGETS = {
    "raises": ("raises", False),
    "sys.exit": ("sys.exit", False),
    "exits": ("os._exit", False),
    "segfaults": ("segfaults", False),
    "aborts": ("aborts", False),
    "hangs": ("hangs", True),
    "holds-the-lock": ("holds the lock", False),
    "prints": ("prints", True),
}
OUTER = ("kill-worker", "kill-rank-0", "kill-mpirun", "kill-child", "stop-worker", "disk-full")
KINDS = (*OUTER, *TARGETS)


@dataclass
class Plan:
    """One run of the campaign; everything in it follows from its seed."""

    number: int
    kind: str
    ranks: int
    seed: int
    isolated: bool = False
    rank_0_writes: bool = False
    after: int = 0
    wait: float = 0.0
    setting: dict = field(default_factory=dict)

    @property
    def evaluations(self) -> int:
        return self.setting["drawn"] + self.setting["searched"]


def plan(number: int, kind: str, ranks: int, seed: int, sets: int) -> Plan:
    """Draw what a run is like, and when its fault strikes."""
    draw = random.Random(f"{seed} {number} {kind}")
    searched = draw.choice([0, sets // 4])
    made = Plan(number, kind, ranks, seed)
    made.setting = {
        "seed": draw.randrange(1000),
        "seconds": 0.02,
        "drawn": sets - searched,
        "searched": searched,
        "talks": draw.random() < 0.5,
    }
    alone = kind in TARGETS and TARGETS[kind][1]
    made.isolated = alone or kind == "kill-child" or draw.random() < 0.3
    made.rank_0_writes = draw.random() < 0.25
    # One in six strikes while the run starts up, before the first evaluation has ended.
    made.after = 0 if draw.random() < 1 / 6 else draw.randrange(1, sets - 4)
    made.wait = draw.uniform(0, 0.05) if made.after else draw.uniform(0, 4)
    return made


class Run:
    """The folder and the processes of one run of the campaign."""

    def __init__(self, planned: Plan, deadline: float):
        self.plan = planned
        self.deadline = deadline
        self.mark = uuid.uuid4().hex
        self.folder = Path(tempfile.mkdtemp(prefix="f-"))
        shutil.copy(HERE / "faults_experiment.py", self.folder / "experiment.py")
        (self.folder / "setting.json").write_text(json.dumps(planned.setting))
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.hangs: list[str] = []
        self.struck: float | None = None

    @property
    def output(self) -> Path:
        return self.disk / "out.h5"

    def lines(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            text = (self.folder / "calls.txt").read_text()
            return text[: text.rfind("\n") + 1].splitlines()
        return []

    def command(self) -> list[str]:
        beside = Path(sys.executable).parent / "mpirun"
        program = str(beside) if beside.exists() else shutil.which("mpirun")
        assert program, "there is no mpirun"
        words = [program, "-n", str(self.plan.ranks), sys.executable, "-m", "phs_mpi"]
        words += ["experiment.py", "-o", "disk/out.h5"]
        if self.plan.isolated:
            words += ["--isolate", "--timeout", str(TIMEOUT)]
        if self.plan.rank_0_writes:
            words += ["--rank-0-writes"]
        return words

    def start(self) -> subprocess.Popen:
        environment = os.environ | {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
            "OMP_NUM_THREADS": "1",
            # What killed jobs leave behind goes with the folder.
            "OMPI_MCA_orte_tmpdir_base": str(self.folder),
            "OMPI_MCA_btl_vader_backing_directory": str(self.folder),
            "TMPDIR": str(self.folder),
            "PHS_FAULTS": self.mark,
        }
        with (self.folder / "said.txt").open("ab") as said:
            return subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def processes(self) -> dict[int, dict[str, str]]:
        """Everything that this run has started, with its environment and command line."""
        found = {}
        mark = f"PHS_FAULTS={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                raw = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
                if mark in raw and state not in "ZX":
                    words = (w.partition(b"=") for w in raw.split(b"\0"))
                    found[int(entry.name)] = {k.decode(): v.decode() for k, _, v in words} | {
                        "command": (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    }
        return found

    def rank(self, number: int) -> list[int]:
        return [
            pid
            for pid, known in self.processes().items()
            if str(number) in (known.get("OMPI_COMM_WORLD_RANK"), known.get("PMI_RANK"))
        ]

    def children(self) -> list[int]:
        return [
            p for p, k in self.processes().items() if "phs_mpi.backends.isolated" in k["command"]
        ]

    def wait(self, process: subprocess.Popen) -> int | None:
        """Wait for the launcher and all its processes; kills them if that takes too long."""
        try:
            process.wait(self.deadline)
        except subprocess.TimeoutExpired:
            self.hangs.append(f"no end after {self.deadline:g} s")
        until = time.monotonic() + (0 if self.hangs else AFTERWARDS)
        while (there := self.processes()) and time.monotonic() < until:
            time.sleep(0.02)
        if there and not self.hangs:
            commands = {known["command"] for known in there.values()}
            self.hangs.append(f"{len(there)} processes outlive mpirun: {commands}")
        for pid in there:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        return process.returncode

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def strike(run: Run, process: subprocess.Popen, draw: random.Random) -> None:
    """Wait for the instant of a fault from outside, and do it."""
    planned = run.plan
    until = time.monotonic() + run.deadline
    if planned.kind == "disk-full" and not planned.after:
        planned.wait /= 4  # also before there is a results file
    while sum(line.startswith("end") for line in run.lines()) < planned.after:
        if process.poll() is not None or time.monotonic() > until:
            return
        time.sleep(0.002)
    time.sleep(planned.wait)
    if planned.kind == "disk-full":
        run.struck = time.time()
        with contextlib.suppress(OSError), (run.disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        return
    if planned.kind == "kill-mpirun":
        victims = [process.pid] if process.poll() is None else []
    elif planned.kind == "kill-rank-0":
        victims = wait_for(lambda: run.rank(0), process)
    elif planned.kind == "kill-child":
        victims = wait_for(run.children, process)
    else:
        number = draw.randrange(1, planned.ranks)
        victims = wait_for(lambda: run.rank(number), process)
    if not victims:
        return
    run.struck = time.time()
    with contextlib.suppress(ProcessLookupError):
        victim = draw.choice(victims)
        if planned.kind == "stop-worker":
            os.kill(victim, signal.SIGSTOP)
            time.sleep(STOPPED)
            os.kill(victim, signal.SIGCONT)
        else:
            os.kill(victim, signal.SIGKILL)


def wait_for(find, process: subprocess.Popen) -> list[int]:
    """What `find` finds, once that is something."""
    while process.poll() is None:
        found = find()
        if found:
            return found
        time.sleep(0.01)
    return []


def carry_out(planned: Plan, deadline: float, keep: bool) -> dict:
    """One run with its fault, the runs that resume it, and the judgement."""
    run = Run(planned, deadline)
    draw = random.Random(f"victim {planned.seed} {planned.number} {planned.kind}")
    full = planned.kind == "disk-full"
    if full:
        mount(run.disk)
    if planned.kind in TARGETS:
        index = draw.randrange(planned.evaluations)
        (run.folder / f"fault-{index}").write_text(TARGETS[planned.kind][0])
    try:
        process = run.start()
        if planned.kind in OUTER:
            strike(run, process, draw)
        statuses = [run.wait(process)]
        ended = time.time()
        if planned.kind in TARGETS:
            with contextlib.suppress(FileNotFoundError):
                run.struck = os.stat(run.folder / "fault-taken").st_ctime
        lines = run.lines()
        before, length = check.calls(lines), len(lines)
        then = check.rows(run.output)
        said = (run.folder / "said.txt").read_text(errors="replace")
        with contextlib.suppress(FileNotFoundError):
            (run.disk / "filler").unlink()
        if run.struck is None and not run.hangs:
            statuses[0] = None  # too late: the run had ended
        for _ in range(RESUMES):
            statuses.append(run.wait(run.start()))
            if statuses[-1] == 0 or run.hangs:
                break
        whole = (run.folder / "said.txt").read_text(errors="replace")
        after = check.calls(run.lines()[length:])
        record = judge(run, before, after, then)
    finally:
        if full:
            subprocess.run(["umount", str(run.disk)], check=True)
    record["statuses"] = statuses
    record["seconds"] = None if run.struck is None else round(ended - run.struck, 3)
    if ours := traceback_of_ours(said) or traceback_of_ours(whole):
        record["other"].append(ours)
    if run.struck is not None and harmless(planned) and statuses[0] != 0:
        record["other"].append(f"the run with the fault ended with {statuses[0]}")
    if statuses[-1] != 0:
        record["other"].append(f"the last resumed run ended with {statuses[-1]}")
    record["bad"] = bool(record["lost"] or record["twice"] or record["hangs"] or record["other"])
    if record["bad"]:
        record["said"] = whole[-3000:]
    if record["bad"] and keep:
        record["folder"] = str(run.folder)
    else:
        run.close()
    return record


def harmless(planned: Plan) -> bool:
    """Whether the fault should cost one evaluation, and end no run."""
    if planned.kind in ("exits", "segfaults", "aborts"):
        return planned.isolated
    return planned.kind in TARGETS or planned.kind in ("kill-child", "stop-worker")


def version() -> str:
    """The commit of this checkout; with a plus sign if it is changed."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=HERE, capture_output=True, text=True
    )
    return said.stdout.strip() or "unknown"


VERSION = version()


def judge(run: Run, before: check.Calls, after: check.Calls, then: dict[int, bytes]) -> dict:
    """Hold the results file against the target's log."""
    now = check.rows(run.output)
    lost = set(check.lost(before, then, now)) | set(check.evaluated_again(then, after))
    other, twice = [], []
    if now:
        begun = [*before.started, *after.started]
        returned = before.results | after.results
        harmed = {index for index in begun if index not in returned}
        if run.plan.isolated:  # it may have been killed in its first life
            harmed |= {i for i in before.started if i not in before.results}
        wrong = set(check.contradicting(run.output, returned, harmed))
        if run.plan.kind == "kill-child":
            # One may be killed after its last line and before its result has left the process:
            # nobody knows that it returned, and it is recorded as what it is, killed.
            killed = wrong & set(check.failed(run.output))
            wrong -= killed if len(killed) == 1 else set()
        lost |= wrong
        twice = check.completed_twice(run.output)
        again = {index for index in begun if begun.count(index) > 1}
    else:
        other, again = ["there is no results file at the end"], set()
    return {
        "version": VERSION,
        "number": run.plan.number,
        "kind": run.plan.kind,
        "seed": run.plan.seed,
        "ranks": run.plan.ranks,
        "isolated": run.plan.isolated,
        "rank_0_writes": run.plan.rank_0_writes,
        "after": run.plan.after,
        "completed": len(set(then) | before.left),
        "lost": sorted(lost),
        "twice": twice,
        "repeated": len(again - lost),
        "hangs": run.hangs,
        "other": other,
    }


def traceback_of_ours(said: str) -> str:
    """The last line of a traceback that reached the terminal, if there is one."""
    if "Traceback (most recent call last)" not in said:
        return ""
    tail = said.partition("Traceback (most recent call last)")[2].splitlines()
    ends = [line for line in tail if line and not line.startswith(" ")]
    return f"a traceback: {ends[0] if ends else ''}"


def mount(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            mount(Path(folder))
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def table(records: list[dict]) -> str:
    """The campaign as a Markdown table, a line for each kind of fault."""
    head = "fault | runs | completed | lost | twice | repeated work | hangs | other | s to end"
    lines = [f"| {head} |", "|---|" + "---|" * 8]
    struck = [r for r in records if r["seconds"] is not None or r["bad"]]
    for name in [*(k for k in KINDS if any(r["kind"] == k for r in struck)), "all"]:
        here = [r for r in struck if name in (r["kind"], "all")]
        if not here:
            continue
        counts = [
            sum(len(r[what]) if isinstance(r[what], list) else r[what] for r in here)
            for what in ("completed", "lost", "twice", "repeated", "hangs", "other")
        ]
        seconds = [r["seconds"] for r in here if r["seconds"] is not None]
        spread = f"{statistics.median(seconds):.1f} ({max(seconds):.1f})" if seconds else ""
        lines.append(f"| {name} | {len(here)} | {' | '.join(map(str, counts))} | {spread} |")
    missed = len(records) - len(struck)
    if missed:
        lines.append(f"\n{missed} further runs had ended before their fault.")
    return "\n".join(lines)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--runs", type=int, default=200)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--ranks", type=int, default=8)
    options.add_argument("--sets", type=int, default=60)
    options.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    options.add_argument("--deadline", type=float, default=180.0, metavar="SECONDS")
    options.add_argument("--out", type=Path, default=Path("faults.jsonl"))
    options.add_argument("--keep", action="store_true", help="keep folders of bad runs")
    options.add_argument("--table", action="store_true", help="only print the table")
    given = options.parse_args()
    kinds = given.kinds.split(",")
    unknown = set(kinds) - set(KINDS)
    if unknown:
        options.error(f"there is no fault {sorted(unknown)[0]!r}: choose from {', '.join(KINDS)}")
    if "disk-full" in kinds and not given.table and not can_mount():
        print("disk-full is left out: mounting a small file system takes root", file=sys.stderr)
        kinds.remove("disk-full")
    records = [json.loads(line) for line in given.out.open()] if given.out.exists() else []
    done = {(r["seed"], r["number"], r["kind"], r["ranks"]) for r in records}
    for number in range(0 if given.table else given.runs):
        kind = kinds[number % len(kinds)]
        if (given.seed, number, kind, given.ranks) in done:
            continue
        planned = plan(number, kind, given.ranks, given.seed, given.sets)
        record = carry_out(planned, given.deadline, given.keep)
        records.append(record)
        with given.out.open("a") as out:
            out.write(json.dumps(record) + "\n")
        verdict = "BAD" if record["bad"] else "good"
        print(f"{number} {kind}: {verdict}, statuses {record['statuses']}", flush=True)
    print(table(records))
    return int(any(r["bad"] for r in records))


if __name__ == "__main__":
    sys.exit(main())
