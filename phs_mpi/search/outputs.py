"""Results to standardised outputs and back.

The surrogate assumes results that scatter like a normal variable. Real ones have a few huge
values where something diverged, or span three hundred decades; both would leave no resolution for
the good ones. Far values on the bad side are therefore compressed by a logarithm, smoothly and
monotonically, so that the order of results is never changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Robust standard deviations beyond which a bad, or a good, result is compressed.
BAD, GOOD = 0.0, 4.0


@dataclass(frozen=True)
class Standardisation:
    """A monotone map between results and standardised outputs of mean 0 and variance 1.

    Attributes
    ----------
    sign : float
        -1 to maximise; standardised outputs are always minimised.
    centre, spread : float
        Of the signed results: median, and a robust standard deviation.
    mean, deviation : float
        Of the compressed outputs.
    """

    sign: float
    centre: float
    spread: float
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, results: np.ndarray, maximize: bool = False) -> Standardisation:
        """The map for these finite results of shape (n,)."""
        sign = -1.0 if maximize else 1.0
        y = sign * results
        # Quarters, for the difference of two floats may exceed the largest one.
        quarter = y / 4
        low, middle, high = np.quantile(quarter, [0.25, 0.5, 0.75])
        spread = float(high - low) / 1.349
        if not spread > 0:
            spread = float(np.max(np.abs(quarter - middle)))
        if not spread > 0:
            return cls(sign, float(middle) * 4, 0.0)
        raw = cls(sign, float(middle) * 4, min(spread * 4, float(np.finfo(float).max)))
        z = raw.forward(results)
        deviation = float(np.std(z))
        return cls(sign, raw.centre, raw.spread, float(np.mean(z)), deviation or 1.0)

    def forward(self, results: np.ndarray) -> np.ndarray:
        """Standardised outputs of results of any shape."""
        if self.spread == 0:
            return np.zeros(np.shape(results))
        with np.errstate(over="ignore"):
            z = (self.sign * np.asarray(results) / 4 - self.centre / 4) / (self.spread / 4)
        z = np.clip(z, -1e300, 1e300)
        z = np.where(z > BAD, BAD + np.log1p(np.maximum(z - BAD, 0.0)), z)
        z = np.where(z < -GOOD, -GOOD - np.log1p(np.maximum(-GOOD - z, 0.0)), z)
        return (z - self.mean) / self.deviation

    def slope(self, results: np.ndarray) -> np.ndarray:
        """How much a standardised output changes with its result, at results of any shape."""
        if self.spread == 0:
            return np.zeros(np.shape(results))
        with np.errstate(over="ignore"):
            z = (self.sign * np.asarray(results) / 4 - self.centre / 4) / (self.spread / 4)
        beyond = np.maximum(z - BAD, 0.0) + np.maximum(-GOOD - z, 0.0)
        return 1.0 / (1.0 + beyond) / self.spread / self.deviation

    def backward(self, outputs: np.ndarray) -> np.ndarray:
        """Results that have these standardised outputs; within the range of floats."""
        z = np.asarray(outputs) * self.deviation + self.mean
        z = np.where(z > BAD, BAD + np.expm1(np.clip(z - BAD, 0.0, 700.0)), z)
        z = np.where(z < -GOOD, -GOOD - np.expm1(np.clip(-GOOD - z, 0.0, 700.0)), z)
        largest = np.finfo(float).max
        with np.errstate(over="ignore"):
            return self.sign * np.clip(self.centre + z * self.spread, -largest, largest)

    def prediction(self, mean: float, std: float) -> tuple[float, float]:
        """Mean and standard deviation of a result, from those of its standardised output.

        The median and half the distance of the values one standard deviation to either side:
        exact where nothing is compressed.
        """
        low, middle, high = self.backward(np.array([mean - std, mean, mean + std])).tolist()
        return middle, math.fabs(high / 2 - low / 2)
