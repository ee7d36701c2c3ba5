"""What depends on what: the course as a graph, drawn, and three paths through it with their times.

The arrows are what each chapter states under "Before you read"; nothing is kept here but the order of the paths.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from html import escape

from tools.chapters import PARTS, Chapter, contents, read

PATHS = {
    "Theory": (
        "which features a text model can learn, derived and tested",
        "infinite/tangent-kernel infinite/linear infinite/mlp infinite/cnn infinite/attention infinite/multiplicative "
        "infinite/finite-width text/label-scores text/activation-bias text/negation text/decision text/language-model",
    ),
    "Interpretability": (
        "what the kernel of a trained network shows, and how not to be fooled",
        "infinite/tangent-kernel microscope/computing-entk microscope/modular-mlp microscope/controls "
        "microscope/superposition microscope/modular-transformer microscope/layers microscope/grokking "
        "microscope/lazy-to-rich beyond/your-own-model beyond/scaling-up",
    ),
    "Quick tour": (
        "the idea, the tool, and one discovery with its control",
        "infinite/tangent-kernel microscope/computing-entk microscope/modular-mlp",
    ),
}
"""Name -> (what it is for, chapters in order)."""
CAPITALS = {"mlp": "MLP", "cnn": "CNN", "entk": "eNTK"}
BOX, ROW, STEP, LANE, TOP = (102, 46), 53, 130, 22, 8  # of the drawing, in its own units
ONE_LINE = 12
"""Letters of a name that fit a box in one line."""


@dataclass(frozen=True)
class Course:
    """The chapters and their prerequisites.

    Attributes:
        chapters: by name, in the order of the contents.
        part: chapter -> part of the book.
        needs: chapter -> the chapters that it says should be read before.
    """

    chapters: dict[str, Chapter]
    part: dict[str, str]
    needs: dict[str, tuple[str, ...]]

    @cached_property
    def depth(self) -> dict[str, int]:
        """Length of the longest way to a chapter."""
        found: dict[str, int] = {}
        for name in self.chapters:  # prerequisites come first: see load()
            found[name] = 1 + max((found[before] for before in self.needs[name]), default=-1)
        return found

    def ancestors(self, name: str) -> set[str]:
        """All that has to be read before a chapter."""
        return set().union(*({before} | self.ancestors(before) for before in self.needs[name]))

    @cached_property
    def arrows(self) -> list[tuple[str, str]]:
        """Prerequisites to draw: those that do not follow from others."""
        return [
            (before, name)
            for name, needs in self.needs.items()
            for before in needs
            if not any(before in self.ancestors(other) for other in needs)
        ]

    def exercise_minutes(self, name: str) -> int:
        """Of the exercises that have an answer."""
        return sum(exercise.minutes for exercise in self.chapters[name].exercises if not exercise.open)


def load(chapters: list[Chapter] | None = None, part: dict[str, str] | None = None) -> Course:
    """Read the course from its chapters.

    Raises:
        ValueError: if a prerequisite is no chapter and no page of reference, or comes later in the contents.
    """
    part = contents() if part is None else part
    listed = {chapter.name: chapter for chapter in (read() if chapters is None else chapters)}
    by_label = {chapter.label: name for name, chapter in listed.items()}
    needs: dict[str, tuple[str, ...]] = {}
    for name, chapter in listed.items():
        found = [by_label.get(link) or _resolved(name, link) for link in chapter.linked]
        found = [before for before in found if not before.startswith("book/reference/")]
        for before in found:
            if before not in needs:
                raise ValueError(
                    f"{name}.ipynb: says that {before} should be read before, which "
                    f"{'comes later in _toc.yml' if before in listed else 'is no chapter'}."
                )
        needs[name] = tuple(dict.fromkeys(found))
    return Course(listed, part, needs)


def _resolved(name: str, link: str) -> str:
    """The chapter that a relative link in another one means."""
    parts = name.split("/")[:-1]
    for piece in link.split("/"):
        parts = parts[:-1] if piece == ".." else [*parts, piece]
    return "/".join(parts)


def path_chapters(path: str) -> list[str]:
    """The chapters of a path, in order, by their full names."""
    return [f"book/{name}" for name in PATHS[path][1].split()]


def path_problems(course: Course, chapters: list[str]) -> list[str]:
    """Where a path visits what does not exist, or a chapter before what it needs."""
    seen: set[str] = set()
    found = []
    for name in chapters:
        if name not in course.chapters:
            found.append(f"{name} is no chapter")
            continue
        found += [
            f"{name} comes before {before}, which it needs" for before in course.needs[name] if before not in seen
        ]
        seen.add(name)
    return found


def hours(minutes: int) -> str:
    """Rounded to half an hour.

    Example:
        >>> hours(125), hours(200), hours(20)
        ('2 hours', '3½ hours', '½ hour')
    """
    halves = max(1, round(minutes / 30))
    number = f"{halves // 2 or ''}{'½' if halves % 2 else ''}"
    return f"{number} hour{'s' if halves > 2 else ''}"


def short(name: str) -> str:
    """What a box says: the last part of a chapter's name.

    Example:
        >>> short("book/microscope/computing-entk")
        'computing eNTK'
    """
    return " ".join(CAPITALS.get(word, word) for word in name.rsplit("/", 1)[-1].split("-"))


def paths_list(course: Course) -> str:
    """The paths as a list in the book's Markdown, with their times; and what lies where they meet."""
    points = []
    for path, (purpose, _) in PATHS.items():
        names = path_chapters(path)
        links = " → ".join(f"{{doc}}`{short(name)} </{name}>`" for name in names)
        reading = hours(sum(course.chapters[name].reading for name in names))
        practice = hours(sum(course.exercise_minutes(name) for name in names))
        points.append(f"* **{path}**: {purpose}. {reading} to read, {practice} of exercises.\n\n  {links}")
    visited = {name for path in PATHS for name in path_chapters(path)}
    rest = [f"{{doc}}`{short(name)} </{name}>`" for name in course.chapters if name not in visited]
    meeting = [f"Where the first two paths meet: {', '.join(rest)}."] if rest else []
    return "\n\n".join(points + meeting)


