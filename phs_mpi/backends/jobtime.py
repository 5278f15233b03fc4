"""The time that a run has: what the user or SLURM says of its end, and asking for another turn."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from ..deadline import MARGIN, MARGIN_SHARE, in_words, seconds_of
from ..errors import BackendError

if TYPE_CHECKING:
    from ..progress import Progress
    from .options import Options

#: Seconds that a command of SLURM may take.
PATIENCE = 20.0

#: What SLURM says of a job that has no end, or none yet.
_ENDLESS = ("UNLIMITED", "INVALID", "NOT_SET", "N/A", "")


class JobTime(NamedTuple):
    """Until when a run may go on.

    Attributes
    ----------
    end : float
        When it is ended from outside (``time.monotonic()``); infinity if that is not known.
    margin : float
        Seconds before that which are kept for what takes longer than expected, commits, shutdown.
    remark : str
        What the user should know about it; empty if nothing.
    """

    end: float = math.inf
    margin: float = 0.0
    remark: str = ""

    @property
    def last(self) -> float:
        """When evaluations should be over: none is started that is expected to take longer."""
        return self.end - self.margin

    @property
    def latest(self) -> float:
        """When they have to be over.

        One in ten takes longer than expected, most of them by little: half of the margin is theirs.
        """
        return self.end - self.margin / 2 if self.end < math.inf else math.inf

    @property
    def over(self) -> bool:
        """Whether that has come."""
        return time.monotonic() >= self.latest

    def in_reach(self, seconds: float) -> float:
        """So many seconds, or fewer if less is left."""
        return max(0.0, min(seconds, self.latest - time.monotonic()))


#: Where nobody says when it ends.
ENDLESS = JobTime()


def find(options: Options) -> JobTime:
    """The end of this run's time, from the command line or from SLURM.

    Raises
    ------
    BackendError
        If an option makes no sense, or another turn is asked for where nobody can give one.
    """
    if options.requeue:
        _check_requeue()
    if options.margin is not None and not 0 <= options.margin < 1e9:
        raise BackendError(
            f"margin={options.margin} is no time", value=options.margin, remedy="give seconds"
        )
    remark = ""
    if options.walltime is not None:
        left = seconds_of(str(options.walltime)) - _age()
    else:
        left = _slurm_left()
        if left <= 0:
            left, remark = math.inf, "SLURM_JOB_END_TIME has passed: it is taken for another job's"
    if left == math.inf:
        return JobTime(remark=remark)
    margin = min(MARGIN, MARGIN_SHARE * left) if options.margin is None else options.margin
    if left <= margin:
        raise BackendError(
            f"no time is left: the run has {in_words(max(left, 0.0))}, and {in_words(margin)} of "
            "it are kept for its shutdown",
            value=options.walltime,
            remedy="give more with --walltime, or keep less with --margin",
        )
    return JobTime(time.monotonic() + left, margin, f"this run has {in_words(left)}")


def _age() -> float:
    """Seconds since this process was started: imports may have taken a minute of them."""
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())


# -- SLURM ---------------------------------------------------------------------------------


def job_id() -> str:
    """Number of the SLURM job that this process belongs to; empty without one."""
    return os.environ.get("SLURM_JOB_ID", "")


def _slurm_left() -> float:
    """Seconds until SLURM ends this job; infinity if it does not, or does not tell."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():
        return int(end) - time.time()
    if not job_id():
        return math.inf
    # SLURM 22.05 does not set it: one question, by one process.
    answer = _ask("squeue", "--noheader", "--jobs", job_id(), "--format", "%L")
    said = answer.stdout.strip() if answer is not None else ""
    try:
        return math.inf if said in _ENDLESS else seconds_of(said if ":" in said else f"0:{said}")
    except BackendError:  # in a form that is not documented
        return math.inf


def _ask(*command: str) -> subprocess.CompletedProcess | None:
    """Run a command of SLURM; None if that cannot be done."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


def _check_requeue() -> None:
    if not job_id():
        raise BackendError(
            "there is no SLURM job that could be requeued (SLURM_JOB_ID is not set)",
            remedy="leave out --requeue, or start the run with sbatch",
        )
    if shutil.which("scontrol") is None:
        raise BackendError(
            "the command scontrol, which requeues a job, is not found on this machine",
            remedy="leave out --requeue, or put SLURM's commands on the PATH",
        )


def requeue_if_due(
    options: Options, progress: Progress, received: Collection[int], out_of_time: bool
) -> None:
    """Ask SLURM to run this job again, if it was ended ahead of time and something is left.

    SLURM ends the job as soon as it is asked: the results file must have been closed.

    Parameters
    ----------
    options : Options
    progress : Progress
        Knows what is left, and tells the user.
    received : collection of int
        Signals that came.
    out_of_time : bool
        Whether the end of its time ended the run.
    """
    sent_ahead = signal.SIGUSR1 in received or signal.SIGTERM in received
    if not options.requeue or not progress.left or not (out_of_time or sent_ahead):
        return
    say = progress.say
    if signal.SIGINT in received:
        return  # somebody wants it to stop
    if not progress.made:
        # It would come back for ever.
        say("not requeued: this run could not finish a single evaluation in its time")
        return
    state = _ask("squeue", "--noheader", "--jobs", job_id(), "--format", "%T")
    if state is None or state.stdout.strip() != "RUNNING":
        # Somebody has cancelled it, or it is being preempted: what follows is not ours to say.
        say(f"not requeued: SLURM is already ending job {job_id()}")
        return
    say(f"asking SLURM to run job {job_id()} again")
    answer = _ask("scontrol", "requeue", job_id())
    if answer is None or answer.returncode:
        why = "scontrol does not answer" if answer is None else _one_line(answer.stderr)
        say(f"SLURM does not run job {job_id()} again: {why}")


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "no reason given"
