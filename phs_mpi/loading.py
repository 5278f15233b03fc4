"""Loading of a user's experiment.py: every way it can fail is one line that names the place."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType

from phs_mpi.errors import DefinitionError
from phs_mpi.experiment import Experiment


def load_experiment(
    path: str | os.PathLike[str] | Experiment, seed: int | None = None
) -> Experiment:
    """Run a file as a module, and return the experiment it defines.

    Parameters
    ----------
    path : path-like or Experiment
        The user's file. As when Python runs it, its folder comes first in ``sys.path``; blocks
        under ``if __name__ == "__main__":`` are not run. An experiment that is there already
        is taken as it is.
    seed : int, optional
        Takes the place of the seed in the file.

    Returns
    -------
    Experiment
        With ``path`` (absolute) and ``source`` (text) of the file.

    Raises
    ------
    DefinitionError
        If there is no such file, it does not run, or it does not define just one experiment
        with parameter sets.
    """
    if isinstance(path, Experiment):
        experiment = path
        if not experiment.groups:
            raise DefinitionError(
                f"the experiment {experiment.name!r} has no parameter sets",
                remedy="call its add(...) first",
            )
    else:
        file = Path(os.path.abspath(path))
        source, code = _compiled(file, os.fspath(path))
        experiment = _run(file, code, os.fspath(path))
        experiment.path = str(file)
        experiment.source = source
        if not experiment.named:
            experiment.name = file.stem
    if seed is not None:
        experiment.seed = seed
    return experiment


def _compiled(file: Path, shown: str) -> tuple[str, CodeType]:
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        remedy = "check the name and the working folder" if shown else "name the file to run"
        raise DefinitionError(f"there is no file {shown!r}", value=shown, remedy=remedy) from None
    except IsADirectoryError:
        raise DefinitionError(
            f"{shown!r} is a folder",
            value=shown,
            remedy="name the Python file that defines the experiment",
        ) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DefinitionError(
            f"cannot read {shown!r}: {reason}",
            value=shown,
            remedy="check the permissions of the file and its folder",
        ) from None
    if b"\0" in raw:
        raise DefinitionError(
            f"{shown!r} is not a text file",
            value=shown,
            remedy="name the Python file that defines the experiment",
        )
    try:
        source = importlib.util.decode_source(raw)
        return source, compile(source, str(file), "exec", dont_inherit=True)
    except SyntaxError as error:
        text = (error.text or "").strip()
        raise DefinitionError(
            f"{shown}:{error.lineno or 1}: {error.msg}" + (f": {text}" if text else ""),
            value=shown,
            remedy="correct the line",
        ) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DefinitionError(
            f"{shown}:{line}: the text is not {error.encoding.upper()}",
            value=shown,
            remedy="save the file as UTF-8",
        ) from None


def _run(file: Path, code: CodeType, shown: str) -> Experiment:
    name = _module_name(file)
    # Not run by the loader: that would leave __pycache__, written by all ranks at once.
    loader = importlib.machinery.SourceFileLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with _imported_as(name, module, str(file.parent)):
        try:
            exec(code, module.__dict__)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's file may raise anything, SystemExit too
            raise _failure(error, file, shown) from error
        return _only_experiment(module, shown)


@contextmanager
def _imported_as(name: str, module: ModuleType, folder: str) -> Iterator[None]:
    """Register the module and put its folder first; undone only if the block fails."""
    sys.modules[name] = module
    path = list(sys.path)
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    try:
        yield
    except BaseException:
        sys.modules.pop(name, None)
        sys.path[:] = path
        raise


def _module_name(file: Path) -> str:
    """The stem, made an identifier, and no name that something else already has."""
    name = re.sub(r"\W", "_", file.stem)
    if not name.isidentifier():
        name = f"_{name}"
    while not _is_free(name, file):
        name += "_experiment"
    return name


def _is_free(name: str, file: Path) -> bool:
    if name in sys.stdlib_module_names or name == "phs_mpi":
        return False
    loaded = sys.modules.get(name)
    return loaded is None or getattr(loaded, "__file__", None) == str(file)


def _failure(error: BaseException, file: Path, shown: str) -> DefinitionError:
    where = f"{shown}:{_line(error, file)}"
    if isinstance(error, DefinitionError):
        return DefinitionError(f"{where}: {error}", value=error.value)
    text = " ".join(str(error).split())
    what = f"{where}: {type(error).__name__}" + (f": {text}" if text else "")
    if isinstance(error, SystemExit):
        return DefinitionError(
            f"{where}: the file calls sys.exit while it is being loaded",
            value=error.code,
            remedy='put that under if __name__ == "__main__":',
        )
    if isinstance(error, ImportError):
        remedy = "install it for this Python, or put it beside the file"
        if not isinstance(error, ModuleNotFoundError):
            remedy = "check the name and the installed version"
        return DefinitionError(what, value=error.name, remedy=remedy)
    if isinstance(error, SyntaxError):  # in a module that the file imports
        place = f"{error.filename}:{error.lineno}: {error.msg}"
        return DefinitionError(f"{where}: {place}", value=error.text, remedy="correct that line")
    return DefinitionError(what, value=repr(error), remedy="mend the file so that it imports")


def _line(error: BaseException, file: Path) -> int:
    """Last line of the user's file that was running."""
    lines = [
        line or 1
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(file)
    ]
    return lines[-1] if lines else 1


def _only_experiment(module: ModuleType, shown: str) -> Experiment:
    found: dict[int, tuple[str, Experiment]] = {}
    for name, value in vars(module).items():
        if isinstance(value, Experiment):
            found.setdefault(id(value), (name, value))
    if not found:
        raise DefinitionError(
            f"{shown} defines no experiment",
            value=shown,
            remedy="add experiment = Experiment(target, parameters={...}) to it",
        )
    names = [name for name, _ in found.values()]
    if len(found) > 1:
        raise DefinitionError(
            f"{shown} defines {len(found)} experiments: {', '.join(names)}",
            value=names,
            remedy="keep one, and move each other to a file of its own",
        )
    experiment = next(iter(found.values()))[1]
    if not experiment.groups:
        raise DefinitionError(
            f"{shown}: the experiment {names[0]!r} has no parameter sets",
            value=names[0],
            remedy=f"call {names[0]}.add(...) in it",
        )
    return experiment
