"""Does every chapter have what a reader was promised? One line a fault, with file and line.

A chapter opens with a figure, says what one will be able to do, what to read before, how long it takes to read and to
run; it ends with what it does not show, sharp bits, exercises, a summary in five lines, what next, and references. An
exercise says how many minutes and how hard, and has a hint; and unless it is open, a check and a folded solution.

    python -m tools.anatomy [NOTEBOOK ...]
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from tools.chapters import Chapter, Exercise, read
from tools.notebooks import Lines, shown

FEWEST_EXERCISES = 3
SUMMARY_POINTS = 5
# Words that must stand in a chapter, and what a message calls them.
PARTS = (
    (r"^(#+ |:::\{admonition\} |\*\*|\*)[^\n]*not show", 'a part "What this does not show"'),
    (r"Sharp bits", '"Sharp bits"'),
    (r"^## Exercises$", 'a heading "## Exercises"'),
    (r"^## Summary$", 'a heading "## Summary"'),
    (r"^\*\*Next\.\*\*", 'a paragraph "**Next.**"'),
    (r"\*\*References\.\*\*", 'a paragraph "**References.**"'),
)


def opening_problems(chapter: Chapter) -> Iterator[str]:
    """What the first screen of a chapter lacks."""
    if not chapter.title:
        yield "no title: a heading with one #"
    if not chapter.label:
        yield "no label above the title: (name)=, so that other chapters can refer to it"
    before = []
    for cell in chapter.cells:
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.MULTILINE):
            break
        before.append(cell)
    if not any("figure" in cell.metadata.get("mystnb", {}) for cell in before):
        yield "no figure before the first heading: the one that is the chapter's point"
    if len(chapter.outcomes) < 3:
        yield f'{len(chapter.outcomes)} points under "What you will be able to do", at least 3 expected'
    if len(chapter.table) < 2:
        yield 'no table "| Before you read | Time |" with a row to read and a row "to run: ..."'
        return
    if not chapter.reading:
        yield f'reading time {chapter.table[0][1]!r}: "40 minutes to read" or "an hour to read" expected'
    if not chapter.running:
        yield f'running time {chapter.table[1]!r}: "to run: ON WHAT" and a time expected'


def exercise_problems(exercise: Exercise, known: set[str]) -> Iterator[str]:
    """What one exercise lacks; ``known`` are the checks of the chapter's module."""
    if not exercise.label:
        yield "no label"
    if not exercise.minutes or not exercise.difficulty:
        yield 'does not begin with minutes and difficulty, such as "(10 minutes, ●●○)"'
    if not exercise.hint:
        yield 'no hint: ":::{dropdown} Hint" or "*Hint.* ..."'
    for name in exercise.checks:
        if name not in known:
            yield f"names {name}, which the module of this chapter's checks does not have"
    if not exercise.open:
        if not exercise.checks:
            yield 'no check: neither text nor cell calls a "check_..." function, and it is not marked open'
        if not exercise.solution:
            yield "no solution, and it is not marked open"
    if exercise.solution and not exercise.folded:
        yield 'its solution is not folded: ":class: dropdown"'


def module_checks(name: str) -> set[str]:
    """The check functions that a module of ``entk_tutorial.exercises`` defines."""
    module = import_module(f"entk_tutorial.exercises.{name}")
    return {n for n, v in vars(module).items() if n.startswith("check_") and v.__module__ == module.__name__}


def problems(chapter: Chapter) -> list[str]:
    """Everything that a chapter lacks, one line each with file and line."""
    lines = Lines(chapter.path)
    where = f"{shown(chapter.path)}, line {lines.of(0)}"
    found = [f"{where}: {problem}" for problem in opening_problems(chapter)]
    found += [f"{where}: no {what}" for pattern, what in PARTS if not re.search(pattern, chapter.text, re.MULTILINE)]
    summary = re.search(r"^## Summary\n(.*?)(?=^\*\*Next|\Z)", chapter.text, re.MULTILINE | re.DOTALL)
    points = len(re.findall(r"^\d\. ", summary[1], re.MULTILINE)) if summary else SUMMARY_POINTS
    if points != SUMMARY_POINTS:
        found.append(f"{where}: {points} points in the summary, {SUMMARY_POINTS} expected")
    known = module_checks(chapter.module) if chapter.module else set()
    closed = [exercise for exercise in chapter.exercises if not exercise.open]
    if len(closed) < FEWEST_EXERCISES:
        found.append(f"{where}: {len(closed)} exercises with an answer, at least {FEWEST_EXERCISES} expected")
    for exercise in chapter.exercises:
        at = f"{shown(chapter.path)}, line {exercise.line}: exercise {exercise.title!r}"
        found += [f"{at}: {problem}" for problem in exercise_problems(exercise, known)]
    asked = {name for exercise in chapter.exercises for name in exercise.checks}
    found += [f"{where}: no exercise asks for {name}" for name in sorted(known - asked)]
    return found


def main(arguments: list[str]) -> int:
    """Check the chapters named, or all."""
    chapters = read([Path(a).resolve() for a in arguments])
    found = [line for chapter in chapters for line in problems(chapter)]
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(chapters)} chapters, {sum(len(c.exercises) for c in chapters)} exercises, {len(found)} faults")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
