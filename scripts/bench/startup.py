"""From mpirun to the first evaluation, beside a bare import of MPI, NumPy and h5py.

    python scripts/bench/run.py startup

The bare program does `from mpi4py import MPI; import numpy, h5py` on as many ranks, and its time is
that of the last rank. Both are counted from the moment in which mpirun is started. Imports, memory
and opened files are those of single ranks: `sitecustomize` sees to it, so that what is opened
before experiment.py counts as well. With strace, system calls that name a file are counted too: on
a shared file system each is a request to its metadata server.

Our package is compiled to bytecode first, as pip does when it installs one; a clone has none where
PYTHONDONTWRITEBYTECODE is set, and each rank then compiles all it imports.
"""

from __future__ import annotations

import compileall
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Goal, Report, Table
from overhead import mpirun_command

import phs_mpi

BARE = """
import sys, time
from mpi4py import MPI
import numpy, h5py
open(f"{sys.argv[1]}/{MPI.COMM_WORLD.rank}", "w").write(repr(time.time()))
"""

EXPERIMENT = """
import os, time
from phs_mpi import Bayesian, Experiment, Random

def target(x):
    time.sleep({seconds})
    return x

experiment = Experiment(target, {{"x": float}})
experiment.add({sets}, x=Random(0, 1))
if {searched}:
    experiment.add({searched}, x=Bayesian(0, 1))
"""

#: Read by every Python that finds it on its path; writes what a rank has opened and loaded.
SITE = """
import atexit, json, os, sys
opened = 0
def count(event, arguments):
    global opened
    opened += event == "open"
sys.addaudithook(count)
def tell():
    import psutil
    rank = os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK"))
    if rank is None:
        return
    memory = psutil.Process().memory_full_info()
    heavy = [m for m in ("scipy", "sklearn", "matplotlib", "pandas", "h5py") if m in sys.modules]
    peak = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
    found = dict(opened=opened, modules=len(sys.modules), uss=memory.uss, peak=1024 * int(peak))
    with open(os.path.join(os.environ["BENCH_TOLD"], rank), "w") as file:
        json.dump(found | dict(heavy=heavy), file)
atexit.register(tell)
"""

#: What is imported already, and what is timed.
PREPARED = {"what the first proposal loads": "import phs_mpi.backends.mpi.backend, h5py"}
IMPORTS = {
    "bare: mpi4py, numpy, h5py": "from mpi4py import MPI; import numpy, h5py",
    "a rank of ours": "import phs_mpi.__main__, phs_mpi.backends.mpi.backend, h5py",
    "the command line": "import phs_mpi.__main__",
    "what the first proposal loads": "import phs_mpi.search.history, phs_mpi.search.model",
}


