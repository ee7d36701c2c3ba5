"""CSV and TSV of one's own: what is read, and what each mistake is answered with."""

import re

import pytest

from entk_tutorial.data.labelled import LabelledTextError, decode_lines, load_labelled_text, read_labelled_text


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_glue_layout_with_bare_quotation_marks(write):
    path = write("SST-2/train.tsv", 'sentence\tlabel\nan "awful film\t0\nwarm and clever \t1\n\n')
    found = read_labelled_text(path)
    assert found.texts == ('an "awful film', "warm and clever") and found.labels == (0, 1)
    write("SST-2/dev.tsv", "sentence\tlabel\nx\t1\n")
    corpus = load_labelled_text(path.parent, min_count=1, test_fraction=0)
    assert [corpus.decode(d) for d in corpus.train] == ["an awful film", "warm and clever"]
    assert corpus.labels.tolist() == [0, 1] and corpus.source == str(path.parent)


def test_csv_with_quoted_fields_and_other_names(write):
    path = write("x.csv", '\ufeffid,review,sentiment\r\n1,"good, ""very"" good",1\r\n2,"bad\r\nand long",0\r\n')
    assert read_labelled_text(path).texts == ('good, "very" good', "bad\nand long")
    assert read_labelled_text(path, text="review", label="sentiment").labels == (1, 0)


def test_semicolons(write):
    path = write("x.data", "text;label\ngood, film;1\nbad;0\n")
    assert read_labelled_text(path, delimiter=";").texts == ("good, film", "bad")


GOOD = "sentence\tlabel\ngood\t1\nbad\t0\n"


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is empty"),
        ("index\tsentence\n0\tgood\n", "no column, or more than one, named 'label' or 'sentiment'"),
        ("a\tlabel\ngood\t1\n", "named 'sentence' or 'text' or 'review'"),
        ("label\tlabel\tsentence\n1\t1\tgood\n", "more than one"),
        (GOOD + "only one field\n", "line 4: 1 fields, but the header has 2"),
        (GOOD + "a\tb\t1\n", "line 4: 3 fields"),
        (GOOD + "fine\t2\n", "line 4: label '2'; expected 0"),
        (GOOD + "fine\t-1\n", "line 4: label '-1'"),
        (GOOD + "fine\t \n", "line 4: the label is missing"),
        (GOOD + "\n  \t1\n", "line 5: the text is empty"),
        (GOOD + "...\t1\n", "line 4: the text is empty, or has no word"),
        ("sentence\tlabel\ngood\t1\n", "only label 1"),
        ("sentence\tlabel\n", "no text"),
        (GOOD.encode() + b"\xe9t\xe9\t1\n", "line 4: byte 0xe9 is not UTF-8"),
        (GOOD.encode("utf-16"), "byte 0xff is not UTF-8"),
        (GOOD + "a\0b\t1\n", "line 4: a NUL character"),
    ],
)
def test_mistakes_are_told_with_their_line(write, content, message):
    path = write("x.tsv", content)
    with pytest.raises(LabelledTextError, match=re.escape(message)) as caught:
        read_labelled_text(path)
    assert str(path) in str(caught.value)


def test_other_mistakes(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.csv does not exist"):
        read_labelled_text(tmp_path / "missing.csv")
    with pytest.raises(FileNotFoundError, match=r"train\.tsv does not exist"):
        load_labelled_text(tmp_path)
    with pytest.raises(LabelledTextError, match="cannot tell the format"):
        read_labelled_text(write("x.data", GOOD))
    with pytest.raises(LabelledTextError, match="expected one character"):
        read_labelled_text(write("y.tsv", GOOD), delimiter="ab")
    with pytest.raises(LabelledTextError, match="named 'rating'"):
        read_labelled_text(write("z.tsv", GOOD), label="rating")
    with pytest.raises(LabelledTextError, match=r"line 3: .*quoted=False"):
        read_labelled_text(write("q.csv", 'text,label\ngood,1\n"bad,0\n'))
    with pytest.raises(ValueError, match="vocabulary overflow"):
        load_labelled_text(write("v.tsv", GOOD), min_count=1, test_fraction=0, max_vocabulary=2)


def test_lines_end_at_line_ends_only():
    assert decode_lines("a\u2028b\x0cc\r\nd\n".encode(), "x") == ["a\u2028b\x0cc", "d"]
