"""Searches behind one interface: ours, and those that are installed beside it (see peers.sh)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from phs_mpi.encoding import Space
from phs_mpi.search import Engine, propose

#: Sets before the first proposal by a model, for every method.
INITIAL = 10


class Method:
    """Ask for values, tell results; what was asked for and not told about is pending.

    Attributes
    ----------
    parallel : bool
        Whether it takes pending sets into account.
    """

    parallel = True

    def __init__(self, space: Space, seed: int):
        self.space, self.seed = space, seed
        self.rows: list[dict] = []
        self.results: list[float] = []
        self.asked = 0

    def ask(self, pending: Sequence[dict]) -> dict:
        """Values of all dimensions."""
        raise NotImplementedError

    def tell(self, values: dict, result: float) -> None:
        """The result of a set that was asked for, or any other."""
        self.rows.append(values)
        self.results.append(result)

    def load(self, rows: Sequence[dict], results: Sequence[float]) -> None:
        """Many results at once, of sets that were not asked for."""
        for values, result in zip(rows, results, strict=True):
            self.tell(values, result)

    def enqueue(self, values: dict) -> dict:
        """A set that is pending from now on; the values it then has."""
        return values

    def sobol(self) -> dict:
        """A point of a scrambled Sobol sequence."""
        nothing: dict[str, Any] = {"evaluated": [], "results": np.empty(0)}
        return propose(self.space, seed=self.seed, index=self.asked, **nothing).values


class Ours(Method):
    def __init__(self, space: Space, seed: int, **options: Any):
        super().__init__(space, seed)
        self.engine = Engine(space, seed=seed, **options)

    def ask(self, pending: Sequence[dict]) -> dict:
        self.asked += 1
        if len(self.results) < INITIAL:
            return self.sobol()
        return self.engine.propose(
            index=self.asked,
            evaluated=self.rows,
            results=np.array(self.results),
            pending=pending,
        ).values


class OursBlind(Ours):
    """Ablation: pending sets are not taken into account."""

    def ask(self, pending: Sequence[dict]) -> dict:
        return super().ask([])


class Sobol(Method):
    def ask(self, pending: Sequence[dict]) -> dict:
        self.asked += 1
        return self.sobol()


class Random(Method):
    def ask(self, pending: Sequence[dict]) -> dict:
        rng = np.random.default_rng([self.seed, 6, self.asked])
        self.asked += 1
        U = rng.random((1, len(self.space.dimensions)))
        return self.space.decode(self.space.spread(U, np.zeros(self.space.width))[0])


class Optuna(Method):
    """Its own ask and tell; trials asked for and not told about are running ones to it."""

    def __init__(self, space: Space, seed: int, sampler: str):
        import optuna

        super().__init__(space, seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        distributions = optuna.distributions
        self.distributions: dict[str, Any] = {}
        for d in space.dimensions:
            if d.categories:
                self.distributions[d.name] = distributions.CategoricalDistribution(d.categories)
            elif d.integer:
                low, high = int(d.low), int(d.high)
                self.distributions[d.name] = distributions.IntDistribution(low, high, log=d.log)
            else:
                self.distributions[d.name] = distributions.FloatDistribution(
                    d.low, d.high, log=d.log
                )
        if sampler == "gp":
            made = optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=INITIAL, deterministic_objective=True
            )
        else:
            made = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=INITIAL, constant_liar=True
            )
        self.optuna = optuna
        self.study = optuna.create_study(sampler=made)
        self.trials: list[tuple[dict, Any]] = []

    def ask(self, pending: Sequence[dict]) -> dict:
        trial = self.study.ask(self.distributions)
        values = {d.name: trial.params[d.name] for d in self.space.dimensions}
        self.trials.append((values, trial))
        return values

    def enqueue(self, values: dict) -> dict:
        # To Optuna a set is pending if it was asked for: this makes it ask for these values.
        self.study.enqueue_trial(values)
        return self.ask([])

    def tell(self, values: dict, result: float) -> None:
        for place, (asked, trial) in enumerate(self.trials):
            if asked is values:
                self.study.tell(trial, result)
                del self.trials[place]
                return
        self.study.add_trial(
            self.optuna.trial.create_trial(
                params=values, distributions=self.distributions, value=result
            )
        )


class BoTorch(Method):
    """SingleTaskGP with its defaults, qLogEI with pending points, as its tutorials do it."""

    pending_first = False

    def ask(self, pending: Sequence[dict]) -> dict:
        self.asked += 1
        if len(self.results) < INITIAL:
            return self.sobol()
        import torch
        from botorch.acquisition.logei import qLogExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.models.transforms import Standardize
        from botorch.optim import optimize_acqf
        from gpytorch.mlls import ExactMarginalLogLikelihood

        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        torch.manual_seed(self.seed * 10_000 + self.asked)
        X = torch.tensor(self.space.encode(self.rows), dtype=torch.double)
        y = -torch.tensor(self.results, dtype=torch.double)[:, None]
        model = SingleTaskGP(X, y, outcome_transform=Standardize(m=1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        waiting = None
        if pending:
            waiting = torch.tensor(self.space.encode(pending), dtype=torch.double)
        if pending and self.pending_first:
            from search_botorch import PendingFirst

            acquisition = PendingFirst(model, y.max(), waiting)
        else:
            acquisition = qLogExpectedImprovement(model, best_f=y.max(), X_pending=waiting)
        bounds = torch.tensor([[0.0] * X.shape[1], [1.0] * X.shape[1]], dtype=torch.double)
        x, _ = optimize_acqf(acquisition, bounds, q=1, num_restarts=10, raw_samples=512)
        # Categories and whole numbers are relaxed, then rounded.
        return self.space.decode(self.space.snap(x.numpy())[0])


class BoTorchPendingFirst(BoTorch):
    """The same, but for the order of points in a sample, which saves nearly all of the work."""

    pending_first = True


class Skopt(Method):
    """Its own ask and tell; it proposes the same point until it is told a result."""

    parallel = False

    def __init__(self, space: Space, seed: int):
        from skopt import Optimizer
        from skopt.space import Categorical, Integer, Real

        super().__init__(space, seed)
        warnings.simplefilter("ignore")
        made: list[Any] = []
        for d in space.dimensions:
            if d.categories:
                made.append(Categorical(list(d.categories)))
            elif d.integer:
                made.append(Integer(int(d.low), int(d.high)))
            else:
                made.append(Real(d.low, d.high, prior="log-uniform" if d.log else "uniform"))
        self.optimizer = Optimizer(made, random_state=seed, n_initial_points=INITIAL)

    def ask(self, pending: Sequence[dict]) -> dict:
        point = self.optimizer.ask()
        return dict(zip([d.name for d in self.space.dimensions], point, strict=True))

    def tell(self, values: dict, result: float) -> None:
        self.optimizer.tell(list(values.values()), result)

    def load(self, rows: Sequence[dict], results: Sequence[float]) -> None:
        # It fits its model at each tell: once is enough.
        self.optimizer.tell([list(values.values()) for values in rows], list(results))


METHODS: dict[str, Callable[[Space, int], Method]] = {
    "phs_mpi": Ours,
    "phs_mpi, blind": OursBlind,
    "phs_mpi, ei": lambda space, seed: Ours(space, seed, acquisition="ei"),
    "phs_mpi, ucb": lambda space, seed: Ours(space, seed, acquisition="ucb"),
    "phs_mpi, ts": lambda space, seed: Ours(space, seed, acquisition="ts"),
    "phs_mpi, forest": lambda space, seed: Ours(space, seed, surrogate="random_forest"),
    "optuna gp": lambda space, seed: Optuna(space, seed, "gp"),
    "optuna tpe": lambda space, seed: Optuna(space, seed, "tpe"),
    "botorch": BoTorch,
    "botorch, pending first": BoTorchPendingFirst,
    "skopt": Skopt,
    "sobol": Sobol,
    "random": Random,
}
