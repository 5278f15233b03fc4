"""A SLURM of one machine, on loopback and without systemd: munged, slurmctld and slurmds."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: What has to be installed; of Debian's slurmctld, slurmd, slurm-client and munge.
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "squeue")
#: Ports that srun may listen on, beside one of slurmctld and one of each slurmd.
SRUN_PORTS = 300

#: For whatever talks to the daemons: a hosts file in which all names are those of loopback.
NAMED = 'mount --bind {hosts} /etc/hosts; exec "$@"'
#: Several nodes of one machine: each slurmd has a host name, a /dev/shm and a hosts file its own.
APART = """
hostname {name}
mount --bind {hosts} /etc/hosts
mount -t tmpfs tmpfs /dev/shm
exec slurmd -f {conf} -N {name}
"""

CONF = """\
ClusterName=phs
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SrunPortRange={first_srun_port}-{last_srun_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
TmpFS={folder}/tmp.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=pmix
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdParameters=config_overrides
MailProg=/bin/true
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=5
NodeName={nodes} NodeAddr=127.0.0.1 Port={node_ports} CPUs={cpus} Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
"""


class Cluster:
    """Started when made, stopped by :meth:`close`.

    Parameters
    ----------
    nodes : int
        One: any user can start it, on a machine whose name is that of its loopback interface.
        Several need root, and the right to have name spaces.
    cpus, gpus : int
        Of each node, as SLURM is told; the machine need not have them.
    """

    def __init__(self, nodes: int = 1, cpus: int = 64, gpus: int = 4):
        # Paths of sockets are short.
        self.folder = Path(tempfile.mkdtemp(prefix="phs-slurm-", dir="/tmp"))
        self.conf = self.folder / "slurm.conf"
        self._path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self._apart = can_be_apart()
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        if not self._apart:
            self.nodes = [socket.gethostname().split(".")[0]]
        self._configure(cpus, gpus)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """For programs that talk to this SLURM, and for the jobs that they start."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "OMPI", "PMIX")) and not name.endswith("_NUM_THREADS")
        }
        return kept | {
            "PATH": self._path,
            "SLURM_CONF": str(self.conf),
            # One machine, whatever its nodes are called.
            "OMPI_MCA_btl": "self,vader,tcp",
            "OMPI_MCA_btl_tcp_if_include": "lo",
            "OMPI_MCA_oob_tcp_if_include": "lo",
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def __call__(
        self, *command: str, cwd: Path | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess:
        """Run a command of SLURM."""
        if self._apart:
            named = NAMED.format(hosts=self.folder / "hosts")
            command = ("unshare", "--mount", "sh", "-ec", named, "sh", *command)
        return subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def run(self, *command: str, **options: Any) -> str:
        """What a command of SLURM prints; it has to succeed."""
        done = self(*command, **options)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}\n{self.logs()}")
        return done.stdout

    def logs(self) -> str:
        """The ends of what the daemons say."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-40:])
            for path in sorted(self.folder.glob("*.log"))
        )

    # -- jobs --------------------------------------------------------------------------

    def submit(self, folder: Path, *arguments: str) -> int:
        """Submit a job; returns its number."""
        return int(self.run("sbatch", "--parsable", *arguments, cwd=folder).split(";")[0])

    def job(self, number: int) -> dict[str, str]:
        """What scontrol says of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", str(number)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, number: int, *states: str, seconds: float = 120) -> dict[str, str]:
        """Wait until a job is in one of the states; default: until it has ended."""
        states = states or ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(number)
            if job["JobState"] in states:
                return job
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {number} is not {' or '.join(states)}: {job}")
            time.sleep(0.2)

    def empty(self) -> None:
        """Cancel what is left of jobs, and wait until it has gone."""
        deadline = time.monotonic() + 60
        while True:
            jobs = self.run("squeue", "--noheader", "--format=%A").split()
            if not jobs:
                return
            for job in sorted(set(jobs)):
                self("scancel", job)  # it may have gone meanwhile
            if time.monotonic() > deadline:
                raise TimeoutError(f"jobs {jobs} do not end\n{self.logs()}")
            time.sleep(0.5)

    # -- daemons -----------------------------------------------------------------------

    def close(self) -> None:
        """End the jobs and the daemons, and remove their files."""
        with contextlib.suppress(Exception):  # daemons that have not come up have no jobs
            self.empty()
        for pattern in ("slurmctld", "slurmd", "munged"):
            for file in self.folder.glob(f"{pattern}*.pid"):
                _end(file, pattern)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_node(self, name: str) -> None:
        """Kill all that runs on a node, as if it lost its power."""
        slurmd = int((self.folder / f"slurmd.{name}.pid").read_text())
        space = os.readlink(f"/proc/{slurmd}/ns/uts")
        assert space != os.readlink("/proc/self/ns/uts")
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if entry.name.isdigit() and os.readlink(entry / "ns" / "uts") == space:
                    os.kill(int(entry.name), signal.SIGKILL)

    def _configure(self, cpus: int, gpus: int) -> None:
        count = len(self.nodes)
        port = _free_ports(1 + count + SRUN_PORTS)
        for name in self.nodes:
            for kind in ("spool", "tmp"):
                (self.folder / f"{kind}.{name}").mkdir()
        (self.folder / "state").mkdir()
        self.folder.chmod(0o755)
        (self.folder / "plugstack.conf").touch()
        hosts = ["localhost", socket.gethostname(), *self.nodes]
        (self.folder / "hosts").write_text(f"127.0.0.1 {' '.join(hosts)}\n")
        # SLURM wants devices, which it counts and names to jobs; these compute nothing.
        for number in range(gpus):
            (self.folder / f"gpu{number}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-{gpus - 1}]\n")
        self.conf.write_text(
            CONF.format(
                folder=self.folder,
                user=getpass.getuser(),
                port=port,
                nodes=f"n[1-{count}] NodeHostname=localhost" if self._apart else self.nodes[0],
                node_ports=f"[{port + 1}-{port + count}]",
                first_srun_port=port + 1 + count,
                last_srun_port=port + count + SRUN_PORTS,
                cpus=cpus,
                gpus=gpus,
            )
        )

    def _start(self) -> None:
        folder = self.folder
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        self.run(
            "munged",
            "--force",  # it likes no socket under /tmp
            f"--socket={folder}/munge.sock",
            f"--key-file={key}",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munge.seed",
            "--origin=127.0.0.1",
        )
        self.run("slurmctld", "-f", str(self.conf))
        for name in self.nodes:
            self.start_node(name)
        deadline = time.monotonic() + 60
        while True:
            lines = self.run("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N").split()
            if sorted(lines) == sorted(self.nodes):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"SLURM does not come up\n{self.logs()}")
            time.sleep(0.2)

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        if not self._apart:
            self.run("slurmd", "-f", str(self.conf), "-N", name)
            return
        script = APART.format(name=name, hosts=self.folder / "hosts", conf=self.conf)
        self.run("unshare", "--uts", "--mount", "sh", "-ec", script)


def missing() -> str:
    """What of SLURM is not installed; empty if all is."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return ", ".join(name for name in PROGRAMS if shutil.which(name, path=path) is None)


@functools.cache
def can_be_apart() -> bool:
    """Whether nodes of this machine can have name spaces of their own."""
    probe = ["unshare", "--uts", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    try:
        return subprocess.run(probe, capture_output=True, timeout=60).returncode == 0
    except FileNotFoundError:
        return False


def _free_ports(count: int) -> int:
    """The first of so many ports in a row of which none is in use, below those of clients."""
    # Processes that start one at the same time have numbers next to each other.
    for first in range(20000 + os.getpid() * (count + 1) % 8000, 32000, count):
        if all(_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"there are no {count} free ports in a row")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _end(file: Path, program: str) -> None:
    """End the daemon that has written its pid there, and wait until it has gone."""
    try:
        pid = int(file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except (OSError, ValueError):  # it has never come up, or has gone already
        return
    if not os.path.basename(command.decode()).startswith(program):
        return
    deadline = time.monotonic() + 2  # it has nothing to lose
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
