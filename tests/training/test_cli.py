"""Flags, messages and exit codes of every command, and the one door to them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from napari_brainvae.io.errors import InputError
from training import __main__ as door
from training.cli import main, parse

ROOT = Path(__file__).resolve().parents[2]


class Options(BaseModel):
    """Nothing."""

    number: int = 1


def run(do, *arguments):
    main(Options, do, program="python -m training.toy", arguments=arguments)


def test_messages_go_to_stdout_and_warnings_to_stderr_as_they_are(capsys):
    ours, other = logging.getLogger("training.toy"), logging.getLogger("elsewhere")
    for _ in range(2):  # handlers do not pile up

        def do(options):
            ours.info("number %d", options.number)
            ours.debug("not shown")
            ours.warning("odd")
            other.info("not ours")
            other.warning("theirs")

        run(do, "--number", "3")
        assert capsys.readouterr() == ("number 3\n", "odd\ntheirs\n")


def test_an_unknown_flag_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        run(print, "--numbr", "3")
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is no flag --numbr: did you mean --number?")
    assert "--help" in line


def fail(error):
    def do(options):
        raise error

    return do


def test_a_bug_keeps_its_traceback_and_says_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        run(fail(KeyError("inner")))
    assert stop.value.code == 1
    *trace, last = capsys.readouterr().err.splitlines()
    assert "Traceback" in trace[0]
    assert "please report it" in last
    assert "napari-brainvae 0." in last


@pytest.mark.parametrize("error", [InputError("two\nlines"), FileNotFoundError("two lines")])
def test_bad_input_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as stop:
        run(fail(error))
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: two lines\n"


def test_a_damaged_file_that_is_quoted_whole_is_cut(capsys):
    with pytest.raises(SystemExit):
        run(fail(InputError("no such word: " + "x" * 10**6)))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no such word: xxx")
    assert line.endswith("x ...")
    assert len(line) < 1100


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("Unable to allocate 9 TiB for an array")], ids=repr
)
def test_too_little_memory_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as stop:
        run(fail(error))
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"error: this machine has not enough memory: {error}".rstrip(": ")


def test_every_command_is_behind_the_door():
    """A module that can be run is a command: its docstring says how, and for what."""
    modules = (ROOT / "training").glob("[!_]*.py")
    can_be_run = {path.stem for path in modules if '__name__ == "__main__"' in path.read_text()}
    listed = dict(door.commands())
    assert set(listed) == can_be_run
    assert {"fit", "evaluate", "interpret", "denoise"} <= can_be_run
    for name, summary in listed.items():
        assert summary, name
        assert f"  {name}" in door.overview()


@pytest.mark.parametrize(("given", "said"), [([], "no command given"), (["ft"], "'ft'")])
def test_what_is_no_command(given, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["brainvae", *given])
    with pytest.raises(SystemExit) as stop:
        door.main()
    assert stop.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def installed(tmp_path) -> list[str]:
    """What pip makes of the console script: a file apart that imports and calls."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["brainvae"].split(":")
    script = tmp_path / "bin" / "brainvae"
    script.parent.mkdir()
    script.write_text(f"from {module} import {function}\nif __name__ == '__main__': {function}()\n")
    return [sys.executable, str(script)]


def test_a_folder_of_her_own_called_training_hides_nothing(tmp_path):
    hers = tmp_path / "work" / "training"
    hers.mkdir(parents=True)
    for name in ("__init__", "__main__", "fit", "cli"):
        (hers / f"{name}.py").write_text("raise SystemExit('hers')")
    places = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [*installed(tmp_path), "fit", "--help"],
        cwd=hers.parent, env=os.environ | {"PYTHONPATH": places}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: brainvae fit")
    assert "--latent-dim" in done.stdout


def test_the_door_imports_only_what_is_asked_for():
    code = (
        "import sys; sys.argv = ['brainvae', '--help']\n"
        "from training.__main__ import main; main()\n"
        "heavy = {'torch', 'pandas', 'training.fit', 'training.sweep'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


class Models(BaseModel):
    """Some."""

    population: CliPositionalArg[Path]
    model: list[Path] = Field([])
    out: Path = Path("out")
    overwrite: bool = False


@pytest.mark.parametrize(
    "arguments",
    [
        "P --model A B --out O",
        "P --out O --model A B",
        "P --model A --model B --out O",
        "P --model A,B --out O --overwrite",
        "--model A --model B --out O P",
        "--out O --model A --model B P",
    ],
)
def test_several_models_follow_one_flag_or_have_one_each(arguments):
    found = parse(Models, "python -m training.toy", arguments.split())
    assert (found.population, found.out) == (Path("P"), Path("O"))
    assert found.model == [Path("A"), Path("B")]
