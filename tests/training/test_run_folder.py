"""A run folder has one owner, keeps its last good model, and says what became of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError
from napari_brainvae.io.progress import Stopped
from napari_brainvae.models.checkpoint import load_checkpoint
from napari_brainvae.models.fit_options import FitOptions
from tests.training.commands import ended
from training.cli import main
from training.fit import fit
from training.fitting.reading import split
from training.fitting.run_folder import RunFolder
from training.pca import PCAOptions, fit_pca


def small(phantom_file, out, **more):
    options = {"latent_dim": 2, "batch_size": 4, "steps": 4, "recipe": "paper", **more}
    return FitOptions(population=phantom_file, out=out, **options)


# divergence


@pytest.mark.parametrize("recipe", ["paper", "fast", "displacing"])
def test_a_fit_that_diverges_says_so_and_keeps_its_last_good_model(
    recipe, phantom_file, tmp_path, capsys
):
    out = tmp_path / "run"
    flags = f"{phantom_file} --out {out} --recipe {recipe} --learning-rate 1e30 --latent-dim 2"
    arguments = [*flags.split(), "--batch-size", "4", "--steps", "8", "--checkpoint-every", "1"]
    with pytest.raises(SystemExit) as stop:
        main(FitOptions, fit, program="fit", arguments=arguments)
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "training diverged at step" in said
    assert "smaller --learning-rate" in said
    record = json.loads((out / "record.json").read_text(), parse_constant=pytest.fail)
    assert record["status"] == "diverged"
    if (out / "model.safetensors").exists():
        assert load_checkpoint(out / "model.safetensors").latent_dim == 2


@pytest.mark.parametrize(
    "flags", [["--beta", "inf"], ["--beta", "nan"], ["--learning-rate", "inf"]], ids=" ".join
)
def test_options_are_finite(flags, phantom_file, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(
            FitOptions,
            fit,
            program="fit",
            arguments=[str(phantom_file), "--out", str(tmp_path / "run"), *flags],
        )
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert flags[0] in error
    assert not (tmp_path / "run").exists()


def test_a_step_is_recorded_on_one_cuda_device_or_not_at_all(phantom_file, tmp_path):
    with pytest.raises(InputError, match="--capture records steps of one CUDA device"):
        fit(small(phantom_file, tmp_path / "run", capture=True, device="cpu"))
    assert not (tmp_path / "run").exists()


# one owner


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_fit_keeps_out_of_the_folder(resume, phantom_file, tmp_path):
    out = tmp_path / "run"
    if resume:
        fit(small(phantom_file, out))
    out.mkdir(exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "lock"}
    with FileLock(out / "lock"), pytest.raises(InputError, match="another fit is working"):
        fit(small(phantom_file, out, resume=resume))
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.name != "lock"}


KILLED = """
import os, signal, sys
from filelock import FileLock
FileLock(sys.argv[1]).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_killed_fit_is_no_obstacle(phantom_file, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, str(out / "lock")], check=False)
    assert done.returncode == -9
    fit(small(phantom_file, out))
    assert (out / "model.safetensors").exists()


# what is gone


def test_a_complete_run_whose_model_is_gone_writes_it_again(phantom_file, tmp_path):
    out = tmp_path / "run"
    fit(small(phantom_file, out))
    before = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").unlink()
    fit(small(phantom_file, out, resume=True))
    assert (out / "model.safetensors").read_bytes() == before


def test_a_complete_run_whose_state_is_gone_too_says_so(phantom_file, tmp_path):
    out = tmp_path / "run"
    fit(small(phantom_file, out))
    (out / "model.safetensors").unlink()
    shutil.rmtree(out / "state")
    with pytest.raises(InputError, match=r"is complete, and .* is gone"):
        fit(small(phantom_file, out, resume=True))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full here")
def test_a_disk_that_is_full_for_the_state_is_one_line(phantom_file, tmp_path, capsys, monkeypatch):
    """The writer of archives says so in an error of its own, which is no bug of ours."""
    write = torch.save
    monkeypatch.setattr(torch, "save", lambda state, _: write(state, "/dev/full"))
    out = tmp_path / "run"
    arguments = [phantom_file, "--out", out, "--latent-dim", 2, "--batch-size", 4, "--steps", 2]
    code, said = ended(capsys, "fit", arguments)
    assert code == 2
    errors = [line for line in said if line.startswith("error: ")]
    assert errors == said[-1:]
    assert "state.pt cannot be written" in said[-1]
    assert not [path for path in out.rglob("*") if "partial" in path.name]


