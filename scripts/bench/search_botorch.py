"""BoTorch's qLogExpectedImprovement where points are pending, without what does not change.

BoTorch samples candidate and pending points together anew for each candidate. Here the pending
points come first among the points, so that their samples and all that follows from these are the
same for every candidate. The value is that of BoTorch for this order, to rounding:

    python scripts/bench/search_botorch.py

prints how far apart they are. It is compiled, which takes PyTorch a C++ compiler.
"""

from __future__ import annotations

import math

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.logei import TAU_MAX, TAU_RELU, qLogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.sampling import draw_sobol_normal_samples
from botorch.utils.transforms import t_batch_mode_transform
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.cholesky import psd_safe_cholesky

#: Samples, as BoTorch takes them by default.
SAMPLES = 512


def log_improvement(y: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
    """The logarithm of the fat-tailed improvement; Ament et al. (2023), appendix A.4."""
    x = (y - best) / TAU_RELU
    return (TAU_RELU * (torch.nn.functional.softplus(x) + 0.1 / (1 + x.square()))).log()


def pareto(x: torch.Tensor) -> torch.Tensor:
    """What a point that is `x` temperatures below the greatest adds to the smooth maximum."""
    return 2 / (2 + 2 * x + x.square())


def kernel(a: torch.Tensor, b: torch.Tensor, lengthscale: torch.Tensor) -> torch.Tensor:
    """Squared exponential, of variance 1."""
    difference = (a[:, None] - b[None]) / lengthscale
    return (-0.5 * difference.square().sum(-1)).exp()


def value(x: torch.Tensor, fixed: dict[str, torch.Tensor]) -> torch.Tensor:
    """The acquisition function at the rows of `x`."""
    known = kernel(x, fixed["X"], fixed["lengthscale"])
    solved = known @ fixed["inverse_root"].mT
    mean = fixed["constant"] + known @ fixed["weights"]
    across = kernel(x, fixed["pending"], fixed["lengthscale"]) - solved @ fixed["pending_solved"].mT
    shared = across @ fixed["pending_inverse_root"].mT
    own = (1 - solved.square().sum(-1) - shared.square().sum(-1)).clamp_min(1e-14).sqrt()
    y = mean[:, None] + shared @ fixed["base"][:, :-1].mT + own[:, None] * fixed["base"][:, -1]
    candidate = log_improvement(fixed["mean"] + fixed["std"] * y, fixed["best"])
    most = torch.maximum(candidate, fixed["most"])
    others = pareto((most[..., None] - fixed["improvements"]) / TAU_MAX).sum(-1)
    total = pareto((most - candidate) / TAU_MAX) + others
    return (most + TAU_MAX * total.log()).logsumexp(-1) - math.log(SAMPLES)


_compiled = torch.compile(value, dynamic=True, fullgraph=True)


class PendingFirst(AcquisitionFunction):
    """Expected improvement of the best of a candidate and all pending points.

    Parameters
    ----------
    model : SingleTaskGP
        As it is by default but for ``Standardize`` of its outputs; fitted.
    best : float
        Best output so far.
    pending : Tensor
        Points that are being evaluated, shape (m, d).
    seed : int, optional
        Of the samples; else drawn.
    """

    def __init__(
        self,
        model: SingleTaskGP,
        best: torch.Tensor,
        pending: torch.Tensor,
        seed: int | None = None,
    ):
        super().__init__(model)
        if seed is None:
            seed = int(torch.randint(0, 1_000_000, (1,)))
        self.fixed = prepared(model, best, pending, base_samples(len(pending) + 1, seed))

    @t_batch_mode_transform(expected_q=1)
    def forward(self, X: torch.Tensor) -> torch.Tensor:
        """Values for points of shape (b, 1, d)."""
        return _compiled(X.squeeze(-2), self.fixed)


@torch.no_grad()
def prepared(
    model: SingleTaskGP, best: torch.Tensor, pending: torch.Tensor, base: torch.Tensor
) -> dict[str, torch.Tensor]:
    """All that is the same for every candidate."""
    model.eval()
    X, targets = model.train_inputs[0], model.train_targets
    lengthscale = model.covar_module.lengthscale.squeeze(0)
    constant = model.mean_module.constant
    K = kernel(X, X, lengthscale) + model.likelihood.noise * torch.eye(len(X), dtype=X.dtype)
    root = psd_safe_cholesky(K)
    eye = torch.eye(len(X), dtype=X.dtype)
    inverse_root = torch.linalg.solve_triangular(root, eye, upper=False)
    weights = inverse_root.mT @ (inverse_root @ (targets - constant))
    known = kernel(pending, X, lengthscale)
    pending_solved = known @ inverse_root.mT
    covariance = kernel(pending, pending, lengthscale) - pending_solved @ pending_solved.mT
    # BoTorch's jitter, where one is needed, is added in the units of the outputs.
    std, mean = model.outcome_transform.stdvs.squeeze(), model.outcome_transform.means.squeeze()
    pending_root = psd_safe_cholesky(covariance * std**2) / std
    samples = constant + known @ weights + base[:, :-1] @ pending_root.mT
    improvements = log_improvement(mean + std * samples, best)
    return {
        "X": X,
        "lengthscale": lengthscale,
        "constant": constant,
        "inverse_root": inverse_root,
        "weights": weights,
        "pending": pending,
        "pending_solved": pending_solved,
        "pending_inverse_root": torch.linalg.solve_triangular(
            pending_root, torch.eye(len(pending), dtype=X.dtype), upper=False
        ),
        "base": base,
        "mean": mean,
        "std": std,
        "best": best,
        "improvements": improvements,
        "most": improvements.amax(-1),
    }


def base_samples(points: int, seed: int) -> torch.Tensor:
    """Deviates as BoTorch's sampler draws them, shape (SAMPLES, points)."""
    return draw_sobol_normal_samples(points, SAMPLES, dtype=torch.double, seed=seed)


def check() -> None:
    """Print the largest differences from BoTorch's values and gradients, in four cases."""
    torch.manual_seed(0)
    for n, m, d in ((20, 3, 2), (60, 31, 4), (200, 31, 6), (220, 7, 10)):
        X = torch.rand(n, d, dtype=torch.double)
        y = -(X - 0.3).square().sum(-1, keepdim=True) + 0.1 * (9 * X).sin().sum(-1, keepdim=True)
        model = SingleTaskGP(X, y, outcome_transform=Standardize(m=1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        pending = torch.rand(m, d, dtype=torch.double)
        theirs = qLogExpectedImprovement(
            model, y.max(), SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=5)
        )
        ours = PendingFirst(model, y.max(), pending, seed=5)
        x = torch.rand(100, 1, d, dtype=torch.double, requires_grad=True)
        found = []
        for values in (ours(x), theirs(torch.cat([pending.expand(100, m, d), x], -2))):
            found.append((values, *torch.autograd.grad(values.sum(), x)))
        apart = [
            float(((a - b).abs().max() / b.abs().max()).detach())
            for a, b in zip(*found, strict=True)
        ]
        print(f"{n} results, {m} pending, {d}-D: values {apart[0]:.1e}, gradients {apart[1]:.1e}")


if __name__ == "__main__":
    check()
