"""The command line's grammar and choices."""

import shutil
import subprocess

import pytest

from phs_mpi import cli


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        "PMI_SIZE",
        "PMI_RANK",
        "MPI_LOCALNRANKS",
        "MPI_LOCALRANKID",
        "SLURM_STEP_NUM_TASKS",
        "SLURM_PROCID",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["e.py"], ["run", "e.py"]),
        (["--seed", "3", "e.py"], ["run", "--seed", "3", "e.py"]),
        (["run", "e.py"], ["run", "e.py"]),
        (["status", "e.h5"], ["status", "e.h5"]),
        (["--help"], ["--help"]),
        ([], []),
    ],
)
def test_run_is_the_default_verb(given, meant):
    assert cli.with_verb(given) == meant


@pytest.mark.parametrize("arguments", [["e.py", "--seed", "-1"], ["e.py", "--workers", "0"], []])
def test_bad_arguments_end_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_only_the_first_rank_complains(monkeypatch, capsys):
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    monkeypatch.setattr(cli.launching, "FAREWELL_SECONDS", 0.01)
    with pytest.raises(SystemExit) as ended:
        cli.main(["--nonsense"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("verb", ["run", "table", "status", "best", "plot", "report", "compare"])
def test_each_command_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert f"phs_mpi {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["phs-mpi", "st"], {"status"}),
        (["phs-mpi", "run", "--wall"], {"--walltime"}),
        (["phs-mpi", "status", "exp"], {"experiment.h5"}),
    ],
)
def test_bash_completes_commands_options_and_files(typed, offered, tmp_path, capsys):
    pytest.importorskip("shtab")
    bash = shutil.which("bash") or pytest.skip("no bash here")
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "experiment.h5").touch()
    script = (
        capsys.readouterr().out
        + f"""
COMP_WORDS=({" ".join(typed)})
COMP_CWORD={len(typed) - 1}
$(complete -p phs-mpi | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    )
    done = subprocess.run([bash, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert set(done.stdout.split()) == offered, done.stderr
