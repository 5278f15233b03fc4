"""A stand-in for CIFAR-10, to try the example and to test it: ten shapes, drawn with noise.

``cifar10_data.py --generate`` writes them in the format of the published data.
"""

from __future__ import annotations

import numpy as np

SIDE = 32
#: Share of the images whose label is drawn anew, and the deviation of their noise.
MISLABELLED, NOISE = 0.1, 30.0
#: Where each one is, of coordinates that are 0 in its middle and 1 at its edge.
SHAPES = {
    "disc": lambda u, v: u**2 + v**2 < 0.9,
    "ring": lambda u, v: (u**2 + v**2 < 1) & (u**2 + v**2 > 0.4),
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 0.85,
    "frame": lambda u, v: (np.maximum(abs(u), abs(v)) < 0.9) & (np.maximum(abs(u), abs(v)) > 0.55),
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.25) & (np.maximum(abs(u), abs(v)) < 1),
    "saltire": lambda u, v: (abs(abs(u) - abs(v)) < 0.3) & (np.maximum(abs(u), abs(v)) < 0.9),
    "triangle": lambda u, v: (v < 0.8) & (v > 2 * abs(u) - 0.9),
    "diamond": lambda u, v: abs(u) + abs(v) < 1.05,
    "rows": lambda u, v: (np.maximum(abs(u), abs(v)) < 0.9) & (np.floor(3 * v) % 2 == 0),
    "columns": lambda u, v: (np.maximum(abs(u), abs(v)) < 0.9) & (np.floor(3 * u) % 2 == 0),
}


def shapes(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ten shapes in two colours under noise; some labels are wrong, as those of people are.

    A network has to learn shapes wherever they are, and can learn wrong labels by heart: learning
    rate and weight decay matter.

    Parameters
    ----------
    number : int
        Of images.
    seed : int

    Returns
    -------
    pixels : ndarray of uint8, shape (number, 3, 32, 32)
    labels : ndarray of int64, shape (number,)
        Positions in ``SHAPES``.
    """
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.arange(number) % len(SHAPES))
    radius = draw.uniform(7, 13, (number, 1, 1))
    x, y = draw.uniform(radius - 2, SIDE + 1 - radius, (2, number, 1, 1))
    ground, figure = draw.uniform(0, 255, (2, number, 3, 1, 1))
    # Far enough from the ground to be seen, in each channel.
    figure = np.where(abs(figure - ground) < 60, (ground + 128) % 256, figure)
    pixels = np.empty((number, 3, SIDE, SIDE), np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for first in range(0, number, 1000):  # what is worked out on the way takes 30 times the room
        part = slice(first, first + 1000)
        u, v = (columns - x[part]) / radius[part], (rows - y[part]) / radius[part]
        inside = np.empty(u.shape, bool)
        for label, shape in enumerate(SHAPES.values()):
            these = labels[part] == label
            inside[these] = shape(u[these], v[these])
        clean = np.where(inside[:, None], figure[part], ground[part])
        pixels[part] = (clean + draw.normal(0, NOISE, clean.shape)).clip(0, 255)
    wrong = draw.random(number) < MISLABELLED
    labels = np.where(wrong, draw.integers(0, len(SHAPES), number), labels)
    return pixels, labels
