"""The command that writes the page, also of a file that others are writing."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
from pages import Page
from runs import mixed_experiment, run

from phs_mpi.cli import main


@pytest.fixture
def finished(tmp_path):
    return run(mixed_experiment(drawn=12, searched=0), tmp_path / "a.h5").path


def test_it_lies_beside_the_results_or_where_it_is_asked_for(finished, tmp_path, capsys):
    assert main(["report", str(finished)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a.html'}\n"
    found = Page((tmp_path / "a.html").read_text())
    assert len(found.tables["table-of-sets"]) == 13
    assert {"evolution", "timeline"} <= {i["alt"] for i in found.named("img")}
    assert "importance: it takes 15 results" in found.text
    assert main(["report", str(finished), "--out", str(tmp_path / "b.html")]) == 0
    (tmp_path / "folder").mkdir()
    assert main(["report", str(finished), "--out", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "folder" / "a.html").exists()
    assert not list(tmp_path.glob(".*.part"))
    # A file that is complete is written once.
    assert main(["report", str(finished), "--watch"]) == 0
    assert not [m for m in found.named("meta") if m.get("http-equiv") == "refresh"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.h5"], "nowhere.h5 does not exist"),
        (["{folder}"], "is a folder"),
        (["{text}"], "is not an HDF5 file"),
        (["{file}", "--out", "{file}"], "is the results file itself"),
        (["{file}", "--out", "/proc/none.html"], "cannot write /proc/none.html"),
        (["{file}", "--out", "{folder}/no/such/a.html"], "cannot write"),
    ],
)
def test_bad_input_is_one_message(finished, tmp_path, capsys, arguments, message):
    (tmp_path / "text.h5").write_text("no HDF5")
    names = {"folder": tmp_path, "file": finished, "text": tmp_path / "text.h5"}
    before = finished.read_bytes()
    assert main(["report", *(word.format(**names) for word in arguments)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err
    assert finished.read_bytes() == before


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "soon"])
def test_no_interval(finished, seconds, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", str(finished), "--watch", seconds])
    assert ended.value.code == 2


RUNNING = """
import time
from pathlib import Path
import phs_mpi
from phs_mpi import Experiment, Random

def target(x):
    # Each set waits for its permission, so that the test decides how far the run is.
    while not Path(f"go-{phs_mpi.current().index}").exists():
        time.sleep(0.02)
    return x

experiment = Experiment(target, {"x": float}, capture=False)
experiment.add(4, x=Random(0, 1))
"""


@pytest.fixture
def running(launch):
    """A run of four sets on two workers under MPI, and a report that watches it."""
    launch.write("experiment.py", RUNNING)
    processes = [launch.start(3, "-m", "phs_mpi", "experiment.py")]
    deadline = time.monotonic() + 60
    while not (launch.folder / "experiment.h5").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes.append(launch.start(None, "-m", "phs_mpi", "report", "experiment.h5", "--watch", "1"))
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def page_when(folder, done: int) -> Page:
    """The page, once it shows so many evaluated sets."""
    deadline = time.monotonic() + 100
    path = folder / "experiment.html"
    while True:
        if path.exists():
            # Renamed into its place: at no moment is it anything but whole.
            text = path.read_text()
            assert text.startswith("<!DOCTYPE html>")
            assert text.endswith("</html>\n")
            found = Page(text)
            if f"{done} of 4" in found.text:
                return found
        assert time.monotonic() < deadline, f"never shows {done} of 4"
        time.sleep(0.05)


def reloads(found: Page) -> bool:
    return any(m.get("http-equiv") == "refresh" for m in found.named("meta"))


def test_a_running_file_is_watched_until_it_is_complete(launch, running):
    first = page_when(launch.folder, 0)
    assert reloads(first)
    # The first page may be of a moment before the first evaluation.
    deadline = time.monotonic() + 100
    while first.columns("table-of-sets")["status"].count("running") < 2:
        assert time.monotonic() < deadline
        first = page_when(launch.folder, 0)
    assert reloads(first)
    (launch.folder / "go-1").touch()
    second = page_when(launch.folder, 1)
    assert second.columns("table-of-sets")["status"].count("done") == 1
    assert {"evolution", "timeline"} <= {image["alt"] for image in second.named("img")}
    assert reloads(second)
    for number in (0, 2, 3):
        (launch.folder / f"go-{number}").touch()
    search, watcher = running
    out, err = watcher.communicate(timeout=100)
    assert watcher.returncode == 0, err
    assert out == "experiment.html\n"
    last = page_when(launch.folder, 4)
    assert not reloads(last)
    out, err = search.communicate(timeout=100)
    assert search.returncode == 0, err
    assert "4 done, 0 failed" in out


def test_after_ctrl_c_the_page_does_not_reload_itself_any_more(launch, running):
    page_when(launch.folder, 0)
    search, watcher = running
    watcher.send_signal(signal.SIGINT)
    err = watcher.communicate(timeout=100)[1]
    assert watcher.returncode == 130
    assert "Traceback" not in err
    assert not reloads(page_when(launch.folder, 0))
    assert search.poll() is None
