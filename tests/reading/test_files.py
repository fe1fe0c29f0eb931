"""Every named file is answered in its place, good or bad, and no answer depends on the others."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from digitjax.__main__ import main
from digitjax.base.errors import DigitjaxError
from digitjax.data import inputs
from digitjax.reading import files, trust
from digitjax.reading.predict import load


@pytest.fixture
def scans(tmp_path, few):
    """A folder of pictures, one of them deeper, one damaged, and a file that is no picture."""
    (tmp_path / "scans/deep").mkdir(parents=True)
    for number, place in enumerate(("a.png", "b.jpg", "deep/c.png", "d.png")):
        cv2.imwrite(str(tmp_path / "scans" / place), 255 - cv2.resize(few.test.images[number], (90, 90)))
    (tmp_path / "scans/d.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "scans/notes.txt").write_text("seven")
    return tmp_path / "scans"


def test_a_folder_stands_for_its_pictures_and_a_pattern_for_what_it_matches(scans):
    names = [file.relative_to(scans).as_posix() for file in inputs.named([str(scans)])]
    assert names == ["a.png", "b.jpg", "d.png", "deep/c.png"]
    assert inputs.named([str(scans / "*.png")]) == [scans / "a.png", scans / "d.png"]
    assert inputs.named([str(scans / "**/c.png")]) == [scans / "deep/c.png"]
    assert inputs.named(["b", "a"]) == [Path("b"), Path("a")]
    for nothing in ("*.gif", "deep/*.jpg"):
        with pytest.raises(DigitjaxError, match="no pictures in"):
            inputs.named([str(scans / nothing)])


def test_a_file_is_answered_as_it_is_alone(scans, weights):
    predictor = load(str(weights))
    every = files.predict(predictor, inputs.named([str(scans)]))
    for answer in every:
        (alone,) = files.predict(predictor, [answer.file])
        assert alone.error == answer.error
        if answer.prediction:
            assert alone.prediction.digit == answer.prediction.digit
            np.testing.assert_allclose(alone.prediction.probabilities, answer.prediction.probabilities, atol=1e-5)
            assert predictor.predict(answer.file).digit == answer.prediction.digit


def test_the_command_line_answers_good_and_bad_files_and_exits_1(scans, weights, capsys):
    missing = str(scans / "missing.png")
    status = main(["predict", str(scans), missing, "--model", str(weights), "--json"])
    shown = capsys.readouterr()
    rows = json.loads(shown.out)["predictions"]
    assert status == 1
    assert [row["file"] for row in rows] == [*map(str, inputs.named([str(scans)])), missing]
    for row in rows:
        bad = row["file"].endswith(("d.png", "missing.png"))
        assert set(row) == {"file", "error"} if bad else {"file", "digit", "confidence", "probabilities", "verdict"}
        assert bad == (row["file"] in shown.err)
        if not bad:
            assert row["digit"] == int(np.argmax(row["probabilities"]))
            assert row["confidence"] == max(row["probabilities"])
            assert row["verdict"] in trust.VERDICTS


def test_a_table_and_a_sheet_are_written_once_and_never_over_another(scans, weights, tmp_path, capsys):
    table, sheet = tmp_path / "answers.csv", tmp_path / "sheet.png"
    command = ["predict", str(scans), "--model", str(weights), "--csv", str(table), "--show", str(sheet)]
    assert main(command) == 1
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4
    assert sum(bool(row["error"]) for row in rows) == 1
    good = [row for row in rows if not row["error"]]
    assert all(sum(float(row[f"p{digit}"]) for digit in range(10)) == pytest.approx(1) for row in good)
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.std() > 10
    before = table.read_bytes()
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_one_picture_gives_one_answer_and_many_give_many(scans, weights):
    predictor = load(str(weights))
    one = predictor.predict(scans / "a.png")
    assert isinstance(one.digit, int)
    many = predictor.predict([scans / "a.png", (scans / "b.jpg").read_bytes()])
    assert [type(answer) for answer in many] == [type(one)] * 2
    assert predictor.predict([]) == []
    stack = np.zeros((3, 28, 28), np.uint8)
    assert [answer.verdict for answer in predictor.predict(stack)] == ["not_a_digit"] * 3


def test_a_picture_is_read_digit_by_digit_and_a_bad_one_is_named(scans, tmp_path, capsys, few):
    strip = np.full((120, 400), 255, np.uint8)
    for place in range(3):
        strip[20:104, 30 + 120 * place : 114 + 120 * place] = 255 - cv2.resize(few.test.images[place], (84, 84))
    cv2.imwrite(str(tmp_path / "strip.png"), strip)
    table, sheet = tmp_path / "texts.csv", tmp_path / "boxes.png"
    command = ["read", str(tmp_path / "strip.png"), str(scans / "d.png"), "--csv", str(table), "--show", str(sheet)]
    assert main([*command, "--json"]) == 1
    read, bad = json.loads(capsys.readouterr().out)["pictures"]
    assert set(bad) == {"file", "error"}
    (line,) = read["lines"]
    assert read["text"].replace(" ", "") == "".join(str(digit["digit"]) for digit in line)
    for place, digit in enumerate(line):
        left, top, width, height = digit["box"]
        assert 30 + 120 * place <= left
        assert left + width <= 114 + 120 * place
        assert top >= 20
        assert top + height <= 104
    with table.open() as stream:
        assert [row["text"] for row in csv.DictReader(stream)] == [read["text"], ""]
    assert cv2.imread(str(sheet)) is not None
