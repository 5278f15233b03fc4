"""How an experiment reaches a process that may not share the client's disk."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import os
import pickle
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import cloudpickle

from ..errors import DefinitionError
from ..experiment import Experiment
from ..limits import Limits
from ..loading import load_experiment
from ..table import Table


@dataclass(frozen=True)
class Shipment:
    """What a worker process has to know of a run.

    Attributes
    ----------
    run : str
        Identifies the run.
    output : Path
        The results file, as the client names it.
    seed : int
        Of the experiment.
    limits : Limits
        Of its evaluations.
    path : str
        Its file on the client; empty if it was defined in a script or notebook.
    table : Table or None
        None if it comes with the pickled experiment.
    pickled : bytes
        The experiment, if it has no file.
    files : dict of str to bytes
        Its file and the modules beside it, by path relative to `folder`.
    folder : str
        The client's folder that `files` are relative to.
    working_folder : str
        The client's working folder.
    marker : str
        A file on the client's disk that holds `run`: who can read it shares that disk. Empty
        for a process of the same machine.
    """

    run: str
    output: Path
    seed: int
    limits: Limits
    path: str = ""
    table: Table | None = None
    pickled: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    folder: str = ""
    working_folder: str = ""
    marker: str = ""


@dataclass
class Unpacked:
    """An experiment in a worker process.

    Attributes
    ----------
    experiment : Experiment
    output : Path
        The results file, or where it would be: evaluations have their folders beside it.
    shared : bool
        Whether the client sees what is written there.
    working_folder : str
        Where to evaluate; empty: where the process is.
    temporary : str
        A folder to remove at the end; empty if there is none.
    """

    experiment: Experiment
    output: Path
    shared: bool
    working_folder: str
    temporary: str

    def remove(self) -> None:
        """Remove what :func:`unpack` has written."""
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)


def pack(experiment: Experiment, table: Table, output: Path) -> Shipment:
    """An experiment for processes of this machine.

    Raises
    ------
    DefinitionError
        If the experiment has no file and its target cannot be pickled; the message names the
        object.
    """
    run = uuid.uuid4().hex
    if experiment.path:
        given = (experiment.seed, experiment.limits, experiment.path)
        return Shipment(run, output.absolute(), *given, table)
    pickled = _pickled(experiment)
    return Shipment(run, output.absolute(), experiment.seed, experiment.limits, pickled=pickled)


def pack_with_files(experiment: Experiment, table: Table, output: Path, marker: Path) -> Shipment:
    """An experiment for processes anywhere; writes `marker`, which the caller removes.

    Raises
    ------
    DefinitionError
        As :func:`pack` does.
    """
    packed = pack(experiment, table, output)
    marker.write_text(packed.run)
    folder = _home(experiment)
    return Shipment(
        **{
            **vars(packed),
            "files": local_files(experiment.path, folder) if folder else {},
            "folder": str(folder or ""),
            "working_folder": os.getcwd(),
            "marker": str(marker.absolute()),
        }
    )


def unpack(shipment: Shipment) -> Unpacked:
    """Load the experiment in a worker process.

    Raises
    ------
    PhsError
        If it cannot be loaded here.
    """
    if not shipment.marker:
        return Unpacked(_load(shipment, shipment.path), shipment.output, True, "", "")
    if _shares_the_disk(shipment):
        _forget_modules(shipment)
        if shipment.folder and shipment.folder not in sys.path:
            sys.path.insert(0, shipment.folder)
        experiment = _load(shipment, shipment.path)
        return Unpacked(experiment, shipment.output, True, shipment.working_folder, "")
    _forget_modules(shipment)
    folder = tempfile.mkdtemp(prefix="phs_mpi-")
    for name, raw in shipment.files.items():
        file = Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(raw)
    if shipment.files:
        sys.path.insert(0, folder)
    path = shipment.path and os.path.join(folder, os.path.relpath(shipment.path, shipment.folder))
    experiment = _load(shipment, path)
    return Unpacked(experiment, Path(folder, shipment.output.name), False, folder, folder)


def local_files(path: str, folder: Path) -> dict[str, bytes]:
    """The experiment's file and the modules in its folder that it uses.

    Those it has imported by now, and those that the text of its file, or of one of them,
    imports anywhere: a target may import when it is called.

    Parameters
    ----------
    path : str
        The experiment's file; empty if it has none.
    folder : Path
        What lies elsewhere is expected to be installed on the workers.

    Returns
    -------
    dict of str to bytes
        Contents by path relative to `folder`.
    """
    found = {Path(path)} if path else set()
    if path:
        finder = ModuleFinder([str(folder)])
        with suppress(SyntaxError):  # of a module that is never imported
            finder.run_script(path)
        files = (getattr(module, "__file__", None) for module in finder.modules.values())
        found |= {Path(file) for file in files if file}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and "site-packages" not in file:
            found.add(Path(os.path.abspath(file)))
    local = [f for f in found if f.is_relative_to(folder) and f.is_file()]
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(local)}


# -- inside ------------------------------------------------------------------------------


def _home(experiment: Experiment) -> Path | None:
    """Folder of the file that defines the experiment; None in a notebook."""
    if experiment.path:
        return Path(experiment.path).parent
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(os.path.abspath(file)).parent if file else Path.cwd()


def _load(shipment: Shipment, path: str) -> Experiment:
    if not shipment.pickled:
        experiment = load_experiment(path, shipment.seed)
        experiment.limits = shipment.limits
        return experiment
    try:
        return pickle.loads(shipment.pickled)
    except Exception as error:
        raise DefinitionError(
            f"the experiment cannot be unpickled on a worker: {type(error).__name__}: {error}",
            remedy="install what it needs there, or define it in an experiment.py",
        ) from error


def _shares_the_disk(shipment: Shipment) -> bool:
    try:
        return Path(shipment.marker).read_text() == shipment.run
    except OSError:
        return False


def _forget_modules(shipment: Shipment) -> None:
    """Forget modules of an earlier run: the user may have changed them since."""
    importlib.invalidate_caches()
    names = {name.removesuffix(".py").removesuffix("/__init__") for name in shipment.files}
    for name in names:
        name = name.replace("/", ".")
        module = sys.modules.get(name)
        if module is not None and "site-packages" not in (getattr(module, "__file__", "") or ""):
            del sys.modules[name]


def _pickled(experiment: Experiment) -> bytes:
    experiment.table()  # drawn once, here
    alone = copy.copy(experiment)
    alone.monitors = ()  # they run beside the client
    try:
        return cloudpickle.dumps(alone)
    except Exception as error:
        name, culprit = _unpicklable(experiment.target)
        raise DefinitionError(
            f"{name} cannot be sent to another process: {type(error).__name__}: {error}",
            value=culprit,
            remedy="make it inside the target, or define the experiment in an experiment.py, "
            "which each worker loads for itself",
        ) from error


def _unpicklable(target: Callable) -> tuple[str, Any]:
    """What in a target cannot be pickled: its name and the object."""
    label = getattr(target, "__name__", type(target).__name__)
    parts: list[tuple[str, Any]] = []
    function = inspect.unwrap(getattr(target, "func", target))  # functools.partial
    if inspect.isfunction(function):
        used = inspect.getclosurevars(function)
        parts = [*used.nonlocals.items(), *used.globals.items()]
    else:
        parts = [(f"{label}.{name}", value) for name, value in vars(target).items()]
    for name, value in parts:
        try:
            cloudpickle.dump(value, io.BytesIO())
        except Exception:
            return f"{name!r} ({type(value).__name__}), which the target {label} uses,", value
    return f"the target {label}", target
