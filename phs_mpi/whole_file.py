"""Files that are whole or not there, also for somebody who reads them meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import PhsError


@contextlib.contextmanager
def replacing(path: Path, results: Path) -> Iterator[Path]:
    """Where to write what becomes `path` at the end of the block, in one step.

    Parameters
    ----------
    path : Path
        What is there already is replaced.
    results : Path
        The results file that it is about; never replaced.

    Raises
    ------
    PhsError
        If `path` is the results file, or cannot be written.
    """
    if path.resolve() == results.resolve():
        raise PhsError(
            f"{path} is the results file itself",
            value=str(path),
            remedy="name another file with --out",
        )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch()  # what cannot be written is known before the work is done
        yield part
        os.replace(part, path)
    except OSError as error:
        raise PhsError(
            f"cannot write {path}: {error.strerror or error}",
            value=str(path),
            remedy="name a file in another folder with --out",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
