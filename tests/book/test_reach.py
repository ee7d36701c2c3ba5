"""What people meet outside the book: README, citation, launch buttons, releases. Each agrees with the tree."""

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tools import install_cell, picture

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / ".github" / "workflows").glob("*.yml")}
# From the schema of the citation file format, 1.2.0 (the tool that holds it needs an older jsonschema than Jupyter).
CFF_KEYS = set(
    "abstract authors cff-version commit contact date-released doi identifiers keywords license license-url message "
    "preferred-citation references repository repository-artifact repository-code title type url version".split()
)
CFF_REFERENCE_TYPES = {"article", "book", "conference-paper", "generic", "software", "thesis", "unpublished", "website"}
PERSON, ENTITY = {"family-names", "given-names", "orcid", "affiliation"}, {"name", "website", "orcid"}


def problems_of_citation(cff):
    """What the schema would object to, for the fields that this file uses."""
    found = [f"unknown key {key}" for key in set(cff) - CFF_KEYS]
    found += [f"no {key}" for key in ("cff-version", "message", "title", "authors") if not cff.get(key)]
    if cff.get("cff-version") != "1.2.0":
        found.append("not version 1.2.0 of the format")
    if cff.get("type", "software") not in ("software", "dataset"):
        found.append(f"type {cff['type']}")
    for entry in (cff, *cff.get("references", [])):
        for author in entry.get("authors") or [{}]:
            if not author or not (set(author) <= PERSON or set(author) <= ENTITY):
                found.append(f"author {author}")
        for one in entry.get("identifiers", []):
            if set(one) - {"description"} != {"type", "value"} or one["type"] not in ("doi", "other", "swh", "url"):
                found.append(f"identifier {one}")
    for entry in cff.get("references", []):
        if entry.get("type") not in CFF_REFERENCE_TYPES or not entry.get("title"):
            found.append(f"reference {entry.get('title')}")
        if not isinstance(entry.get("year", 0), int):
            found.append(f"year {entry['year']}")
    return found


def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_file_is_valid_and_says_what_the_package_says():
    cff = citation()
    assert problems_of_citation(cff) == []
    assert (cff["version"], cff["license"]) == (PROJECT["version"], PROJECT["license"])
    assert cff["repository-code"] == PROJECT["urls"]["Repository"]
    page = (ROOT / "book" / "reference" / "cite.md").read_text(encoding="utf-8")
    assert cff["title"] in page and f"version = {{{cff['version']}}}" in page
    for reference in cff["references"]:
        assert reference["title"] in page
        assert all(author["family-names"] in page for author in reference["authors"])


@pytest.mark.parametrize(
    "change",
    [
        lambda cff: cff.pop("message"),
        lambda cff: cff.update({"cff-version": "1.1.0"}),
        lambda cff: cff.update(licence="MIT"),
        lambda cff: cff.update(authors=[]),
        lambda cff: cff["authors"].append({"full-name": "A"}),
        lambda cff: cff["references"][0].update(type="paper"),
        lambda cff: cff["references"][0]["identifiers"].append({"type": "arxiv", "value": "1"}),
        lambda cff: cff["references"][1].update(year="2025"),
    ],
)
def test_a_fault_planted_in_the_citation_file_is_found(change):
    cff = citation()
    change(cff)
    assert problems_of_citation(cff)


def test_zenodo_gets_the_same_title_and_licence():
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert (zenodo["title"], zenodo["license"]) == (citation()["title"], PROJECT["license"])


@pytest.mark.parametrize("theme", picture.THEMES)
def test_the_picture_of_the_readme_shows_the_stored_numbers(theme):
    with Image.open(ROOT / "book" / "_static" / f"point-{theme}.png") as image:
        drawn = json.loads(image.text["Description"])
        assert image.width <= 1100
    assert drawn == pytest.approx(picture.headline(), rel=0.02)
    assert f"book/_static/point-{theme}.png" in README


def test_the_picture_shows_what_the_readme_says_of_it():
    shown = picture.headline()
    assert shown["never trained, cliff after 57"] > shown["trained, cliff after 57"] > 1.5
    assert shown["trained, cliff after 113"] > 1.2 > 1.05 > shown["never trained, cliff after 113"]
    assert shown["trained, overlap"] > 20 > 4 > max(shown["never trained, overlap"], shown["random labels, overlap"])
    assert len(re.findall(r'<img alt="([^"]{100,})"', README)) == 1


def test_every_dependency_has_its_reason_in_the_readme():
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    names = {re.split(r"[<>=!\[ ]", line)[0] for line in PROJECT["dependencies"] + extras} - {PROJECT["name"]}
    text = re.sub(r"pytest with xdist and cov", "pytest pytest-xdist pytest-cov", README)
    assert [name for name in sorted(names) if name not in text] == []


def test_what_the_readme_calls_supported_is_what_the_package_declares():
    table = README[README.index("### Where it has been tested") :].split("###")[1]
    declared = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert all(version in table for version in declared)
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8") and "2.13.0" in table
    lowest = next(line for line in PROJECT["dependencies"] if line.startswith("torch")).split(">=")[1]
    assert f"{lowest} and newer" in table


def test_contributing_stays_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_every_make_goal_that_a_workflow_or_a_page_names_exists():
    goals = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    pages = [
        README,
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        (ROOT / "book/index.md").read_text("utf-8"),
    ]
    named = {
        g for text in WORKFLOWS.values() for line in re.findall(r"run: make ([a-z -]+)", text) for g in line.split()
    }
    named |= {goal for text in pages for goal in re.findall(r"`make ([a-z-]+)", text)}
    assert {"pdf", "html-zip", "audit", "book-strict"} <= named <= goals


def test_a_release_carries_wheel_pdf_and_zip_from_where_the_commands_put_them():
    release = WORKFLOWS["release.yml"]
    for path in ("_build/pdf/book.pdf", "_build/book-html.zip"):
        assert path in release and release.index("make book-strict pdf html-zip") < release.index(path)
    assert "python -m build" in release


def test_the_audit_counts_what_it_could_not_look_up_as_a_failure():
    assert re.search(r"pip-audit --strict .*constraints\.txt", MAKEFILE)
    assert "make audit" in WORKFLOWS["newest-torch.yml"]


def test_binder_installs_from_paths_that_exist():
    lines = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    for line in lines:
        kind, path = line.split()
        # pip takes constraints relative to the file, packages relative to where it runs: the root
        assert {"-c": (ROOT / "binder" / path).is_file, "-e": (ROOT / path / "pyproject.toml").is_file}[kind]()
    assert [line.split()[0] for line in lines] == ["-c", "-e"]
    python = (ROOT / "binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert re.fullmatch(r"python-3\.(1[1-3])", python)
    post = ROOT / "binder" / "postBuild"
    assert os.access(post, os.X_OK) and post.read_text(encoding="utf-8").startswith("#!")


def test_one_address_of_the_repository_everywhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == PROJECT["urls"]["Repository"] == install_cell.repository()
    assert set(config["launch_buttons"]) >= {"colab_url", "binderhub_url"}


def test_formulas_need_no_macros_of_the_book():
    """A notebook that is opened in Colab or Jupyter knows none of them; the browser tests find what is undefined."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert "mathjax3_config" not in config["sphinx"]["config"]
