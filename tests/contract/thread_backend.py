"""A backend as somebody else would write it: one thread a worker.

Registered by an entry point ``threads = thread_backend:run`` in the group ``phs_mpi.backends``.
"""

import queue
import threading
from functools import partial

from phs_mpi.backends import base, client
from phs_mpi.loading import load_experiment


class ThreadTransport:
    """See :class:`phs_mpi.backends.client.Transport`."""

    def __init__(self, workers, job, log):
        self.workers = workers
        self._job = job
        self._log = log
        self._events = queue.SimpleQueue()
        self._inboxes = [queue.SimpleQueue() for _ in range(workers)]
        for number in range(workers):
            threading.Thread(target=self._work, args=(number,), daemon=True).start()

    def start(self, worker, index, log_length):
        self._inboxes[worker].put((index, log_length))

    def events(self):
        event = self._events.get()
        if isinstance(event, BaseException):
            raise event
        yield event

    def close(self):
        for inbox in self._inboxes:
            inbox.put(None)

    def _work(self, number):
        worker = base.make_worker(
            self._job.experiment, self._job.table, self._job.output, number + 1
        )
        try:
            while (task := self._inboxes[number].get()) is not None:
                index, log_length = task
                if self._job.table.bayesian(index):
                    proposal = worker.propose(index, self._log, log_length)
                    self._events.put(client.Announced(number, proposal))
                else:
                    proposal = worker.drawn(index)
                outcome = worker.evaluate(proposal)
                self._events.put(client.Completed(number, proposal, outcome))
        except BaseException as error:
            self._events.put(error)


def run(path, options):
    experiment = load_experiment(path, options.seed)
    experiment.capture = False  # output belongs to the process, not to a thread
    make_transport = partial(ThreadTransport, options.workers or 2)
    return client.run_client(experiment, options, "threads", make_transport)
