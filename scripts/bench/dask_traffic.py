"""What the Dask backend sends: bytes between client, scheduler and workers for 1,000 results.

    python scripts/bench/dask_traffic.py [results …] [--workers 4]

A real scheduler and workers over TCP. The client and each worker reach the scheduler through a
proxy that counts; between workers nothing is sent. Half of the sets are Bayesian.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

from harness import Report, Table

EXPERIMENT = """
from phs_mpi import Bayesian, Experiment, Random

def target(x, y):
    return x * x + y

experiment = Experiment(target, {{"x": float, "y": float}}, seed=1)
experiment.add({half}, x=Random(-1, 1), y=Random(0, 1))
experiment.add({half}, x=Bayesian(-1, 1), y=Bayesian(0, 1))
"""


class Proxy:
    """Passes a TCP connection on, and counts the bytes each way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int):
        self.sent = self.received = 0
        self._target = host, port
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, loop).result()
        self.address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader, writer):
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(
            self._pass_on(reader, there_writer, "sent"),
            self._pass_on(there_reader, writer, "received"),
        )

    async def _pass_on(self, reader, writer, counter):
        try:
            while data := await reader.read(1 << 16):
                setattr(self, counter, getattr(self, counter) + len(data))
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the other end is gone, as at the end of each run
        finally:
            writer.close()


def traffic(results: int, workers: int) -> dict[str, tuple[int, int]]:
    """Bytes to the scheduler and from it: of the client, and of the workers."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scheduler.json")
        dask = [sys.executable, "-c", "from dask.__main__ import main; main()"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
        options = ["--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file)]
        running = [subprocess.Popen([*dask, "scheduler", "--no-dashboard", *options], **quiet)]
        try:
            while not file.exists() or not file.read_text().endswith("}"):
                time.sleep(0.1)
            host, port = json.loads(file.read_text())["address"].removeprefix("tcp://").split(":")
            to_client, to_workers = (Proxy(loop, host, int(port)) for _ in range(2))
            worker = [*dask, "worker", to_workers.address, "--nthreads", "1"]
            worker += ["--no-nanny", "--no-dashboard"]
            running += [subprocess.Popen(worker, **quiet) for _ in range(workers)]
            Path(folder, "experiment.py").write_text(EXPERIMENT.format(half=results // 2))
            run = [sys.executable, "-m", "phs_mpi", "experiment.py", "--quiet"]
            subprocess.run(
                [*run, "--scheduler", to_client.address], cwd=folder, check=True, timeout=600
            )
            return {
                "client": (to_client.sent, to_client.received),
                "workers": (to_workers.sent, to_workers.received),
            }
        finally:
            for process in running:
                process.kill()


def measure(quick: bool) -> Report:
    """For 125 to 500 results; the raw limit is what the results file keeps of a result."""
    report = Report()
    if find_spec("distributed") is None:
        report.left_out.append("distributed is not installed")
        return report
    workers = 2 if quick else 4
    table = Table(
        f"MB between client, scheduler and {workers} workers, half of the sets Bayesian",
        ["results", "client and scheduler", "scheduler and workers", "bytes a result, client"],
    )
    for results in (20,) if quick else (125, 250, 500):
        client, others = (sum(both) for both in traffic(results, workers).values())
        table.rows.append([results, client / 1e6, others / 1e6, client / results])
        report.figures[f"bytes a result, client, {results}"] = client / results
    report.tables.append(table)
    return report


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("results", nargs="*", type=int)
    options.add_argument("--workers", type=int, default=4)
    given = options.parse_args()
    for results in given.results or [250, 500, 1000]:
        for name, (sent, received) in traffic(results, given.workers).items():
            print(
                f"{results:6} results, {given.workers} workers, {name + ':':9}"
                f"{sent / 1e6:8.2f} MB to the scheduler,"
                f"{received / 1e6:8.2f} MB from it,"
                f"{(sent + received) / results:8.0f} bytes a result"
            )


if __name__ == "__main__":
    main()
