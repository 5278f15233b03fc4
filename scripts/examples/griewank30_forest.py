"""As griewank30.py, but with a forest of trees in place of the Gaussian process.

mpirun -n 4 python -m phs_mpi scripts/examples/griewank30_forest.py
"""

from griewank30 import griewank

from phs_mpi import Bayesian, Experiment, Random

experiment = Experiment(
    griewank, parameters={"x": float, "y": float}, seed=7, surrogate="random_forest"
)
experiment.add(10, x=Random(-5, 5), y=Random(-5, 5))
experiment.add(20, x=Bayesian(-5, 5), y=Bayesian(-5, 5))