def test_pca_replaces_no_folder(phantom_file, tmp_path):
    out = tmp_path / "d.safetensors"
    out.mkdir()
    (out / "her work").touch()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fit_pca(PCAOptions(population=phantom_file, out=out, latent_dim=2, overwrite=True))
    assert [path.name for path in out.iterdir()] == ["her work"]


# files of a run that are not what was written


def changed_state(change):
    def damage(out):
        (out / "state" / "checksums.json").unlink()  # as before there was one
        state = torch.load(out / "state" / "state.pt", weights_only=True)
        torch.save(change(state), out / "state" / "state.pt")

    return damage


def text(name, content):
    return lambda out: (out / name).write_text(content)


def first_weight(state, value):
    name = next(iter(state["network"]))
    return state | {"network": state["network"] | {name: value}}


def moments(change):
    """Change what Adam keeps of the first weights."""

    def of(state):
        kept = state["optimizer"]["state"]
        return state | {"optimizer": state["optimizer"] | {"state": kept | {0: change(kept[0])}}}

    return changed_state(of)


def more_moments(state):
    kept = state["optimizer"]["state"]
    return state | {"optimizer": state["optimizer"] | {"state": kept | {10**6: kept[0]}}}


def cut(name, share):
    def damage(out):
        content = (out / name).read_bytes()
        (out / name).write_bytes(content[: int(share * len(content))])

    return damage


def unsealed(damage):
    """The same to a run from before there were checksums."""

    def also(out):
        (out / "state" / "checksums.json").unlink()
        damage(out)

    return also


def pipe(name):
    def damage(out):
        (out / name).unlink()
        os.mkfifo(out / name)

    return damage


