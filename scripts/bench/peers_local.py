"""Tools without MPI on three local workers, on evaluations that do nothing.

    python scripts/bench/peers_local.py dask|optuna COUNT

Prints the seconds from the first to the last evaluation, without the start of the workers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

WORKERS = 3


def dask(count: int) -> float:
    """The next call leaves when one comes back."""
    from executors import bare_dask

    return count * bare_dask(count, WORKERS)["self-scheduled"]


def _trials(journal: str, count: int, ready, go) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(JournalFileBackend(journal))
    study = optuna.load_study(
        study_name="bench", storage=storage, sampler=optuna.samplers.RandomSampler()
    )
    ready.release()
    go.wait()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=count)


def optuna(count: int) -> float:
    """Processes that share a journal file: each result is on disk before the next trial."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spawn = multiprocessing.get_context("spawn")
    ready, go = spawn.Semaphore(0), spawn.Event()
    with tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder, "journal.log"))
        storage = optuna.storages.JournalStorage(JournalFileBackend(journal))
        optuna.create_study(study_name="bench", storage=storage)
        arguments = (journal, count // WORKERS, ready, go)
        processes = [spawn.Process(target=_trials, args=arguments) for _ in range(WORKERS)]
        for process in processes:
            process.start()
        for _ in processes:
            ready.acquire()
        begun = time.perf_counter()
        go.set()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise SystemExit("an Optuna process failed")
        return time.perf_counter() - begun


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("peer", choices=("dask", "optuna"))
    options.add_argument("count", type=int)
    given = options.parse_args()
    print(f"took {globals()[given.peer](given.count)}")


if __name__ == "__main__":
    main()
