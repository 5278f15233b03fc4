import dataclasses
import re
import subprocess
import sys

import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image
from results import evaluate, make_experiment, resume
from runs import mixed_experiment, run

from phs_mpi import Random, cli, plotting
from phs_mpi.errors import PhsError
from phs_mpi.plotting import Options, save_figures
from phs_mpi.store import read


def test_every_figure_of_a_file(mixed, tmp_path):
    saved = save_figures(mixed, folder=tmp_path / "new" / "folder")
    assert [p.name for p in saved] == [f"mixed.{kind}.png" for kind in plotting.KINDS]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in saved)


def test_beside_the_file_by_default(tmp_path):
    path = tmp_path / "a.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), range(3))
    (saved,) = save_figures(read(path), ["evolution"])
    assert saved == tmp_path / "a.evolution.png"
    assert saved.exists()


def test_by_default_what_the_file_has_enough_for(tmp_path, evaluated):
    alone = evaluated(lambda x: x, 3, x=Random(0, 1))
    assert [p.name for p in save_figures(alone)] == ["a.evolution.png", "a.timeline.png"]
    path = tmp_path / "failed.h5"
    resume(path, make_experiment())
    evaluate(path, make_experiment(), [0, 1], failed=[0, 1])
    assert [p.name for p in save_figures(read(path))] == ["failed.timeline.png"]


@pytest.mark.parametrize("kind", plotting.KINDS)
def test_no_title_or_label_leaves_the_picture(mixed, kind):
    mixed = dataclasses.replace(mixed, definition=mixed.definition | {"target": "a_name." * 20})
    figure = plotting.KINDS[kind](mixed, Options())
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert any("a_name" in text.get_text() for text in texts)
    # Of ticks only those within the axes are drawn; what is drawn of the others is a label.
    ticks = {id(t) for axes in figure.findobj(Axes) for t in _ticks(axes)}
    for text in texts:
        if id(text) not in ticks:
            box = text.get_window_extent()
            assert box.x0 >= -1, text
            assert box.y0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1, text
            assert box.y1 <= figure.bbox.y1 + 1, text


def _ticks(axes):
    return [*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both")]


def test_formats_and_resolution(mixed, tmp_path):
    options = Options(formats=["png", "pdf", "svg"], dpi=50)
    png, pdf, svg = save_figures(mixed, ["evolution"], tmp_path, options)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"<svg" in svg.read_bytes()
    with Image.open(png) as picture:
        assert picture.width == pytest.approx(50 * 5.4, abs=1)


def command(*arguments, capsys):
    status = cli.main(["plot", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


def test_the_command_draws_the_parameters_asked_for(mixed, tmp_path, capsys):
    status, out, _ = command(
        mixed.path, "scatter", "--out", tmp_path, "--contour", "-p", "rate,layers", capsys=capsys
    )
    assert (status, out) == (0, [str(tmp_path / "mixed.scatter.png")])
    few = run(mixed_experiment(4, 0), tmp_path / "few.h5")
    status, out, _ = command(few.path, "--animate", "--dpi", "40", capsys=capsys)
    assert (status, out) == (0, [str(tmp_path / "few.scatter.gif")])
    assert (tmp_path / "few.scatter.gif").read_bytes().startswith(b"GIF8")


def test_the_command_with_several_files(tmp_path, capsys):
    for seed in (1, 2):
        run(mixed_experiment(8, 0, seed=seed), tmp_path / f"s{seed}.h5")
    files = tmp_path / "s1.h5", tmp_path / "s2.h5"
    status, out, _ = command(*files, capsys=capsys)
    assert (status, out) == (0, [str(tmp_path / "s1.convergence.png")])
    status, out, _ = command(*files, "evolution", "convergence", capsys=capsys)
    names = ["s1.evolution.png", "s2.evolution.png", "s1.convergence.png"]
    assert out == [str(tmp_path / name) for name in names]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pie"], "no figure 'pie'; choose of evolution, scatter, combination, timeline"),
        (["--format", "bmp"], "no format 'bmp'; choose of png, pdf, svg"),
        (["--format", ","], "no format is given"),
        (["-p", "rate,z"], "no parameter 'z'; choose of 'rate', 'layers'"),
        (["scatter", "-p", "rate"], "scatter shows two parameters, not 1"),
        (["evolution", "--contour"], "--contour is for the figure scatter"),
        (["evolution", "--optimum", "0"], "--optimum is for the figure convergence"),
        (["--contour", "-p", "rate,optimizer"], "'optimizer': a contour needs numbers"),
        (["--out", "{file}/below"], "cannot write figures in .*; name another folder with --out"),
        (["{folder}/missing.h5"], "missing.h5 does not exist"),
        (["{folder}/other.h5"], "cannot be read|no HDF5|not an HDF5"),
    ],
)
def test_bad_input_of_the_command(mixed, tmp_path, capsys, arguments, message):
    (tmp_path / "other.h5").write_text("no results")
    given = [a.format(file=mixed.path, folder=tmp_path) for a in arguments]
    status, out, err = command(mixed.path, *given, capsys=capsys)
    assert status == 2
    assert out == []
    assert re.search(message, err), err
    assert len(err.splitlines()) == 1


def test_no_result_yet(tmp_path, capsys):
    path = tmp_path / "empty.h5"
    resume(path, make_experiment())
    for kinds in ([], *([kind] for kind in plotting.KINDS), ["convergence"]):
        status, _, err = command(path, *kinds, capsys=capsys)
        assert status == 2
        assert "no result yet" in err or "no finished evaluation yet" in err


def test_two_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        run(mixed_experiment(4, 0), tmp_path / folder / "same.h5")
    both = [read(tmp_path / folder / "same.h5") for folder in ("a", "b")]
    with pytest.raises(PhsError, match="two results files are called 'same'"):
        save_figures(both, ["evolution"], tmp_path)
    assert len(set(save_figures(both, ["evolution"]))) == 2


def test_pyplot_is_not_needed():
    code = "import phs_mpi.plotting, sys; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_commands_reading_and_analysis_load_no_heavy_packages():
    heavy = "('scipy', 'sklearn', 'matplotlib', 'pandas', 'mpi4py', 'PIL')"
    code = (
        "import phs_mpi.analysis, phs_mpi.cli, sys; "
        f"assert not [m for m in {heavy} if m in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
