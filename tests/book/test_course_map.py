"""The map follows the chapters' own prerequisites, and the paths respect them."""

import re
from xml.etree import ElementTree

import pytest

from tools import chapters, course_map

COURSE = course_map.load()


@pytest.mark.parametrize("path", course_map.PATHS)
def test_a_path_respects_the_prerequisites(path):
    assert course_map.path_problems(COURSE, course_map.path_chapters(path)) == []


def test_a_path_in_the_wrong_order_or_to_nowhere_is_found():
    theory = course_map.path_chapters("Theory")
    found = course_map.path_problems(COURSE, [theory[1], theory[0], "book/infinite/nothing"])
    assert found == [
        "book/infinite/linear comes before book/infinite/tangent-kernel, which it needs",
        "book/infinite/nothing is no chapter",
    ]


def test_every_chapter_is_on_a_path_or_where_they_meet():
    visited = {name for path in course_map.PATHS for name in course_map.path_chapters(path)}
    for name in set(COURSE.chapters) - visited:
        assert COURSE.ancestors(name) <= visited, f"{name} is on no path, and no paths lead to it"
    assert len(visited) >= len(COURSE.chapters) - 1


def test_the_times_are_those_of_the_chapters():
    tour = course_map.path_chapters("Quick tour")
    reading = sum(COURSE.chapters[name].reading for name in tour)
    assert "**Quick tour**: " in course_map.paths_list(COURSE)
    assert f"{course_map.hours(reading)} to read" in course_map.paths_list(COURSE)


def test_the_drawing_has_a_link_for_each_chapter_an_arrow_for_each_need_and_words_for_it():
    drawn = course_map.drawing(COURSE, lambda name: f"{name}.html")
    root = ElementTree.fromstring(drawn)
    tag = "{http://www.w3.org/2000/svg}"
    links = [a.get("href") for a in root.iter(f"{tag}a")]
    assert sorted(links) == sorted(f"{name}.html" for name in COURSE.chapters)
    assert all(a.get("aria-label") for a in root.iter(f"{tag}a"))
    assert len([p for p in root.iter(f"{tag}path") if p.get("class") == "arrow"]) == len(COURSE.arrows)
    assert root.find(f"{tag}title").text and len(root.find(f"{tag}desc").text) > 80
    assert not re.search(r"#[0-9a-f]{3,6}\b|rgb\(", drawn), "colours belong to the style sheet, for the dark"
    words = course_map.in_words(COURSE)
    assert words.count("\n") + 1 == len(COURSE.chapters)


def test_no_box_lies_on_another():
    places, _ = course_map._places(COURSE)
    width, height = course_map.BOX
    boxes = list(places.values())
    for i, (x, y) in enumerate(boxes):
        assert not any(abs(x - a) < width and abs(y - b) < height for a, b in boxes[i + 1 :])


def test_arrows_that_follow_from_others_are_left_out_and_nothing_is_lost():
    for name in COURSE.chapters:
        drawn, todo = set(), [name]
        while todo:
            here = todo.pop()
            todo += [before for before, after in COURSE.arrows if after == here and before not in drawn]
            drawn |= {before for before, after in COURSE.arrows if after == here}
        assert drawn == COURSE.ancestors(name)


class Planted(chapters.Chapter):
    """A chapter with other prerequisites."""

    @property
    def linked(self):
        return ["../text/decision"] if self.name.endswith("/linear") else ["tangent-kernel", "../reference/notation"]


def test_a_prerequisite_that_comes_later_is_refused():
    first, second, last = (
        COURSE.chapters[f"book/{n}"] for n in ("infinite/tangent-kernel", "infinite/linear", "text/decision")
    )
    with pytest.raises(ValueError, match=r"linear\.ipynb: says that book/text/decision .* comes later"):
        course_map.load([first, Planted(second.path), last])
    with pytest.raises(ValueError, match=r"linear\.ipynb: says that book/text/decision .* is no chapter"):
        course_map.load([first, Planted(second.path)])
