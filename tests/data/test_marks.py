"""Marks: what each file gives, and what each wrong one says, in one line; nothing is ever lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.data.marks import NONE, MarkBook, Marks, marks_beside, read_marks
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError

IDS = ["m1", "m2", "m3"]

GIVES = {
    "as it is written": ("id,mark,when,by\nm1,exclude,2026-11-24,key\n", ["exclude", "", ""]),
    "two columns": ("id,mark\nm3,unsure\nm1,accept\n", ["accept", "", "unsure"]),
    "as a spreadsheet saves it": ("Id;Mark2;mark\r\nm2;x;EXCLUDE\r\n", ["", "exclude", ""]),
    "taken back": ("id,mark\nm1,\nm2,exclude\n", ["", "exclude", ""]),
    "brains that are not here": ("id,mark\nm9,exclude\nm2,exclude\n", ["", "exclude", ""]),
}

REFUSED = {
    "another table": ("id,age\nm1,8\n", "no column 'mark'"),
    "another word": ("id,mark\nm1,maybe\n", "says 'maybe' of 'm1': write accept, exclude, unsure"),
    "another word of another brain": ("id,mark\nm1,accept\nm9,no\n", "says 'no' of 'm9'"),
    "a brain twice": ("id,mark\nm1,accept\nm1,exclude\n", "names 'm1' twice"),
    "marks of others": ("id,mark\nx1,accept\n", "names none of the brains, such as 'm1'"),
    "no names": ("mark,when\naccept,now\n", "no column 'id'"),
    "a row without a name": ("id,mark\nm1,accept\n,exclude\n", "row 2 has no 'id'"),
    "nothing": ("", "cannot be read"),
    "names of columns alone": ("id,mark\n", "no row below"),
    "no text": ("\0\1\2", "holds no text"),
}


@pytest.mark.parametrize("case", GIVES)
def test_what_a_file_gives(case, tmp_path):
    text, marks = GIVES[case]
    file = tmp_path / "a.marks.csv"
    file.write_text(text)
    assert read_marks(file, IDS).of(IDS) == marks


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_wrong_file_says_and_that_it_stays(case, tmp_path):
    text, message = REFUSED[case]
    file = tmp_path / "a.marks.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        read_marks(file, IDS)
    assert "a.marks.csv" in str(refused.value)
    assert "\n" not in str(refused.value)
    book = MarkBook(Marks(file), IDS)
    with pytest.raises(InputError, match=message):
        book.mark(["m2"], "exclude", by="key")
    assert file.read_text() == text
    assert book.marks.of(IDS) == ["", "", ""]


@pytest.mark.skipif(os.name != "posix", reason="has no pipes with names")
def test_a_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.marks.csv")
    with pytest.raises(InputError, match="is no regular file"):
        read_marks(tmp_path / "a.marks.csv", IDS)


@pytest.mark.parametrize("target", ["nowhere.csv", "a.marks.csv"])
def test_a_link_to_nothing_is_not_taken_for_no_marks(target, tmp_path):
    """What was excluded would be fitted without a word."""
    (tmp_path / "a.marks.csv").symlink_to(target)
    with pytest.raises(InputError, match=r"a\.marks\.csv is a link to a file that is not there"):
        read_marks(tmp_path / "a.marks.csv", IDS)


def test_marking_writes_at_once_what_a_person_can_read(tmp_path):
    file = tmp_path / "a.marks.csv"
    book = MarkBook(read_marks(file, IDS), IDS)
    assert book.mark(["m1", "m3"], "exclude", by="list")
    assert not book.mark(["m1"], "exclude", by="key"), "nothing new"
    table = pd.read_csv(file)
    assert list(table) == ["id", "mark", "when", "by"]
    assert table["mark"].tolist() == ["exclude", "exclude"]
    assert table["by"].tolist() == ["list", "list"]
    assert pd.to_datetime(table["when"]).notna().all()
    assert read_marks(file, IDS).of(IDS) == ["exclude", "", "exclude"]


def test_undo_and_redo_are_written_too(tmp_path):
    file = tmp_path / "a.marks.csv"
    book = MarkBook(Marks(file), IDS)
    book.mark(["m1"], "unsure", by="key")
    book.mark(["m1", "m2"], "exclude", by="list")
    states = [["unsure", "", ""], ["", "", ""]]
    for wanted in states:
        book.undo()
        assert read_marks(file, IDS).of(IDS) == book.marks.of(IDS) == wanted
    assert book.undo() == []
    for wanted in (["unsure", "", ""], ["exclude", "exclude", ""]):
        book.redo()
        assert read_marks(file, IDS).of(IDS) == wanted
    assert book.redo() == []
    book.undo()
    book.mark(["m3"], "accept", by="key")
    assert not book.redoable, "a new change forgets what was undone"


def test_what_others_wrote_meanwhile_stays(tmp_path):
    """Another window, or a hand: their brains, columns and marks are kept."""
    file = tmp_path / "a.marks.csv"
    book = MarkBook(Marks(file), IDS)
    book.mark(["m1"], "exclude", by="key")
    file.write_text("id,mark,why\nm1,exclude,torn\nm2,unsure,dark\nelsewhere,exclude,old\n")
    book.mark(["m3"], "accept", by="key")
    table = pd.read_csv(file, index_col="id")
    assert table["mark"].to_dict() == {
        "m1": "exclude",
        "m2": "unsure",
        "elsewhere": "exclude",
        "m3": "accept",
    }
    assert table.loc[["m1", "m2", "elsewhere"], "why"].tolist() == ["torn", "dark", "old"]
    file.unlink()
    book.mark(["m3"], "", by="key")
    assert read_marks(file, IDS).of(IDS) == ["exclude", "unsure", ""], "a lost file is made again"


def test_a_spreadsheet_that_drops_zeros_still_names_the_brains(tmp_path):
    file = tmp_path / "a.marks.csv"
    file.write_text("id,mark\n2,exclude\n")
    ids = ["0001", "0002"]
    assert read_marks(file, ids).of(ids) == ["", "exclude"]


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "\ud800"])
def test_a_name_that_cannot_be_read_again_is_not_written(name, tmp_path):
    ids = [name, "m1"]
    book = MarkBook(Marks(tmp_path / "a.marks.csv"), ids)
    with pytest.raises(InputError, match=r"brains cannot be written to a\.marks\.csv"):
        book.mark([name, "m1"], "exclude", by="key")
    assert list(tmp_path.iterdir()) == []
    assert book.marks.of(ids) == ["", ""]


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a;b", "ü", "NA", "a\nb", "1e5", "sep=;"])
def test_odd_names_are_written(name, tmp_path):
    ids = [name, "m1"]
    book = MarkBook(Marks(tmp_path / "a.marks.csv"), ids)
    book.mark([name], "exclude", by="key")
    assert read_marks(tmp_path / "a.marks.csv", ids).of(ids) == ["exclude", ""]


def test_a_population_knows_the_marks_beside_it(population, tmp_path):
    file = tmp_path / "mice.zarr"
    table = pd.DataFrame({"flagged": [i == 1 for i in range(len(population))]})
    Population(population.sections(), population.ids, table).save(file)
    assert not Population.open(file).excluded.any()
    beside = marks_beside(file)
    assert beside == tmp_path / "mice.marks.csv"
    ids = population.ids
    marks = {ids[0]: "exclude", ids[2]: "unsure", ids[3]: "accept", ids[1]: "accept"}
    beside.write_text("id,mark\n" + "".join(f"{i},{m}\n" for i, m in marks.items()))
    opened = Population.open(file)
    assert np.flatnonzero(opened.excluded).tolist() == [0]
    assert np.flatnonzero(opened.flagged).tolist() == [0, 1], "her table stays as it is"
    assert np.flatnonzero(opened.left_out(include_flagged=True)).tolist() == [0]
    assert opened.fingerprint() == Population.open(file, NONE).fingerprint()
    assert np.flatnonzero(Population.open(file, NONE).flagged).tolist() == [1]
    with pytest.raises(FileNotFoundError, match="no such file of marks"):
        Population.open(file, tmp_path / "gone.csv")


MARKING = """
import os, sys
from pathlib import Path
from napari_brainvae.data.marks import MarkBook, read_marks
ids = [f"m{i}" for i in range(400)]
path = Path(sys.argv[1])
for mark in sys.stdin:
    if not (child := os.fork()):
        print(os.getpid(), flush=True)
        book = MarkBook(read_marks(path, ids), ids)
        for i in ids:
            if book.mark([i], mark.strip(), by="key"):
                print(i, flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_no_mark_is_lost_by_twenty_kills(tmp_path):
    """What had been marked stands in the file, which is whole, whenever the process is killed."""
    file, ids, chance = tmp_path / "a.marks.csv", [f"m{i}" for i in range(400)], random.Random(7)
    known = dict.fromkeys(ids, "")
    command = [sys.executable, "-c", MARKING, str(file)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        for turn in range(20):
            mark = ("exclude", "unsure", "accept")[turn % 3]
            process.stdin.write(f"{mark}\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.3))
            os.kill(child, signal.SIGKILL)
            said = []
            while (line := process.stdout.readline().strip()) not in ("killed", "ended"):
                said.append(line)
            assert line == "killed"
            known |= dict.fromkeys(said, mark)
            now = dict(zip(ids, read_marks(file, ids).of(ids), strict=True))
            # The one that was being marked may be written and not yet said.
            assert sum(now[i] != known[i] for i in ids) <= 1
            assert all(now[i] == mark for i in said)
            known = now
        process.stdin.close()
    assert any(known.values())
