"""All benches, or some, by one command: tables, goals, and a JSON file.

    python scripts/bench/run.py [name …] [--json FILE] [--quick]
    python scripts/bench/run.py --list

Every figure stands beside a raw limit or a peer that was measured in the same run. With each bench
is written how idle the machine was: on one that others use, only ratios mean something. All of them
take less than 20 minutes on two cores. `--quick` runs each at a size that shows only that it works.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import time
from pathlib import Path

from harness import Report, peer_versions, surroundings, watched

#: Name: module with ``measure(quick) -> Report``, and what it is about.
BENCHES = {
    "startup": ("startup", "from mpirun to the first evaluation; imports, memory, files opened"),
    "overhead": ("overhead", "evaluations that do nothing, per second, beside ping-pong and peers"),
    "executors": ("executors", "the same on each backend, beside the executor below it"),
    "efficiency": ("efficiency", "work done / (workers x wall time)"),
    "exchange": ("exchange", "from the end of an evaluation into all logs; messages and bytes"),
    "costs": ("costs", "CPU time of a message, a broadcast, an evaluation: what simulate.py takes"),
    "store": ("store", "rows per second, going on with and looking at large files"),
    "memory": ("memory", "of a rank against results"),
    "soak": ("soak", "a long run of 64 ranks: everything accounted for, memory, utilisation"),
    "simulate": (
        "simulate",
        "up to 100,000 workers, simulated; beside real runs of up to 64",
    ),
    "profiles": ("profiles", "what takes the processor's time: a profile behind each bottleneck"),
    "dask": ("dask_traffic", "what the Dask backend sends"),
}


def run(name: str, quick: bool) -> dict:
    """Run one bench and print it; returns what goes into the JSON file."""
    module = importlib.import_module(BENCHES[name][0])
    with watched() as machine:
        report: Report = module.measure(quick)
    print(f"## {name}: {BENCHES[name][1]}\n\n{report.markdown()}\n")
    print(
        f"{machine['seconds']:.0f} s; of the cores {100 * machine['idle']:.0f} % were idle and "
        f"{100 * machine['others']:.0f} % with other programs, load {machine['load']:.1f}\n",
        flush=True,
    )
    goals = [dataclasses.asdict(goal) | {"met": goal.met} for goal in report.goals]
    return dataclasses.asdict(report) | {"goals": goals, "machine": machine}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHES)}")
    options.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options.add_argument("--quick", action="store_true", help="only to see that they work")
    options.add_argument("--list", action="store_true", help="say what there is")
    given = options.parse_args()
    if given.list:
        for name, (_, about) in BENCHES.items():
            print(f"{name:12}{about}")
        return
    unknown = [name for name in given.names if name not in BENCHES]
    if unknown:
        options.error(f"no bench {', '.join(unknown)}: choose of {', '.join(BENCHES)}")
    found = {
        "begun": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": given.quick,
        "surroundings": surroundings(),
        "peers": peer_versions(),
        "benches": {},
    }
    print(f"# Measured on {found['surroundings']['cores']} cores, {found['begun']}\n")
    for name in given.names or BENCHES:
        found["benches"][name] = run(name, given.quick)
        if given.json:  # after each, so that one that is stopped leaves what it has
            given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
