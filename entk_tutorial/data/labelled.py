"""Labelled text from CSV and TSV files of one's own, read strictly: every mistake is told with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from entk_tutorial.data.corpus import Corpus, build_corpus, words_of

__all__ = ["LabelledTextError", "LabelledTexts", "load_labelled_text", "read_labelled_text"]

_TEXT_NAMES, _LABEL_NAMES = ("sentence", "text", "review"), ("label", "sentiment")


class LabelledTextError(ValueError):
    """A file of labelled text is not as expected. The message names file and line, and what was expected."""


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and labels of one file, in its order.

    Attributes:
        texts: none is empty.
        labels: 1 for positive, 0 for negative.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]


def load_labelled_text(
    path: Path | str,
    *,
    text: str | None = None,
    label: str | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
    seed: int = 0,
    min_count: int = 5,
    test_fraction: float = 0.2,
    unknown: bool = True,
    max_vocabulary: int = 20_000,
) -> Corpus:
    """Any labelled text as a corpus: a CSV or TSV file with a header, or the folder of SST-2 in the layout of GLUE.

    Args:
        path: a file; or a folder with train.tsv, of which a part is taken as test. (Its dev.tsv is small, and its
            test.tsv has no labels.)
        text: name of the column with the text; None means "sentence", "text" or "review".
        label: name of the column with the label, 0 or 1; None means "label" or "sentiment".
        delimiter: between columns; None means a comma for .csv and a tab for .tsv and .txt.
        quoted: whether a quotation mark at the start of a field encloses it; None means so for .csv only. The files of
            GLUE have bare quotation marks.
        seed: of the split.
        min_count: fewest occurrences of a word in the training texts.
        test_fraction: share of the texts that is left out of training.
        unknown: whether rarer words become one token; else they are dropped.
        max_vocabulary: most tokens to accept.

    Raises:
        FileNotFoundError: if there is no such file.
        LabelledTextError: for missing columns, a line with more or fewer fields than the header, a label that is
            missing or not 0 or 1, a text that is empty or has no word in it, one class only, wrong encoding.
        ValueError: for numbers out of range, and more frequent words than ``max_vocabulary``.

    Chapter: book/text/label-scores
    """
    place = Path(path)
    found = read_labelled_text(
        place / "train.tsv" if place.is_dir() else place, text=text, label=label, delimiter=delimiter, quoted=quoted
    )
    return build_corpus(
        found.texts,
        found.labels,
        seed=seed,
        min_count=min_count,
        test_fraction=test_fraction,
        unknown=unknown,
        max_vocabulary=max_vocabulary,
        source=str(place),
    )


def read_labelled_text(
    path: Path | str,
    *,
    text: str | None = None,
    label: str | None = None,
    delimiter: str | None = None,
    quoted: bool | None = None,
) -> LabelledTexts:
    """Texts and labels of one CSV or TSV file; arguments and errors as for :func:`load_labelled_text`."""
    path = Path(path)
    comma = path.suffix.lower() == ".csv"
    if not comma and delimiter is None and path.suffix.lower() not in (".tsv", ".tab", ".txt"):
        raise LabelledTextError(
            f"{path}: cannot tell the format from the ending; expected .csv or .tsv, or delimiter=."
        )
    separator = delimiter if delimiter is not None else "," if comma else "\t"
    if len(separator) != 1:
        raise LabelledTextError(f"delimiter={separator!r}; expected one character.")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file; expected labelled text as CSV or TSV.")
    rows = _rows(path, separator, comma if quoted is None else quoted)
    _, header = next(rows, (0, []))
    if not header:
        raise LabelledTextError(f"{path} is empty; expected a header and at least one text of each class.")
    text_column = _column(path, header, text, _TEXT_NAMES, "text")
    label_column = _column(path, header, label, _LABEL_NAMES, "label")
    texts: list[str] = []
    labels: list[int] = []
    for number, row in rows:
        if len(row) != len(header):
            raise LabelledTextError(
                f"{path}, line {number}: {len(row)} fields, but the header has {len(header)}. Is the delimiter "
                f"{separator!r}, and are quotation marks as told by quoted=?"
            )
        value = row[label_column].strip()
        if value not in ("0", "1"):
            told = f"label {value!r}" if value else "the label is missing"
            raise LabelledTextError(f"{path}, line {number}: {told}; expected 0 (negative) or 1 (positive).")
        if not words_of(row[text_column]):
            raise LabelledTextError(
                f"{path}, line {number}: the text is empty, or has no word: {row[text_column]!r}. Drop the line."
            )
        texts.append(row[text_column].strip())
        labels.append(int(value))
    if len(set(labels)) < 2:
        told = f"only label {labels[0]}" if labels else "no text"
        raise LabelledTextError(f"{path} has {told}; expected texts of both classes, 0 and 1.")
    return LabelledTexts(tuple(texts), tuple(labels))


def decode_lines(content: bytes, name: str) -> list[str]:
    """Lines of UTF-8 text, without their ends.

    Raises:
        LabelledTextError: for bytes that are not UTF-8, or a NUL character, with the line.
    """
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise LabelledTextError(
            f"{name}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8. Convert the file first, for "
            "instance from Latin-1 with: iconv -f latin1 -t utf8."
        ) from None
    if "\0" in decoded:
        line = decoded.count("\n", 0, decoded.index("\0")) + 1
        raise LabelledTextError(f"{name}, line {line}: a NUL character. Is this UTF-16? Convert the file to UTF-8.")
    # Not splitlines(): that also splits at form feeds and Unicode separators inside a sentence.
    lines = decoded.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _rows(path: Path, separator: str, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row; blank lines are no rows."""
    lines = decode_lines(path.read_bytes(), str(path))
    if not quoted:
        yield from ((i, line.split(separator)) for i, line in enumerate(lines, start=1) if line.strip())
        return
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise LabelledTextError(
            f"{path}, line {reader.line_num}: {error}. If quotation marks are part of the text, pass quoted=False."
        ) from error


def _column(path: Path, header: list[str], wanted: str | None, usual: tuple[str, ...], kind: str) -> int:
    names = [name.strip() for name in header]
    for name in usual if wanted is None else (wanted,):
        if names.count(name) == 1:
            return names.index(name)
    expected = " or ".join(map(repr, usual)) if wanted is None else repr(wanted)
    raise LabelledTextError(
        f"{path}: no column, or more than one, named {expected}; the header has {', '.join(names)}. "
        f"Name it: {kind}='...'."
    )