def in_words(course: Course) -> str:
    """The picture as a list in the book's Markdown."""
    lines = []
    for name, chapter in course.chapters.items():
        needs = ", ".join(short(before) for before in course.needs[name]) or "nothing of this book"
        lines.append(f"* {{doc}}`{short(name)} </{name}>`: {chapter.reading} minutes; needs {needs}")
    return "\n".join(lines)


def _places(course: Course) -> tuple[dict[str, tuple[int, int]], list[tuple[str, int, int]]]:
    """Corner of each box, and name, top and height of each part's lane."""
    places: dict[str, tuple[int, int]] = {}
    lanes = []
    top = TOP
    for part in PARTS:
        taken: dict[int, int] = {}
        for name in (name for name in course.chapters if course.part[name] == part):
            row = taken.get(course.depth[name], 0)
            taken[course.depth[name]] = row + 1
            places[name] = (10 + STEP * course.depth[name], top + LANE + ROW * row)
        if taken:
            height = LANE + ROW * max(taken.values()) + 4
            lanes.append((part, top, height))
            top += height + 8
    return places, lanes


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """The way of an arrow between two boxes; one that passes other boxes runs below the row it starts in."""
    x0, y0, x1, y1 = start[0] + BOX[0], start[1] + BOX[1] // 2, end[0] - 2, end[1] + BOX[1] // 2
    if x1 - x0 < STEP:
        return f"M{x0} {y0}C{x0 + 22} {y0} {x1 - 24} {y1} {x1} {y1}"
    below = y0 + ROW // 2
    out = f"M{x0} {y0}C{x0 + 18} {y0} {x0 + 6} {below} {x0 + 26} {below}"
    return f"{out}H{x1 - 26}C{x1 - 6} {below} {x1 - 18} {y1} {x1} {y1}"


def _lines(name: str, x: int, y: int) -> str:
    """The name in a box, on two lines if it is long."""
    words = short(name).split()
    rows = [" ".join(words)] if len(words) == 1 or len(short(name)) <= ONE_LINE else [" ".join(words[:-1]), words[-1]]
    at = [22] if len(rows) == 1 else [15, 28]
    return "".join(
        f'<text class="name" x="{x}" y="{y + down}">{escape(row)}</text>' for row, down in zip(rows, at, strict=True)
    )


def drawing(course: Course, address: Callable[[str], str]) -> str:
    """The map as SVG, to stand in a page: it takes the page's colours, and each box is a link.

    Args:
        course: what to draw.
        address: chapter -> link to it, from the page where the map stands.
    """
    places, lanes = _places(course)
    width = STEP * max(course.depth.values()) + BOX[0] + 20
    height = sum(lane[2] + 8 for lane in lanes) + TOP
    first = [short(name) for name in course.chapters if not course.needs[name]]
    alt = (
        f"A graph of {len(course.chapters)} chapters in {len(lanes)} bands, one a part of the book. Arrows lead from "
        f"a chapter to those that build on it, all of them from {' and '.join(first)} at the left. "
        "The list below says the same."
    )
    out = [
        f'<svg class="course-map" viewBox="0 0 {width} {height}" role="group" '
        'aria-labelledby="course-map-title course-map-alt" xmlns="http://www.w3.org/2000/svg">',
        f'<title id="course-map-title">Map of the course</title><desc id="course-map-alt">{escape(alt)}</desc>',
        '<defs><marker id="course-map-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>',
    ]
    for part, top, size in lanes:
        out.append(f'<rect class="lane" x="0" y="{top}" width="{width}" height="{size}" rx="6"/>')
        out.append(f'<text class="part" x="10" y="{top + 15}">{escape(part)}</text>')
    for before, name in course.arrows:
        out.append(f'<path class="arrow" d="{_arrow(places[before], places[name])}"/>')
    for name, (x, y) in places.items():
        chapter = course.chapters[name]
        out.append(
            f'<a href="{escape(address(name))}" aria-label="{escape(f"{chapter.title}, {chapter.reading} minutes")}">'
            f'<rect class="box" x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="5"/>'
            f"{_lines(name, x + BOX[0] // 2, y)}"
            f'<text class="time" x="{x + BOX[0] // 2}" y="{y + 41}">{chapter.reading} min</text></a>'
        )
    return "\n".join([*out, "</svg>"])
