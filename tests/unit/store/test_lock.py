import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from phs_mpi.errors import StoreError
from phs_mpi.store import Lock

HOLDER = """
import sys, time
from phs_mpi.store import Lock
Lock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(60)
"""

COUNTER = """
import sys, time
from pathlib import Path
from phs_mpi.errors import StoreError
from phs_mpi.store import Lock
count = Path(sys.argv[2])
for _ in range(40):
    while True:
        try:
            with Lock(sys.argv[1]):
                number = int(count.read_text())
                time.sleep(0.0005)
                count.write_text(str(number + 1))
            break
        except StoreError:
            time.sleep(0.001)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "a.h5")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_refuses_and_says_who_holds_it(tmp_path, holder):
    with pytest.raises(StoreError, match=rf"process {holder.pid} on .*wait until it ends"):
        Lock(tmp_path / "a.h5").acquire()
    with Lock(tmp_path / "b.h5"):
        pass


def test_dies_with_its_owner(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    left = tmp_path / ".a.h5.lock"
    assert left.exists()
    with Lock(tmp_path / "a.h5"):
        assert left.exists()
    assert list(tmp_path.iterdir()) == []


def test_within_one_process(tmp_path):
    first = Lock(tmp_path / "a.h5").acquire()
    (tmp_path / "link.h5").symlink_to("a.h5")
    with pytest.raises(StoreError, match="another run in this process"):
        Lock(tmp_path / "link.h5").acquire()
    first.release()
    first.release()
    with Lock(tmp_path / "link.h5"):
        pass


def test_survives_a_fork_of_its_owner(tmp_path):
    with Lock(tmp_path / "a.h5"):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        other = subprocess.run(
            [sys.executable, "-c", HOLDER, str(tmp_path / "a.h5")], capture_output=True, text=True
        )
        assert "StoreError" in other.stderr


def test_excludes_though_the_file_comes_and_goes(tmp_path):
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "a.h5"), str(count)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert count.read_text() == "120"


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def lockf(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with Lock(tmp_path / "a.h5") as lock:
        assert not lock.supported


def test_folder_missing(tmp_path):
    with pytest.raises(StoreError, match=r"the folder .*/no does not exist; make it \(mkdir"):
        Lock(tmp_path / "no" / "a.h5").acquire()


def test_folder_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot write in the folder .*Not a directory"):
        Lock(tmp_path / "file" / "a.h5").acquire()
