"""Training of a small network on CIFAR-10 with PyTorch: learning rate, batch size, weight decay.

python scripts/examples/cifar10_data.py          # where to get the data
mpirun -n 3 python -m phs_mpi scripts/examples/cifar10.py

10 sets are drawn; then 20 follow whose learning rate and weight decay are proposed. A worker trains
on the GPU that phs_mpi has given it, or without one on its own cores. In the environment may stand
CIFAR10, the folder of the data, CIFAR10_EPOCHS, and CIFAR10_IMAGES, which are used for training and
validation.
"""

import functools
import math
import os
import time

import torch
from cifar10_data import located, read
from torch import nn
from torch.nn.functional import cross_entropy

import phs_mpi
from phs_mpi import Bayesian, Choice, Experiment, Random

FOLDER, _ = located(os.environ.get("CIFAR10", "cifar-10-batches-py"))  # fails here, not 30 times
EPOCHS = int(os.environ.get("CIFAR10_EPOCHS", "10"))
IMAGES = int(os.environ.get("CIFAR10_IMAGES", "50000"))


@functools.cache  # once for each worker, in its first evaluation; rank 0 needs no data
def data(images, device):
    pixels, labels = read(FOLDER)
    pixels = torch.from_numpy(pixels[:images]).to(device)
    labels = torch.from_numpy(labels[:images]).to(device)
    kept = len(labels) // 5  # for validation; the test images are for the end of all searches
    return pixels[:-kept], labels[:-kept], pixels[-kept:], labels[-kept:]


def layer(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))


def network():
    convolutions = nn.Sequential(layer(3, 32), layer(32, 64), layer(64, 64))  # 64 times 4 x 4
    return nn.Sequential(convolutions, nn.Flatten(), nn.Linear(64 * 4 * 4, 10))


def scaled(pixels):
    return pixels.float() / 128 - 1


def train(rate, batch, decay, epochs, images):
    # The first GPU that this process sees is its own. On a CPU, PyTorch takes the number of threads
    # that phs_mpi has set in OMP_NUM_THREADS: that of the worker's cores.
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(phs_mpi.current().seed)
    pixels, labels, validation_pixels, validation_labels = data(images, device)
    model = network().to(device)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay)

    begun = time.perf_counter()
    seen, total = 0, 0.0
    for _ in range(epochs):
        order = torch.randperm(len(labels), device=device)
        total = 0.0
        for chosen in order.split(batch):
            loss = cross_entropy(model(scaled(pixels[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(chosen)  # a number only later: a GPU need not wait here
        total = float(total)
        seen += len(labels)
        if not math.isfinite(total):  # the rate is too high: what follows would be no better
            break
    speed = seen / (time.perf_counter() - begun)

    with torch.inference_mode():
        guesses = [model(scaled(part)).argmax(1) for part in validation_pixels.split(1000)]
        accuracy = (torch.cat(guesses) == validation_labels).float().mean().item()
    return {
        "result": 1 - accuracy,
        "accuracy": accuracy,
        "training_loss": total / len(labels),
        "images_per_second": speed,
    }


experiment = Experiment(
    train,
    parameters={"rate": float, "batch": int, "decay": float, "epochs": int, "images": int},
    metrics=["accuracy", "training_loss", "images_per_second"],
    seed=1,
)
experiment.add(
    10,
    rate=Random(1e-4, 1, log=True),
    batch=Choice([16, 32, 64, 128, 256]),
    decay=Random(1e-6, 1e-1, log=True),
    epochs=EPOCHS,
    images=IMAGES,
)
experiment.add(
    20,
    rate=Bayesian(1e-4, 1, log=True),
    batch=Choice([16, 32, 64, 128, 256]),
    decay=Bayesian(1e-6, 1e-1, log=True),
    epochs=EPOCHS,
    images=IMAGES,
)
