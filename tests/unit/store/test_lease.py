import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from phs_mpi.errors import StoreError
from phs_mpi.store import lease, lock
from phs_mpi.store.lease import Lease, Taken


def alive(owner):
    return False


def test_one_at_a_time(tmp_path):
    path = tmp_path / "lease"
    first = Lease(path)
    first.acquire(b"first", alive)
    with pytest.raises(Taken, match="first"):
        Lease(path).acquire(b"second", alive)
    assert [p.name for p in tmp_path.iterdir()] == ["lease"]
    first.release()
    assert list(tmp_path.iterdir()) == []
    second = Lease(path)
    second.acquire(b"second", alive)
    second.release()


def test_signs_of_life_keep_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.01)
    path = tmp_path / "lease"
    first = Lease(path)
    first.acquire(b"first", alive)
    os.utime(path, (0, 0))
    deadline = time.monotonic() + 30
    while path.stat().st_mtime == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(Taken):
        Lease(path).acquire(b"second", alive)
    first.release()


def test_it_expires_with_its_owner(tmp_path):
    path = tmp_path / "lease"
    path.write_bytes(b"dead")
    with pytest.raises(Taken):
        Lease(path).acquire(b"second", alive)
    old = time.time() - lease.EXPIRES - 1
    os.utime(path, (old, old))
    second = Lease(path)
    second.acquire(b"second", alive)
    assert path.read_bytes() == b"second"
    second.release()
    path.write_bytes(b"dead")
    third = Lease(path)
    third.acquire(b"third", lambda owner: owner == b"dead")
    third.release()
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_find_an_expired_one_one_gets_it(tmp_path):
    for turn in range(20):
        path = tmp_path / f"lease-{turn}"
        path.write_bytes(b"dead")
        os.utime(path, (0, 0))
        together, held = threading.Barrier(8), []

        def try_it(name, path=path, together=together, held=held):
            mine = Lease(path)
            together.wait()
            try:
                mine.acquire(name, alive)
            except Taken:
                return
            held.append(mine)

        threads = [threading.Thread(target=try_it, args=(b"%d" % n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(held) == 1
        held[0].release()
    assert list(tmp_path.iterdir()) == []


def test_whether_an_owner_is_dead(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = {"host": socket.gethostname(), "since": 0.0}
    assert lock._is_dead(json.dumps(here | {"pid": ended.pid}).encode())
    assert not lock._is_dead(json.dumps(here | {"pid": os.getpid()}).encode())
    assert not lock._is_dead(json.dumps({"host": "other", "pid": ended.pid}).encode())
    for said in (b"", b"{}", b"[]", b'{"host": 1}', b"\xff"):
        assert not lock._is_dead(said)


def test_a_lock_says_that_it_is_a_lease(tmp_path, monkeypatch):
    def lockf(*arguments):
        raise OSError(lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "lockf", lockf)
    with lock.Lock(tmp_path / "a.h5") as held:
        assert "is on a file system without locks: signs of life" in held.remark
        with pytest.raises(StoreError, match="another run in this process"):
            lock.Lock(tmp_path / "a.h5").acquire()
        assert [p.name for p in tmp_path.iterdir()] == [".a.h5.lease"]
    assert list(tmp_path.iterdir()) == []
