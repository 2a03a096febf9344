"""Tables as people have them: what each gives, and what each wrong one says, in one line."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_brainvae.data.covariates import flags_of, preview_covariates, read_covariates
from napari_brainvae.data.population import Population
from napari_brainvae.io.errors import InputError

IDS = ["m1", "m2", "m3"]
NAN = None
"""What is missing, in the tables of what is expected."""


def sheet(rows: list[list[object]], **sheets: list[list[object]]) -> bytes:
    """Bytes of a spreadsheet."""
    file = io.BytesIO()
    with pd.ExcelWriter(file) as book:
        for name, cells in {"Mice": rows, **sheets}.items():
            pd.DataFrame(cells).to_excel(book, sheet_name=name, header=False, index=False)
    return file.getvalue()


PLAIN = {"age": [8, 9, 10], "sex": ["F", "M", "F"]}
# Text or bytes of a table, the column that names the brains, and what it says of m1, m2, m3.
GIVES: dict[str, tuple[str | bytes, str, dict[str, list[object]]]] = {
    # dialects
    "commas": ("id,age,sex\nm1,8,F\nm2,9,M\nm3,10,F\n", "id", PLAIN),
    "semicolons": ("id;age;sex\nm1;8;F\nm2;9;M\nm3;10;F\n", "id", PLAIN),
    "tabs": ("id\tage\tsex\nm1\t8\tF\nm2\t9\tM\nm3\t10\tF\n", "id", PLAIN),
    "bars": ("id|age|sex\nm1|8|F\nm2|9|M\nm3|10|F\n", "id", PLAIN),
    "blanks about": ("id, age, sex \n m1 , 8 , F\nm2, 9, M \nm3, 10, F\n", "id", PLAIN),
    "lines of Windows": ("id,age,sex\r\nm1,8,F\r\nm2,9,M\r\nm3,10,F\r\n", "id", PLAIN),
    "lines of an old Mac": ("id,age,sex\rm1,8,F\rm2,9,M\rm3,10,F\r", "id", PLAIN),
    "no line end at the end": ("id,age,sex\nm1,8,F\nm2,9,M\nm3,10,F", "id", PLAIN),
    "UTF-8 with BOM": ("\ufeffid,age,sex\nm1,8,F\nm2,9,M\nm3,10,F\n", "id", PLAIN),
    "UTF-16, as Excel's Unicode text": (
        "id\tage\tsex\r\nm1\t8\tF\r\nm2\t9\tM\r\nm3\t10\tF\r\n".encode("utf-16"),
        "id",
        PLAIN,
    ),
    "Windows-1252": (
        "id;Größe\nm1;groß\nm2;klein\nm3;groß\n".encode("cp1252"),
        "id",
        {"Größe": ["groß", "klein", "groß"]},
    ),
    "the separator said": ("sep=;\nid;age;sex\nm1;8;F\nm2;9;M\nm3;10;F\n", "id", PLAIN),
    "decimal commas": ("id;g\nm1;20,5\nm2;19\nm3;21,25\n", "id", {"g": [20.5, 19, 21.25]}),
    "decimal points": ("id;g\nm1;20.5\nm2;19\nm3;21.25\n", "id", {"g": [20.5, 19, 21.25]}),
    "exponents": ("id,g\nm1,1e-3\nm2,2E3\nm3,-1\n", "id", {"g": [1e-3, 2000, -1]}),
    "decimal commas between tabs": (
        "id\tg\nm1\t20,5\nm2\t1,25\nm3\t2\n",
        "id",
        {"g": [20.5, 1.25, 2]},
    ),
    "quoted separators": (
        'id,note,age\nm1,"a, b",8\nm2,"c;d;e",9\nm3,,10\n',
        "id",
        {"note": ["a, b", "c;d;e", NAN], "age": [8, 9, 10]},
    ),
    "a quoted separator in a name": (
        'id;"age, days"\nm1;8\nm2;9\nm3;10\n',
        "id",
        {"age, days": [8, 9, 10]},
    ),
    "quoted line ends": ('id,note\nm1,"a\nb"\nm2,c\nm3,d\n', "id", {"note": ["a\nb", "c", "d"]}),
    "quoted thousands stay text": (
        'id,n\nm1,"1,234"\nm2,"2,000"\nm3,5\n',
        "id",
        {"n": ["1,234", "2,000", "5"]},
    ),
    "empty lines and columns": (
        "id;age;;\nm1;8;;\n;;;\nm2;9;;\n\nm3;10;;\n;;;\n",
        "id",
        {"age": [8, 9, 10]},
    ),
    "lines that end early": ("id,age,sex\nm1,8,F\nm2\nm3,10,F\n", "id", {"age": [8, NAN, 10]}),
    # what names the brains
    "ID": ("ID,age\nm1,8\nm2,9\nm3,10\n", "ID", {"age": [8, 9, 10]}),
    "Subject": ("age,Subject\n10,m3\n8,m1\n9,m2\n", "Subject", {"age": [8, 9, 10]}),
    "participant_id": (
        "participant_id\tage\nm1\t8\nm2\t9\nm3\t10\n",
        "participant_id",
        {"age": [8, 9, 10]},
    ),
    "file names": (
        "age,File name\n10,m3.tif\n8,D:\\mice\\m1.ome.tif\n9,/data/m2.nii.gz\n",
        "File name",
        {"age": [8, 9, 10]},
    ),
    "another case": ("mouse,age\nM1,8\nM2,9\nM3,10\n", "mouse", {"age": [8, 9, 10]}),
    "pandas' index": (",age\nm1,8\nm2,9\nm3,10\n", "column 1", {"age": [8, 9, 10]}),
    "running numbers beside names": (
        "id,subject,age\n1,m3,10\n2,m1,8\n3,m2,9\n",
        "subject",
        {"id": [2, 3, 1], "age": [8, 9, 10]},
    ),
    # types and what is missing
    "missing": (
        "id,age,sex\nm1,,NA\nm2,n/a,M\nm3,10,NaN\n",
        "id",
        {"age": [NAN, NAN, 10], "sex": [NAN, "M", NAN]},
    ),
    "None is a treatment": (
        "id,drug\nm1,None\nm2,CNO\nm3,None\n",
        "id",
        {"drug": ["None", "CNO", "None"]},
    ),
    "nothing known": ("id,age\nm1,\nm2,\nm3,\n", "id", {"age": [NAN, NAN, NAN]}),
    "true and false": ("id,old\nm1,TRUE\nm2,FALSE\nm3,True\n", "id", {"old": [True, False, True]}),
    "dates stay text": (
        "id;born\nm1;1.2.2026\nm2;2026-02-01\nm3;\n",
        "id",
        {"born": ["1.2.2026", "2026-02-01", NAN]},
    ),
    "a number without end": ("id,dose\nm1,inf\nm2,2\nm3,\n", "id", {"dose": ["inf", "2", NAN]}),
    "a number above all": (
        "id;dose\nm1;1e400\nm2;2,5\nm3;3\n",
        "id",
        {"dose": ["1e400", "2,5", "3"]},
    ),
    "brains that nobody names": ("id,age\nm3,10\nx,7\n", "id", {"age": [NAN, NAN, 10]}),
    "names alone": ("id\nm1\nm2\nm3\n", "id", {}),
    # flags
    "yes and no": ("id,flagged\nm1,yes\nm2,no\nm3,No\n", "id", {"flagged": [True, False, False]}),
    "1 and blank": ("id,flagged\nm1,\nm2,1\nm3,\n", "id", {"flagged": [False, True, False]}),
    "1 and 0": ("id,flagged\nm1,0\nm2,1\nm3,1\n", "id", {"flagged": [False, True, True]}),
    "x and blank": ("id;Flagged\nm1;x\nm2;\nm3;X\n", "id", {"flagged": [True, False, True]}),
    "flagged true and false": (
        "id,flagged\nm1,true\nm2,FALSE\nm3,\n",
        "id",
        {"flagged": [True, False, False]},
    ),
    "nobody is flagged": ("id,flagged\nm1,\nm2,\nm3,\n", "id", {"flagged": [False, False, False]}),
    "who is not in the table is not flagged": (
        "id,flagged\nm2,y\n",
        "id",
        {"flagged": [False, True, False]},
    ),
    # spreadsheets
    "a spreadsheet": (
        sheet(
            [
                ["ID", "age", "g", "sex"],
                ["m2", 9, 1.5, "M"],
                ["m1", 8, None, "F"],
                ["m3", 10, 2, "F"],
            ]
        ),
        "ID",
        {**PLAIN, "g": [NAN, 1.5, 2]},
    ),
    "its first sheet": (
        sheet([["id", "flagged"], ["m1", True], ["m2", False]], Notes=[["nothing"]]),
        "id",
        {"flagged": [True, False, False]},
    ),
}


def write(folder: Path, content: str | bytes, name: str = "mice.csv") -> Path:
    data = content.encode() if isinstance(content, str) else content
    name = "mice.xlsx" if data.startswith(b"PK") else name
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize("case", GIVES)
def test_a_table_gives_what_it_says(tmp_path, case):
    content, key, expected = GIVES[case]
    found = preview_covariates(write(tmp_path, content), IDS)
    assert found.key == key
    assert repr(key) in str(found), "how the brains are named is said"
    assert found.table.index.tolist() == IDS
    assert set(expected) <= set(found.table) <= {*expected, "sex"}
    for name, values in expected.items():
        column = found.table[name]
        assert [None if pd.isna(v) else v for v in column] == values, name
    named = {row for row, name in enumerate(IDS) if name in found.matched}
    assert len(named) + len(found.without_row) == 3
    assert "\n" not in str(found)


def test_the_preview_tells_both_sides_types_and_flags(tmp_path):
    text = "ID;g;sex;old;note;flagged\nm1.tif;1,5;F;true;;x\nm3.tif;2;M;false;;\nm9.tif;3;F;;;x\n"
    found = preview_covariates(write(tmp_path, text), IDS)
    assert (found.matched, found.without_row, found.of_no_brain) == (
        ["m1", "m3"],
        ["m2"],
        ["m9.tif"],
    )
    assert found.types == {
        "g": "number", "sex": "text", "old": "yes or no", "note": "nothing", "flagged": "yes or no",
    }  # fmt: skip
    assert found.flagged == 1, "m9 is no brain of these"
    sentence = str(found)
    for part in ("mice.csv", "semicolons, decimal commas", "'ID'", "names of files", "2 of 3",
                 "1 (m2) without", "1 (m9.tif) not in", "g (number)", "1 flagged"):  # fmt: skip
        assert part in sentence


def test_leading_zeros_that_a_spreadsheet_dropped_are_no_matter(tmp_path):
    file = write(tmp_path, sheet([["id", "age"], [7, 1], [12, 2], [0, 3]]))
    found = preview_covariates(file, ["000", "007", "012"])
    assert found.table["age"].tolist() == [3, 1, 2]
    assert "leading zeros" in str(found)
    exact = write(tmp_path, "id,age\n7,1\n007,2\n")
    assert read_covariates(exact, ["7", "007"])["age"].tolist() == [1, 2], "where it is one"


REFUSED = {
    "nothing": ("", "No columns"),
    "empty lines": ("\n\n\n", "No columns"),
    "names without rows": ("id,age\n", "no row below"),
    "a line longer than the names": (
        "id,age\nm1,8\nm2,9,M\n",
        "Expected 2 fields in line 3, saw 3",
    ),
    "all lines longer than the names": ("id,age\nm1,8,F\nm2,9,M\n", "Expected 2 fields in line 2"),
    "no name of brains": ("age,sex\n8,F\n", "no column 'id'.* it has 2 .age, sex"),
    "a title above": ("Mice of 2026\nid,age\nm1,8\n", "Expected 1 fields"),
    "a brain twice": ("id,age\nm1,8\nm1,9\n", "names 'm1' twice in its column 'id'"),
    "a file twice": ("file,age\nm1.tif,8\nm1.nii,9\n", "names 'm1.nii' twice"),
    "a row of no brain": ("id,age\nm1,8\n,9\n", "row 2 has no 'id'"),
    "other brains": ("id,age\nx1,8\nx2,9\n", "names none of the brains, such as 'm1': .*x1, x2"),
    "a column twice": ("id,age,age\nm1,8,9\n", "two columns are called 'age'"),
    "a name as long as a page": (f"id,{'a' * 1000}\nm1,8\n", "name has 1000 characters: 300"),
    "flags of a kind of their own": (
        "id,flagged\nm1,bad\n",
        "column 'flagged' says 'bad' of 'm1': write",
    ),
    "flags that count": ("id,flagged\nm1,3\n", "says '3"),
    "flags in doubt": ("id,flagged\nm1,yes\nm2,maybe\n", "'maybe' of 'm2'"),
    "decimal commas and points": (
        "id;a;b\nm1;1,5;1.234\nm2;2;3.5\n",
        "column 'a' has decimal commas and column 'b' decimal points",
    ),
    "thousands or decimals": ("id\tn\nm1\t1,234\nm2\t12,000\n", "'n' a comma may mean thousands"),
    "an unclosed quotation": ('id,note\nm1,"a\nm2,b\n', "EOF inside string"),
    "bytes of no text": (b"id,age\nm1,\0\0\n", "holds no text"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "holds no text"),
    "half a spreadsheet": (sheet([["id"], ["m1"]])[:900], "cannot be read"),
    "an empty spreadsheet": (sheet([]), "does not name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_table_that_cannot_be_used_says_why_in_one_line(tmp_path, case):
    content, message = REFUSED[case]
    file = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as refused:
        preview_covariates(file, IDS)
    assert file.name in str(refused.value) and "\n" not in str(refused.value)


def test_there_are_many_tables():
    assert len(GIVES) + len(REFUSED) >= 40


def test_other_spreadsheets_and_what_is_missing_are_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no such table"):
        preview_covariates(tmp_path / "mice.csv", IDS)
    with pytest.raises(InputError, match="is no regular file"):
        preview_covariates(tmp_path, IDS)
    with pytest.raises(InputError, match=r"save it as .xlsx or .csv"):
        preview_covariates(write(tmp_path, b"\xd0\xcf\x11\xe0", "mice.xls"), IDS)
    file = write(tmp_path, sheet([["id"], ["m1"]]))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match="openpyxl: install it"):
        preview_covariates(file, IDS)


def test_ten_thousand_columns_are_read_and_said_briefly(tmp_path):
    values = np.random.default_rng(1).normal(size=(3, 10_000)).round(3)
    lines = [";".join(["id", *(f"gene {i}" for i in range(10_000))])]
    for name, row in zip(reversed(IDS), values, strict=True):
        lines.append(";".join([name, *(str(v).replace(".", ",") for v in row)]))
    found = preview_covariates(write(tmp_path, "\n".join(lines)), IDS)
    np.testing.assert_array_equal(found.table.to_numpy()[::-1], values)
    assert len(str(found)) < 400 and "9992 more" in str(found)


@pytest.mark.parametrize(
    ("values", "flagged"),
    [
        (["yes", "no", None], [True, False, False]),
        (["x", "", np.nan], [True, False, False]),
        ([1, 0, 1], [True, False, True]),
        ([1.0, np.nan, 0.0], [True, False, False]),
        ([True, False, None], [True, False, False]),
    ],
)
def test_flags_of_a_table_in_memory_are_understood_alike(tmp_path, values, flagged):
    images = np.random.default_rng(2).integers(1, 9, (3, 64, 64))
    population = Population(images, IDS, pd.DataFrame({"flagged": values}))
    assert population.flagged.tolist() == flagged
    population.save(tmp_path / "p.zarr")
    assert Population.open(tmp_path / "p.zarr").flagged.tolist() == flagged
    population.covariates["flagged"] = ["no", "perhaps", "yes"]
    with pytest.raises(InputError, match="'perhaps' of 'm2'"):
        _ = population.flagged
    assert not flags_of(pd.DataFrame({"age": [1, 2]})).any()


def test_what_is_missing_is_stored_as_nothing(tmp_path):
    images = np.random.default_rng(2).integers(1, 9, (3, 64, 64))
    table = pd.DataFrame({"sex": ["F", None, "M"], "drug": ["None", np.nan, "CNO"]})
    Population(images, IDS, table).save(tmp_path / "p.zarr")
    opened = Population.open(tmp_path / "p.zarr").covariates
    assert opened["sex"].tolist() == ["F", "", "M"]
    assert opened["drug"].tolist() == ["None", "", "CNO"]


@pytest.mark.parametrize(
    "name", ["mg/kg", "mg", "Größe", "zarr.json", ".", "..", "/x", "a:b?*", "c", "x" * 300, ""]
)
def test_a_column_may_be_called_anything(tmp_path, name):
    images = np.random.default_rng(2).integers(1, 9, (3, 64, 64))
    table = pd.DataFrame({name: [1.5, 2, 3], "mg ": ["F", "M", "F"]})
    Population(images, IDS, table).save(tmp_path / "p.zarr")
    opened = Population.open(tmp_path / "p.zarr").covariates
    assert list(opened) == [name, "mg "]
    assert opened[name].tolist() == [1.5, 2, 3]


# Tables beside arrays


def array(path: Path, **more) -> Path:
    import tifffile

    images = np.random.default_rng(4).integers(1, 200, (3, 64, 64)).astype(np.uint16)
    if path.suffix == ".npz":
        np.savez(path, images=images, **more)
    elif path.suffix == ".npy":
        np.save(path, images)
    else:
        tifffile.imwrite(path, images, photometric="minisblack")
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "a.ome.tif", "a.TIFF"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "xlsx"])
def test_a_table_beside_names_the_sections_of_an_array_without_names(tmp_path, name, kind):
    rows = [["Subject", "age", "flagged"], ["m1", 8, "x"], ["m2", 9, ""], ["m3", 10, ""]]
    file = tmp_path / f"a.{kind}"
    if kind == "xlsx":
        file.write_bytes(sheet(rows))
    else:
        separator = ";" if kind == "csv" else "\t"
        file.write_text("\n".join(separator.join(map(str, row)) for row in rows))
    population = Population.open(array(tmp_path / name))
    assert population.ids == IDS
    assert population.covariates["age"].tolist() == [8, 9, 10]
    assert population.flagged.tolist() == [True, False, False]


def test_a_table_beside_an_archive_is_joined_by_its_names(tmp_path):
    path = array(tmp_path / "a.npz", ids=np.array(IDS), sex=np.array(["F", "M", "F"]))
    (tmp_path / "a.csv").write_text("age;id\n10;m3\n8;m1\n7;x\n")
    population = Population.open(path)
    assert population.ids == IDS
    assert population.covariates["age"].fillna(0).tolist() == [8, 0, 10]
    assert population.covariates["sex"].tolist() == ["F", "M", "F"]
    (tmp_path / "a.csv").write_text("age\n8\n9\n10\n")
    assert Population.open(path).covariates["age"].tolist() == [8, 9, 10], "in their order"
    (tmp_path / "a.csv").write_text("age\n8\n9\n")
    with pytest.raises(InputError, match=r"a\.csv has 2 rows for 3 sections"):
        Population.open(path)


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_table_beside_is_named_itself(tmp_path, case):
    content, message = REFUSED[case]
    path = array(tmp_path / "mice.npz", ids=np.array(IDS))
    file = write(tmp_path, content)
    in_order = "no name" in case
    with pytest.raises(InputError, match="1 rows for 3" if in_order else message) as refused:
        Population.open(path)
    assert re.search(rf"{file.stem}\{file.suffix}", str(refused.value))