def launched(ranks: int, *arguments, cwd: str, env: dict[str, str] | None = None) -> float:
    """Run it; returns the moment in which mpirun was started."""
    command, environment = mpirun_command(ranks, *arguments)
    begun = time.time()
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment | (env or {}),
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        sys.exit(f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return begun


def bare_seconds(ranks: int) -> tuple[float, float]:
    """Until the first, and until the last rank has imported."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "bare.py").write_text(BARE)
        told = Path(folder, "told")
        told.mkdir()
        begun = launched(ranks, "bare.py", told, cwd=folder)
        moments = [float(path.read_text()) for path in told.iterdir()]
        return min(moments) - begun, max(moments) - begun


def our_seconds(ranks: int) -> tuple[float, float]:
    """Until the first evaluation starts, and until each worker has started one."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        text = EXPERIMENT.format(seconds=0.5 + ranks / 16, sets=ranks - 1, searched=0)
        Path(folder, "start.py").write_text(text)
        begun = launched(ranks, "-m", "phs_mpi", "start.py", "--quiet", cwd=folder)
        with h5py.File(Path(folder, "start.h5")) as file:
            starts = file["evaluations"]["start"]
        return float(starts.min()) - begun, float(starts.max()) - begun


def told_by_ranks(ranks: int, *arguments: str, experiment: str = "") -> list[dict]:
    """What each rank has opened and loaded in the end."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(SITE)
        Path(folder, "bare.py").write_text(BARE)
        Path(folder, "start.py").write_text(experiment)
        told = Path(folder, "told")
        told.mkdir()
        Path(folder, "bare").mkdir()
        path = ":".join([folder, *filter(None, sys.path)])
        launched(ranks, *arguments, cwd=folder, env={"PYTHONPATH": path, "BENCH_TOLD": str(told)})
        return [json.loads(Path(told, str(rank)).read_text()) for rank in range(ranks)]


def import_seconds(statement: str, repeats: int, before: str = "pass") -> float:
    """Of `statement` in a new process under mpirun, without the start of Python and `before`."""
    code = f"import time; {before}; b = time.perf_counter()\n{statement}\n"
    code += "print(time.perf_counter() - b)"
    command, environment = mpirun_command(1, "-c", code)
    seconds = []
    for _ in range(repeats):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        seconds.append(float(done.stdout.split()[-1]))
    return statistics.median(seconds)


def file_calls(statement: str) -> int | None:
    """System calls that name a file, as strace counts them; None where it cannot."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    with tempfile.NamedTemporaryFile() as file:
        command = [strace, "-f", "-qq", "-c", "-e", "trace=file", "-o", file.name]
        command, environment = [*command, sys.executable, "-c", statement], mpirun_command(1)[1]
        done = subprocess.run(command, env=environment, capture_output=True)
        total = re.search(r"([\d]+)\s+(?:\d+\s+)?total", Path(file.name).read_text())
        return int(total[1]) if not done.returncode and total else None


def measure(quick: bool) -> Report:
    """All of it."""
    report = Report()
    if not compileall.compile_dir(Path(phs_mpi.__file__).parent, quiet=1):
        report.left_out.append("bytecode: the folder of phs_mpi cannot be written")
    table = Table(
        "Seconds from mpirun, median",
        ["ranks", "bare, last rank", "first evaluation", "every worker evaluates", "first to bare"],
    )
    for ranks, repeats in ({3: 1} if quick else {4: 5, 64: 2}).items():
        bare, ours = [], []
        for _ in range(repeats):  # in turn, so that both see the same machine
            bare.append(bare_seconds(ranks))
            ours.append(our_seconds(ranks))
        raw = statistics.median(last for _, last in bare)
        first, last = (statistics.median(found) for found in zip(*ours, strict=True))
        table.rows.append([ranks, raw, first, last, first / raw])
        report.figures |= {f"bare, -n {ranks}": raw, f"first, -n {ranks}": first}
        report.goals.append(
            Goal(f"first evaluation on {ranks} ranks, of bare", 1.3, first / raw, at_most=True)
        )
    report.tables += [table, _imports(report, quick), _ranks(report)]
    return report


def _imports(report: Report, quick: bool) -> Table:
    programs = dict(list(IMPORTS.items())[:2]) if quick else IMPORTS
    seconds, calls = {}, {}
    for name, code in programs.items():
        before = PREPARED.get(name, "pass")
        seconds[name] = import_seconds(code, 1 if quick else 5, before)
        calls[name] = file_calls(f"{before}; {code}")
        if name in PREPARED and calls[name] is not None:
            calls[name] -= file_calls(before) or 0
    if None in calls.values():
        report.left_out.append("system calls: strace is not there, or may not trace")
    raw = seconds["bare: mpi4py, numpy, h5py"]
    rows = [[name, 1e3 * s, s / raw, calls[name] or "–"] for name, s in seconds.items()]
    columns = ["", "ms", "of bare", "system calls that name a file"]
    return Table("Importing, one rank, files in the page cache", columns, rows)


def _ranks(report: Report) -> Table:
    bare = told_by_ranks(2, "bare.py", "bare")[1]
    ours = ("-m", "phs_mpi", "start.py", "--quiet")
    drawn = told_by_ranks(2, *ours, experiment=EXPERIMENT.format(seconds=0, sets=40, searched=0))
    searched = told_by_ranks(
        2, *ours, experiment=EXPERIMENT.format(seconds=0, sets=10, searched=10)
    )
    found = {
        "bare": bare,
        "rank 0": drawn[0],
        "a worker that has not proposed": drawn[1],
        "rank 0 of a search": searched[0],
        "a worker that has proposed": searched[1],
    }
    rows = [
        [
            name,
            told["uss"] / 2**20,
            told["uss"] / bare["uss"],
            told["opened"],
            told["modules"],
            ", ".join(m for m in told["heavy"] if m != "h5py") or "none",
        ]
        for name, told in found.items()
    ]
    for name in ("rank 0", "rank 0 of a search", "a worker that has not proposed"):
        heavy = {"scipy", "sklearn", "matplotlib"} & set(found[name]["heavy"])
        report.goals.append(
            Goal(f"heavy packages imported by {name}", 0.0, float(len(heavy)), at_most=True)
        )
    report.figures |= {f"unshared bytes, {name}": float(t["uss"]) for name, t in found.items()}
    columns = ["", "MiB of its own", "of bare", "files opened by Python", "modules", "heavy ones"]
    return Table("A rank at its end", columns, rows)