def flipped(name):
    """Flip a bit in the middle of the largest tensor, where only a checksum tells."""

    def damage(out):
        with zipfile.ZipFile(out / name) as archive:
            largest = max(archive.infolist(), key=lambda member: member.file_size)
        content = bytearray((out / name).read_bytes())
        content[largest.header_offset + largest.file_size // 2] ^= 1
        (out / name).write_bytes(content)

    return damage


def state_is_a_file(out):
    shutil.rmtree(out / "state")
    (out / "state").write_text("hers")
    rewrite(out / "record.json", lambda record: record | {"status": "running"})


def rewrite(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


DAMAGE = {
    "record of nothing": (text("record.json", "{}"), "no record"),
    "record is a list": (text("record.json", "[]"), "no record"),
    "record is null": (text("record.json", "null"), "no record"),
    "record too deep": (text("record.json", "[" * 100_000), "cannot be read"),
    "record's options are none": (text("record.json", '{"options": 1, "data": {}}'), "no record"),
    "state is text": (text("state/state.pt", "nothing"), "has changed since"),
    "state is text, no checksum": (
        unsealed(text("state/state.pt", "nothing")), "cannot be read",
    ),
    "state is a pipe": (pipe("state/state.pt"), "no regular file"),
    "record is a pipe": (pipe("record.json"), "no regular file"),
    "history is a pipe": (pipe("history.csv"), "no regular file"),
    "checksums are a pipe": (pipe("state/checksums.json"), "no regular file"),
    "checksums are a number": (text("state/checksums.json", "3"), "holds no checksums"),
    "checksums of another state": (text("state/checksums.json", '["ab"]'), "has changed since"),
    "state is a list": (changed_state(lambda s: [1, 2]), "cannot be read"),
    "state is a tensor": (changed_state(lambda s: torch.zeros(3)), "cannot be read"),
    "no step": (changed_state(lambda s: {"network": s["network"]}), "cannot be read"),
    "step below": (changed_state(lambda s: s | {"step": -5}), "step -5 of 4"),
    "step above": (changed_state(lambda s: s | {"step": 999}), "step 999 of 4"),
    "step is text": (changed_state(lambda s: s | {"step": "2"}), "step 2 of 4"),
    "no network": (changed_state(lambda s: {"step": 2}), "cannot be read"),
    "no optimiser": (changed_state(lambda s: {k: s[k] for k in ("step", "network")}), "another"),
    "optimiser is a list": (changed_state(lambda s: s | {"optimizer": [1]}), "another"),
    "another shape": (changed_state(lambda s: first_weight(s, torch.zeros(3))), "another"),
    "weights not finite": (
        changed_state(lambda s: first_weight(s, s["network"]["mean_image"] * np.nan)),
        "diverged|another",
    ),
    "moments of another shape": (moments(lambda m: {k: torch.zeros(3) for k in m}), "another"),
    "moments are text": (moments(lambda m: dict.fromkeys(m, "x")), "another"),
    "moments are missing": (moments(lambda m: {"step": m["step"]}), "another"),
    "moments of more weights": (changed_state(more_moments), "another"),
    "state cut short": (cut("state/state.pt", 0.6), "has changed since"),
    "state cut short, no checksum": (unsealed(cut("state/state.pt", 0.6)), "cannot be read"),
    "state is empty": (cut("state/state.pt", 0), "has changed since"),
    "a byte of a weight flipped": (flipped("state/state.pt"), "has changed since"),
    "a flipped byte, no checksum": (unsealed(flipped("state/state.pt")), "cannot be read"),
    "state in its place is a file": (state_is_a_file, "is no folder"),
    "history without steps": (text("history.csv", "a,b\n1,2\n"), "no history"),
    "history of text": (text("history.csv", "step\nfirst\n"), "no history"),
    "history of unequal rows": (text("history.csv", "step,b\n1,2\n2,3,4,5\n"), "no history"),
    "history is no text": (
        lambda out: (out / "history.csv").write_bytes(b"step\n\xff\xfe\0"), "no history",
    ),
    "record is no text": (
        lambda out: (out / "record.json").write_bytes(b"\xff\xfe\0"), "cannot be read",
    ),
    "record's data is a list": (text("record.json", '{"options": {}, "data": [1]}'), "no record"),
    "record of other data": (
        text("record.json", '{"options": {}, "data": {"fingerprint": 5}}'), "other data",
    ),
    "record of other options": (
        lambda out: rewrite(out / "record.json", lambda r: r | {"options": {"beta": [1]}}),
        r"other options: .*--beta 3.0 \(was \[1\]\)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def complete(phantom_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("complete") / "run"
    fit(small(phantom_file, out))
    return out


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_of_a_run_end_its_resume_with_one_line(
    case, complete, phantom_file, tmp_path
):
    damage, message = DAMAGE[case]
    out = tmp_path / "run"
    shutil.copytree(complete, out)
    damage(out)
    model = (out / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=message):
        fit(small(phantom_file, out, resume=True))
    assert (out / "model.safetensors").read_bytes() == model


def test_a_mutated_state_is_refused_or_the_same(complete, tmp_path):
    """Whatever became of its bytes: no other error, and never other weights than were saved."""
    chance = random.Random(12)
    folder = RunFolder(tmp_path)
    folder.state.parent.mkdir()
    content = (complete / "state" / "state.pt").read_bytes()
    saved = RunFolder(complete).load_state(4)
    refused = 0
    for _ in range(300):
        folder.state.write_bytes(mutated(content, chance))
        try:
            state = folder.load_state(4)
        except InputError as error:
            assert str(folder.state) in str(error)
            refused += 1
            continue
        assert state["step"] == saved["step"]
        for name, weights in saved["network"].items():
            assert torch.equal(state["network"][name], weights)
        for number, kept in saved["optimizer"]["state"].items():
            for name, value in kept.items():
                assert torch.equal(state["optimizer"]["state"][number][name], value)
    assert refused > 200


def test_one_flipped_byte_of_a_state_is_told_wherever_it_is(complete, tmp_path):
    folder = RunFolder(shutil.copytree(complete, tmp_path / "run"))
    content = folder.state.read_bytes()
    for place in random.Random(3).sample(range(len(content)), 100):
        folder.state.write_bytes(
            content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        )
        with pytest.raises(InputError, match="has changed since"):
            folder.load_state(4)


def test_a_kill_between_checksum_and_state_leaves_a_run_that_goes_on(
    complete, tmp_path, monkeypatch
):
    """Twice in a row, even: the state in its place is always one of those noted."""
    out, replace = shutil.copytree(complete, tmp_path / "run"), os.replace

    def killed(source, target):
        if target.name == "state.pt":
            raise KeyboardInterrupt
        replace(source, target)

    for step in (2, 3):
        folder = RunFolder(out)
        state = folder.load_state(4)
        with monkeypatch.context() as kill, pytest.raises(KeyboardInterrupt):
            kill.setattr(os, "replace", killed)
            folder.save_state(state | {"step": step})
    assert RunFolder(out).load_state(4)["step"] == 4


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Flip bits, cut, swap or repeat parts, half of the time in the directory at the end."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(chance.choice((0, max(0, len(changed) - 4000))), len(changed))
        size, how = chance.choice((1, 4, 30, 2000)), chance.randrange(5)
        if how == 0:
            changed[start] ^= 1 << chance.randrange(8)
        elif how == 1:
            changed[start : start + size] = chance.choice((b"\xff", b"\0")) * size
        elif how == 2:
            del changed[start : start + size]
        elif how == 3:
            other = chance.randrange(len(changed))
            changed[start : start + size] = changed[other : other + size]
        else:
            changed[start:start] = changed[start : start + size]
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


def test_a_run_without_its_state_says_that_it_begins_anew(complete, phantom_file, tmp_path, caplog):
    out = tmp_path / "run"
    shutil.copytree(complete, out)
    (out / "state" / "state.pt").unlink()
    rewrite(out / "record.json", lambda record: record | {"status": "running"})
    fit(small(phantom_file, out, resume=True))
    assert "begins again at its first step" in caplog.text
    again, before = ((folder / "model.safetensors").read_bytes() for folder in (out, complete))
    assert again == before


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_run_goes_on_that_was_killed_before_its_first_row(content, phantom_file, tmp_path):
    """An empty history is what earlier versions wrote then."""
    out, more = tmp_path / "run", {"log_every": 10, "checkpoint_every": 1}
    with pytest.raises(Stopped):
        fit(small(phantom_file, out, **more), progress=lambda done, total: done < 2)
    assert not (out / "history.csv").exists()
    if content is not None:
        (out / "history.csv").write_text(content)
    fit(small(phantom_file, out, resume=True, **more))
    assert pd.read_csv(out / "history.csv")["step"].tolist() == [4]


# progress, and one reading


def test_a_fit_that_was_stopped_goes_on_from_that_step_to_the_same_bits(phantom_file, tmp_path):
    """The one progress callback: told every step, and its False is a stop that loses nothing."""
    told = []
    fit(small(phantom_file, tmp_path / "whole"), progress=lambda *at: told.append(at))
    assert told == [(step, 4) for step in (1, 2, 3, 4)]
    with pytest.raises(Stopped, match="3 of 4"):
        fit(small(phantom_file, tmp_path / "cut"), progress=lambda done, total: done < 3)
    assert torch.load(tmp_path / "cut" / "state" / "state.pt", weights_only=True)["step"] == 3
    fit(small(phantom_file, tmp_path / "cut", resume=True))
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


class Counted:
    """An array ``(N, H, W)`` that counts how often each of its sections is read."""

    def __init__(self, images):
        self.images, self.shape, self.dtype = images, images.shape, images.dtype
        self.reads = np.zeros(len(images), dtype=int)

    def __getitem__(self, index):
        np.add.at(self.reads, np.arange(len(self.images))[index], 1)
        return self.images[index]


@pytest.mark.parametrize("known", [False, True])
def test_every_section_is_read_once(known, phantom_file, tmp_path, monkeypatch):
    """By fit, where they go into memory, and by pca; what is not fitted only to be hashed."""
    whole = Population.open(phantom_file)
    images = np.asarray(whole.images[:])
    fingerprint = whole.fingerprint() if known else None
    for run in (
        lambda: fit(small(phantom_file, tmp_path / "run"), fingerprint=fingerprint),
        lambda: fit_pca(
            PCAOptions(population=phantom_file, out=tmp_path / "p.safetensors", latent_dim=2),
            fingerprint=fingerprint,
        ),
    ):
        counted = Counted(images)
        opened = Population(counted, whole.ids, description=whole.description)
        monkeypatch.setattr(Population, "open", lambda *_, opened=opened: opened)
        run()
        assert counted.reads.max() == 1
        train, _ = split(opened, 0.2, 0)
        assert counted.reads[train].all()
    header = load_checkpoint(tmp_path / "p.safetensors").header
    assert header.training["data"]["fingerprint"] == whole.fingerprint()
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["data"]["fingerprint"] == whole.fingerprint()


# the seam for an objective


class ErrorAlone:
    """A toy objective: no KL divergence, and one term of another name."""

    separable, noise_variance = False, 1.0

    def __call__(self, output, images):
        error = torch.square(torch.sigmoid(output.logits.float()) - images).mean()
        return error, {"error": error}


def test_a_toy_objective_needs_nothing_else(phantom_file, tmp_path, monkeypatch):
    """The objective and the option that asks for it: two files."""
    monkeypatch.setattr(FitOptions, "objective", lambda self, shape: ErrorAlone())
    more = {"log_every": 1, "steps": 30, "learning_rate": 3e-3}
    fit(small(phantom_file, tmp_path / "run", **more))
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert {"step", "error", "held_out_error"} <= set(history)
    assert "reconstruction" not in history
    assert history["error"].iloc[-1] < 0.9 * history["error"].iloc[0]
