"""A simulation that is a program of its own: which pendulum has been measured?

mpirun -n 4 python -m phs_mpi scripts/examples/simulation.py

Each evaluation starts the program in a folder of its own and reads what it has written there. A
program that fails, or that is still running after a minute, is a failed evaluation and no more.
"""

import subprocess
from pathlib import Path

import phs_mpi
from phs_mpi import Bayesian, Experiment, Random

PROGRAM = Path(__file__).resolve().with_name("pendulum.awk")
#: Angle each half second, as measured on one of 0.75 m with a damping of 0.2 / s.
MEASURED = [0.5, -0.087, -0.419, 0.245, 0.278, -0.335, -0.112, 0.351, -0.046, -0.298]


def misfit(length, damping):
    folder = phs_mpi.current().folder
    settings = ["-v", f"metres={length}", "-v", f"damping={damping}"]
    with open(folder / "angles.txt", "w") as file:
        subprocess.run(["awk", *settings, "-f", PROGRAM], stdout=file, check=True)
    lines = (folder / "angles.txt").read_text().splitlines()
    angles = [float(line.split()[1]) for line in lines]
    return sum((a - b) ** 2 for a, b in zip(angles, MEASURED, strict=True)) ** 0.5


experiment = Experiment(misfit, parameters={"length": float, "damping": float}, seed=3, timeout=60)
experiment.add(10, length=Random(0.2, 2), damping=Random(0, 1))
experiment.add(20, length=Bayesian(0.2, 2), damping=Bayesian(0, 1))
