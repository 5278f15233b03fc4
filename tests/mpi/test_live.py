"""Looking at a run while it runs."""

from __future__ import annotations

import re
import time


def test_status_of_a_running_file(launch):
    launch.write(
        "experiment.py",
        """
        import time
        from phs_mpi import Experiment, Random

        def target(x):
            time.sleep(0.4)
            return x

        experiment = Experiment(target, {"x": float})
        experiment.add(24, x=Random(0, 1))
        """,
    )
    run = launch.start(3, "-m", "phs_mpi", "experiment.py")
    deadline = time.monotonic() + 60
    seen = ""
    # Both workers' evaluations may have ended at the instant of one look, not at that of all.
    while not (
        re.search(r"\b([5-9]|1\d) of 24 parameter sets evaluated", seen)
        and re.search(r"\b[12] running", seen)
    ):
        assert time.monotonic() < deadline, seen
        seen = launch.phs(None, "status", "experiment.h5").stdout
    assert "left at that rate" in seen
    assert re.search(r"worker 1: \d+ evaluations", seen)
    watch = launch.phs(None, "status", "--watch", "0.5", "experiment.h5", timeout=60)
    assert watch.stdout.count("of 24 parameter sets evaluated") > 1
    assert "24 of 24 parameter sets evaluated (100 %)" in watch.stdout
    assert launch.phs(None, "plot", "experiment.h5").returncode == 0
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
