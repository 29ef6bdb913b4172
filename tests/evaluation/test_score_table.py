"""Score tables: both formats, and every fault named by file, row and column."""

import pytest

from echocascade.evaluation.counterfactual import score_table
from echocascade.evaluation.score_table import ScoreTableError, read_score_table, with_labels

GOOD = "FileName,lvef_requested,lvef_measured\nA,30,35\nB,60,55\n"


def test_both_formats_read_to_the_same_scores(tmp_path):
    ours, published = tmp_path / "ours.csv", tmp_path / "published.csv"
    ours.write_text(GOOD)
    published.write_bytes(
        b"\xef\xbb\xbf" + GOOD.replace("lvef_requested,lvef_measured", "GT EF,Gen EF").encode()
    )
    assert score_table(read_score_table(ours)) == score_table(read_score_table(published))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["not a readable CSV"]),
        ("FileName,lvef_requested\nA,30\n", ["columns missing: lvef_measured (or Gen EF)"]),
        ("a,b\n1,2\n", ["FileName", "lvef_requested (or GT EF)", "found: a, b"]),
        (GOOD + "C,,40\n", ["row 4 (C)", "lvef_requested", "found nan"]),
        (GOOD + "C,50,much\n", ["row 4 (C)", "lvef_measured", "found much"]),
        (GOOD + "C,120,50\n", ["row 4 (C)", "found 120", "0 to 100"]),
        (GOOD + "C,50,5506.7\nD,50,5000\n", ["found 5506.7", "and 1 more rows"]),
        (GOOD + ",50,50\n", ["row 4", "FileName"]),
        (GOOD.replace("30", "0.3").replace("60", "0.6"), ["fractions, percent is expected"]),
        ("FileName,GT EF,lvef_requested,Gen EF\nA,1,1,1\n", ["lvef_requested is there twice"]),
        ("FileName,draw,GT EF,Gen EF\nA,0,50,50\nA,0,50,51\n", ["row 3 (A)", "one row a draw"]),
        ("FileName,GT EF,Gen EF,SSIM\nA,50,50,0.5\nA,50,51,\n", ["row 3 (A)", "SSIM"]),
    ],
)
def test_a_bad_table_is_an_error_with_file_row_and_column(tmp_path, text, words):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(ScoreTableError) as caught:
        read_score_table(path)
    for word in ["scores.csv", *words]:
        assert word in str(caught.value)


def test_labels_of_a_file_list_give_a_published_table_its_ceiling(tmp_path):
    scores, labels = tmp_path / "scores.csv", tmp_path / "FileList.csv"
    scores.write_text("FileName,GT EF,Gen EF,Ref EF\nA,30,35,52\nB,60,55,61\n")
    labels.write_text("FileName,EF,Split\nA.avi,50,VAL\nB,60,VAL\nC,10,VAL\n")
    table = with_labels(read_score_table(scores), labels)
    found = score_table(table, task="generation")
    assert found["ceiling_truth"] == "lvef_true"
    assert found["ceiling"]["single"]["MAE"] == pytest.approx(1.5)
    labels.write_text("FileName,EF\nA,50\n")
    with pytest.raises(ScoreTableError, match=r"row 3 \(B\), column label.*FileList.csv"):
        with_labels(read_score_table(scores), labels)
    with pytest.raises(ScoreTableError, match="not a FileList"):
        with_labels(read_score_table(scores), scores)


def test_a_missing_table_and_a_single_patient_are_errors(tmp_path):
    one_patient = tmp_path / "one.csv"
    one_patient.write_text("FileName,GT EF,Gen EF\nA,50,40\nA,50,60\n")
    with pytest.raises(ScoreTableError, match="no such score table"):
        read_score_table(tmp_path / "absent.csv")
    with pytest.raises(ScoreTableError, match="1 patients"):
        score_table(read_score_table(one_patient))
