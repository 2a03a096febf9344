"""Flags of every command as no one should give them: one line that names the flag, nothing done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from napari_brainvae.io.errors import InputError
from napari_brainvae.io.places import WRITTEN
from napari_brainvae.models.fit_options import FitOptions
from tests.training.commands import commands, ended
from training.cli import flag_of, numbers, options_of
from training.fit import fit

# what each command needs besides


def needed(name: str, schema: type[BaseModel]) -> list[tuple[str, type[BaseModel], list[str]]]:
    """Sub-commands of a command with their schema and required arguments; or itself."""
    found = []
    for field, info in schema.model_fields.items():
        for kind in get_args(info.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += [(f"{name} {field}", s, [field, *a]) for _, s, a in needed(field, kind)]
    if found:
        return found
    by_place, by_flag = [], []
    for field, info in options_of(schema):
        if info.is_required():
            value = "new.zarr" if field in WRITTEN else "there"
            flag = flag_of(field, info)
            by_place += [] if flag.startswith("--") else [value]
            by_flag += [flag, value] if flag.startswith("--") else []
    return [(name, schema, [*by_place, *by_flag])]


CALLS = {
    call: (schema, arguments)
    for name, (top, _) in commands().items()
    for call, schema, arguments in needed(name, top)
}


def kinds(annotation: object) -> set[object]:
    """The plain types in an annotation."""
    return {annotation} | {k for inner in get_args(annotation) for k in kinds(inner)}


NUMERIC = [
    (call, flag_of(field, info), int if int in kinds(info.annotation) else float)
    for call, (schema, _) in CALLS.items()
    for field, info in options_of(schema)
    if {int, float} & kinds(info.annotation)
]

NO_NUMBERS = ["nan", "inf", "-inf", "1e400", "x", "0x10", "1,2,x", "-1e30", "{}", "9" * 5000]
NO_INTEGERS = ["1.5", "1e3", "10000000000000", "9" * 30, "-9999999999999"]


def test_the_table_is_of_all_commands():
    assert {"fit", "sweep", "acquire atlas", "acquire sections", "interpret"} <= set(CALLS)
    assert len(NUMERIC) > 45


@pytest.mark.parametrize(("call", "flag", "kind"), NUMERIC, ids=lambda v: str(v))
def test_no_number_that_is_none_gets_past_its_option(call, flag, kind, capsys):
    """Also not a whole number without end: each has a largest value."""
    name = call.split()[0]
    for value in NO_NUMBERS + (NO_INTEGERS if kind is int else []):
        arguments = [*CALLS[call][1], f"{flag}={value}"]
        code, said = ended(capsys, name, arguments, run=lambda options: print(options))
        assert code == 2, (value, said)
        [line] = said
        assert flag in line, value
        assert len(line) < 300


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--no-such-flag", "3"], "there is no flag --no-such-flag"),
        (["--ouut=x"], "there is no flag --ouut"),
        (["-x"], "there is no flag -x"),
        (["one", "more"], "one argument too many: "),
        ([""], "an argument is empty"),
        (["--out="], "an argument is empty: --out="),
        (["\udcff"], "no UTF-8"),
    ],
    ids=lambda v: str(v).encode("ascii", "replace").decode()[:20],
)
def test_arguments_that_are_none(call, wrong, message, capsys):
    schema, arguments = CALLS[call]
    if arguments[-2:-1] == ["--model"]:  # takes as many files as there are
        arguments = [arguments[0], *arguments[-2:], *arguments[1:-2]]
    code, said = ended(capsys, call.split()[0], [*arguments, *wrong], run=pytest.fail)
    assert code == 2
    [line] = said
    assert message in line
    if wrong == ["--ouut=x"] and "out" in dict(options_of(schema)) and "--out" in arguments:
        assert "did you mean --out?" in line


@pytest.mark.parametrize(
    ("name", "flag", "meant"),
    [
        ("fit", "--latnt-dim", "--latent-dim"),
        ("fit", "--latent_dims", "--latent-dim"),
        ("fit", "--LR", None),
        ("fit", "--learn", "--learning-rate"),
        ("pca", "--latent-dims", "--latent-dim"),
        ("pca", "--steps", None),
        ("acquire sections", "--plan", "--plane"),
        ("acquire atlas", "--fold", None),
    ],
)
def test_an_unknown_flag_is_answered_with_the_one_that_was_meant(name, flag, meant, capsys):
    code, [line] = ended(capsys, name.split()[0], [*CALLS[name][1], flag, "3"], run=pytest.fail)
    assert code == 2
    assert f"there is no flag {flag}" in line
    assert ("did you mean" in line) == (meant is not None)
    assert meant is None or f"did you mean {meant}?" in line
    assert f"({name.split()[0]} --help lists the flags)" in line


@pytest.mark.parametrize("call", CALLS)
def test_what_is_required_is_named(call, capsys):
    _, arguments = CALLS[call]
    if len(arguments) >= len(call.split()):
        code, [line] = ended(capsys, call.split()[0], arguments[:-1], run=pytest.fail)
        assert code == 2
        assert "required" in line or "expected one argument" in line or "say what" in line


def test_a_value_that_begins_with_a_minus_is_explained(capsys):
    code, [line] = ended(capsys, "fit", ["p", "--out", "o", "--beta", "-1e5"], run=pytest.fail)
    assert code == 2
    assert "--beta" in line
    assert "FLAG=-1" in line


def test_a_tilde_in_any_place_is_the_home_folder(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    code, said = ended(capsys, "fit", ["~/p.zarr", "--out", "~/run"], run=seen.append)
    assert (code, said) == (0, [])
    assert (seen[0].population, seen[0].out) == (tmp_path / "p.zarr", tmp_path / "run")


def test_a_home_of_no_one(capsys, monkeypatch):
    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    code, [line] = ended(capsys, "fit", ["p", "--out", "~no-one/o"], run=pytest.fail)
    assert code == 2
    assert "there is no such home folder" in line


# ranges


@pytest.mark.parametrize(
    "text", ["1:1000000000", "0:1:1e-9", "1:1e300", "1:1000000:0.0000001", "1:1002", "1:2:1e-320"]
)
def test_a_range_without_end_is_refused_before_it_is_counted_out(text, capsys):
    for flag in ("--betas", "--latent-dims"):
        code, [line] = ended(capsys, "sweep", ["p", "--out", "o", flag, text], run=pytest.fail)
        assert code == 2
        assert flag in line


@pytest.mark.parametrize("text", ["600", "1:513", "512,513"])
def test_no_more_factors_than_a_fit_takes(text, capsys):
    with pytest.raises(InputError, match="from 1 to 512"):
        numbers(text, smallest=1, largest=512)
    code, [line] = ended(
        capsys, "sweep", ["p", "--out", "o", "--latent-dims", text], run=pytest.fail
    )
    assert code == 2
    assert "--latent-dims" in line


@pytest.mark.parametrize("text", ["0:1000000000", "1000000000:0:-1", "5:9999999999", "9" * 30])
def test_planes_without_end(text, capsys):
    code, [line] = ended(capsys, "acquire", ["sections", "m.zarr", "--plane", text], pytest.fail)
    assert code == 2
    assert "there are no planes" in line


# devices and threads


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(device, phantom_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    flags = [phantom_file, "--out", tmp_path / "run", "--device", device, "--latent-dim", 2]
    code, [line] = ended(capsys, "fit", flags)
    assert code == 2
    assert f"torch finds no {device} device here: try --device auto" in line
    assert not list(tmp_path.iterdir())


def test_more_devices_than_there_are(phantom_file, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    options = {"latent_dim": 2, "batch_size": 4, "devices": 4}
    for device in ("auto", "cuda"):
        with pytest.raises(InputError, match="--devices 4: torch finds 2 cuda"):
            fit(FitOptions(population=phantom_file, out=tmp_path / "r", device=device, **options))


def test_no_more_threads_than_cpus(phantom_file, tmp_path, monkeypatch, caplog):
    """A thousand threads on two cores made a step of a second one of a minute."""
    set_to = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr("training.fitting.job.cpus", lambda: 2)
    options = {"latent_dim": 2, "batch_size": 4, "steps": 1}
    for threads in (1, 2, 1024):
        out = tmp_path / str(threads)
        fit(FitOptions(population=phantom_file, out=out, threads=threads, **options))
    assert set_to == [1, 2, 2]
    assert caplog.text.count("--threads 1024: as many as this machine has CPUs, 2,") == 1


@pytest.mark.parametrize("call", ["fit", "sweep", "stability"])
def test_a_hundred_thousand_threads(call, capsys):
    """More than torch ever starts: 100,000 of them ended its process without a word."""
    arguments = [*CALLS[call][1], "--threads", "100000"]
    code, [line] = ended(capsys, call, arguments, run=pytest.fail)
    assert code == 2
    assert "--threads" in line
    assert "1024" in line


def test_a_device_with_too_little_memory(phantom_file, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 TiB")

    monkeypatch.setattr("training.fitting.loop.training_steps", full)
    with pytest.raises(InputError, match="a smaller --batch-size"):
        fit(FitOptions(population=phantom_file, out=tmp_path / "run", latent_dim=2))


# values at the ends of their range end in a result, or in one line


@pytest.mark.parametrize(
    ("flags", "ends"),
    [
        (["--beta", "1e300"], 2),
        (["--beta", "1e30"], 2),
        (["--learning-rate", "1e9"], 2),
        (["--beta", "1e-320"], 0),
        (["--learning-rate", "1e300"], 2),
        (["--learning-rate", "1e-320"], 0),
        (["--batch-size", "1000000", "--log-every", "1000000000"], 0),
        (["--checkpoint-every", "1000000000", "--seed", "2147483647"], 0),
        (["--resident-gb", "1e300"], 0),
        (["--resident-gb", "0"], 0),
        (["--held-out", "0.9999999"], 2),
        (["--held-out", "1e-320", "--augment", "1"], 0),
        (["--latent-dim", "512"], 2),
        (["--recipe", "displacing", "--learning-rate", "1e300"], 2),
        (["--recipe", "displacing", "--learning-rate", "1e38"], 2),
        (["--recipe", "displacing", "--learning-rate", "1e10"], 2),
        (["--recipe", "displacing", "--learning-rate", "1e-320"], 0),
        (["--recipe", "displacing", "--beta", "1e300"], 0),
        (["--recipe", "displacing", "--beta", "0"], 0),
        (["--recipe", "displacing", "--smoothing", "100"], 0),
    ],
    ids=str,
)
def test_extreme_values_of_a_fit(flags, ends, phantom_file, tmp_path, capsys, monkeypatch):
    threads = torch.get_num_threads()
    few = [phantom_file, "--out", tmp_path / "run", "--latent-dim", 2, "--batch-size", 4]
    try:
        code, said = ended(capsys, "fit", [*few, "--steps", 2, *flags])
    finally:
        torch.set_num_threads(threads)
    assert code == ends, said
    # What diverges in a step leaves the linear start that it began with.
    begun = "--learning-rate" in flags or "--beta" in flags
    assert (tmp_path / "run" / "model.safetensors").exists() == (ends == 0 or begun)
    assert not any("Traceback" in line for line in said)
    if ends == 2:
        assert said[-1].startswith("error: ")


# places to write to


def small(name: str, phantom_file: Path, run_folder: Path, out: object) -> list[object]:
    model = run_folder / "model.safetensors"
    return {
        "demo": [out, "--count", 20, "--height", 64, "--width", 64, "--steps", 1],
        "denoise": [phantom_file, "--model", model, "--out", out],
        "evaluate": [phantom_file, "--model", model, "--out", out],
        "fit": [phantom_file, "--out", out, "--latent-dim", 2, "--steps", 1],
        "interpret": [phantom_file, "--model", model, "--out", out],
        "match": [model, model, phantom_file, "--out", out],
        "pca": [phantom_file, "--out", out, "--latent-dim", 2],
        "phantom": [out, "--count", 2, "--height", 64, "--width", 64],
        "rotate": [model, phantom_file, "--out", out],
        "sweep": [phantom_file, "--out", out, "--betas", 1, "--latent-dims", 2, "--steps", 1],
        "acquire sections": ["sections", out],
        "acquire atlas": ["atlas", out],
        "stability": [phantom_file, "--out", out],
        "traverse": [model, phantom_file, "--out", out, "--draw", "prior"],
    }.get(name) or [out if a == "new.zarr" else a for a in CALLS[name][1]]


SUFFIX = {
    "denoise": ".zarr", "pca": ".safetensors", "phantom": ".zarr", "rotate": ".safetensors",
    "acquire sections": ".zarr", "gather": ".zarr",
}  # fmt: skip


def files(*folders: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for f in folders for p in (f, *f.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    "call",
    [call for call, (_, arguments) in CALLS.items() if call == "demo" or "new.zarr" in arguments],
)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file/below", "file is a file, not a folder"),
        ("file/further/below", "file is a file, not a folder"),
        ("population.zarr/hers", "lies within the population"),
        ("population.zarr/images/c/hers", "lies within the population"),
        ("link/hers", "lies within the population"),
        ("x" * 300, "too long"),
        ("/proc/no/such", "nothing can be written into /proc"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_place_that_cannot_be_written_to_is_named_before_anything_is_done(
    call, place, message, phantom_file, run_folder, tmp_path, capsys, monkeypatch
):
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("hers")
    shutil.copytree(phantom_file, "population.zarr")
    Path("link").symlink_to("population.zarr/images")
    before = files(tmp_path)
    name = call.split()[0]
    out = place + SUFFIX.get(call, "")
    code, said = ended(capsys, name, small(call, phantom_file, run_folder, out), run=pytest.fail)
    assert code == 2
    [line] = said
    assert message in line
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["denoise", "pca", "rotate", "fit", "evaluate", "interpret", "match", "traverse"]
)
def test_what_is_read_is_not_written_over_even_if_told(
    name, phantom_file, run_folder, tmp_path, capsys
):
    population, model = tmp_path / "p.zarr", tmp_path / "model.safetensors"
    shutil.copytree(phantom_file, population)
    shutil.copy(run_folder / "model.safetensors", model)
    before = files(tmp_path)
    flags = small(name, population, tmp_path, model if name == "rotate" else population)
    if "overwrite" in commands()[name][0].model_fields:
        flags.append("--overwrite")
    code, [line] = ended(capsys, name, flags)
    assert code == 2
    assert "is what is read" in line
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["interpret", "evaluate", "stability", "acquire atlas"])
def test_no_results_are_laid_into_a_population(name, phantom_file, run_folder, tmp_path, capsys):
    """Not even with --overwrite: it is another one than what is read."""
    other = shutil.copytree(phantom_file, tmp_path / "other.zarr")
    before = files(tmp_path)
    flags = small(name, phantom_file, run_folder, other)
    flags += ["--overwrite"] if name == "interpret" else []
    code, [line] = ended(capsys, name.split()[0], flags)
    assert code == 2
    assert "other.zarr is a population: give another folder" in line
    assert files(tmp_path) == before


def test_a_folder_of_a_run_may_hold_what_was_made_of_its_model(run_folder, tmp_path, capsys):
    """Beside the model, or in a folder of its own: only populations are closed."""
    shutil.copytree(run_folder, tmp_path / "run")
    for out in ("run/more", "run"):
        code, _ = ended(
            capsys, "interpret",
            ["p.npy", "--model", tmp_path / "run" / "model.safetensors", "--out", tmp_path / out],
            run=lambda options: None,
        )  # fmt: skip
        assert code == 0


def test_a_phantom_is_called_zarr(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (".", "/", "p", "p.npy", ".zarr"):
        code, [line] = ended(capsys, "phantom", [out])
        assert code == 2
        assert "OUT: a population file ends in .zarr" in line
    assert not list(tmp_path.iterdir())


def test_numbers_of_lists_are_as_before():
    assert numbers("1:3", smallest=0) == [1, 2, 3]
    assert len(numbers("1:1000", smallest=0)) == 1000
    np.testing.assert_allclose(numbers("0:1:0.25", smallest=0), [0, 0.25, 0.5, 0.75, 1])
