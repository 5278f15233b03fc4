"""The Griewank function with 30 evaluations, as in the figures of the paper.

mpirun -n 4 python -m phs_mpi scripts/examples/griewank30.py
"""

import math

from phs_mpi import Bayesian, Experiment, Random


def griewank(x, y):
    return (x * x + y * y) / 4000 - math.cos(x) * math.cos(y / math.sqrt(2)) + 1


experiment = Experiment(griewank, parameters={"x": float, "y": float}, seed=7)
experiment.add(10, x=Random(-5, 5), y=Random(-5, 5))
experiment.add(20, x=Bayesian(-5, 5), y=Bayesian(-5, 5))
