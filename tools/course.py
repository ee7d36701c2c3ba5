"""Sphinx extension: what the pages show of the course as a whole, made from the chapters at each build.

``{course-map}`` draws what depends on what, ``{course-paths}`` lists three paths with times, ``{exercise-notebooks}``
links the notebooks of exercises, which are written beside the built pages. A term that a chapter links to its
definition gets an entry in the index, under the term, by the chapter's title.
"""

from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from tools import course_map, exercises
from tools.chapters import read

DOWNLOADS = "exercises"
"""Folder of the built book that holds the notebooks of exercises."""


class CourseDirective(SphinxDirective):
    """A directive that depends on every chapter, and may speak the book's Markdown."""

    def run(self) -> list[nodes.Node]:
        """Note the chapters as sources of this page, then build it."""
        for chapter in read():
            self.env.note_dependency(str(chapter.path))
        return self.content_nodes()

    def content_nodes(self) -> list[nodes.Node]:
        """What stands in the page."""
        raise NotImplementedError

    def markdown(self, text: str) -> list[nodes.Node]:
        """Parse text as if it stood in the page."""
        holder = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), source=self.env.docname), self.content_offset, holder)
        return holder.children


class CourseMap(CourseDirective):
    """The picture, and the same in words, folded."""

    def content_nodes(self) -> list[nodes.Node]:
        """A figure that takes the colours of the page, and a list."""
        course, builder, here = course_map.load(), self.env.app.builder, self.env.docname
        drawn = course_map.drawing(course, lambda name: builder.get_relative_uri(here, name))
        box = f'<div class="course-map-box" tabindex="0" role="region" aria-label="Map of the course">{drawn}</div>'
        words = f":::{{dropdown}} The map in words\n{course_map.in_words(course)}\n:::"
        return [nodes.raw("", box, format="html"), *self.markdown(words)]


class CoursePaths(CourseDirective):
    """The paths with their times."""

    def content_nodes(self) -> list[nodes.Node]:
        """A list."""
        return self.markdown(course_map.paths_list(course_map.load()))


class ExerciseNotebooks(CourseDirective):
    """The table of the notebooks without solutions."""

    def content_nodes(self) -> list[nodes.Node]:
        """A table whose last column downloads."""
        up = "../" * self.env.docname.count("/") + DOWNLOADS
        rows = ["| Chapter | Exercises | Minutes | Notebook |", "|---|---|---|---|"]
        for chapter in read():
            file = exercises.file_name(chapter)
            minutes = sum(exercise.minutes for exercise in chapter.exercises)
            link = f'<a href="{up}/{file}" download>{file}</a>'
            rows.append(f"| {{doc}}`/{chapter.name}` | {len(chapter.exercises)} | {minutes} | {link} |")
        all_of_them = f'<p><a href="{up}/{exercises.ARCHIVE}" download>All of them, {exercises.ARCHIVE}</a></p>'
        return [*self.markdown("\n".join(rows)), nodes.raw("", all_of_them, format="html")]


class IndexTerms(SphinxTransform):
    """Give the first use of each term in a page an entry in the index."""

    default_priority = 500

    def apply(self) -> None:
        """Add the entries, before Sphinx collects them."""
        title = next(iter(self.document.findall(nodes.title)), None)
        if title is None or self.env.docname.endswith("/glossary"):
            return
        seen: set[str] = set()
        for use in list(self.document.findall(addnodes.pending_xref)):
            term = str(use["reftarget"])
            if use.get("reftype") != "term" or term in seen:
                continue
            seen.add(term)
            place = f"term-use-{nodes.make_id(term)}"
            entry = ("single", f"{term}; {title.astext()}", place, "", None)
            use.parent.insert(use.parent.index(use), addnodes.index(entries=[entry]))
            use.parent.insert(use.parent.index(use), nodes.target("", "", ids=[place]))


def write_exercises(app: Sphinx, error: Exception | None) -> None:
    """Handler of ``build-finished``: the notebooks that the pages link."""
    if error is None and app.builder.format == "html":
        exercises.write(Path(app.outdir) / DOWNLOADS)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("course-map", CourseMap)
    app.add_directive("course-paths", CoursePaths)
    app.add_directive("exercise-notebooks", ExerciseNotebooks)
    app.add_transform(IndexTerms)
    app.connect("build-finished", write_exercises)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
