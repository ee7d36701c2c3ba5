import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from entk_tutorial.figures.grokking_slider import LINES, Film, grokking_slider

EPOCHS, COUNT = [0, 5, 10, 50], 12
EDGES = (4, 8)


def film(label="the task", seed=0, **changes):
    rng = np.random.default_rng(seed)
    values = {
        "curves": {line: np.linspace(-0.01, 1, 4).tolist() for line in LINES},
        "spectrum": np.sort(rng.uniform(0.01, 1, (4, COUNT)))[:, ::-1],
        "shares": {"all rows": rng.integers(0, 256, (4, 4, COUNT), dtype=np.uint8)},
    }
    return Film(label, **(values | changes))


def data_of(slider):
    [text] = re.findall(r'<script type="application/json" class="film-data">(.*?)</script>', slider.html, re.DOTALL)
    return json.loads(text)


class Balance(HTMLParser):
    """Fails at a tag that closes what is not open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("input",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_epoch_and_every_number_is_inside():
    one, two = film(), film("random labels", seed=1)
    data = data_of(grokking_slider(EPOCHS, [one, two], edges=EDGES))
    assert data["epochs"] == EPOCHS and len(data["x"]) == 4
    for stored, given in zip(data["films"], (one, two), strict=True):
        cells = np.frombuffer(base64.b64decode(stored["shares"][0]), np.uint8).reshape(4, 4, COUNT)
        assert (cells[:, :, 1:] == given.shares["all rows"][:, :, 1:]).all() and not cells[:, :, 0].any()
        y = np.frombuffer(base64.b64decode(stored["y"]), "<u2").reshape(4, COUNT - 1)
        assert (np.diff(y.astype(int)) >= 0).all()  # smaller eigenvalues lie lower
        assert stored["ratios"][2] == [
            pytest.approx(given.spectrum[2][e - 1] / given.spectrum[2][e], abs=0.006) for e in EDGES
        ]
        assert stored["values"][1][-1] == 100


def test_the_first_frame_is_drawn_without_a_script():
    html = grokking_slider(EPOCHS, [film()], edges=EDGES, start=2, description="two < three").html
    drawing = html[html.index("<svg") : html.index("</svg>")]
    assert drawing.count("<circle") == COUNT - 1 and drawing.count('class="c"') == 4 * COUNT
    assert drawing.count("<polyline") == len(LINES) and 'aria-label="two &lt; three"' in drawing
    assert "Epoch 10, the task: accuracy" in html and "<noscript>" in html


def test_nothing_comes_from_elsewhere():
    html = grokking_slider(EPOCHS, [film()], edges=EDGES).html
    assert not re.search(r"https?:|//[a-z]|@import|\bsrc=|<link|\bfetch\(|XMLHttpRequest|\burl\(", html)


def test_tags_balance_and_labels_are_escaped():
    html = grokking_slider(EPOCHS, [film('</script><b onclick="x">')], edges=EDGES).html
    parser = Balance()
    parser.feed(html)
    assert parser.open == [] and "<b onclick" not in html and html.count("</script>") == 2


def test_the_controls_have_names_and_the_figure_has_both_themes():
    html = grokking_slider(EPOCHS, [film(), film("b")], edges=EDGES, name="film-2").html
    assert re.findall(r'label for="([^"]*)"', html) == re.findall(r'(?:input|select) [^>]*id="([^"]*)"', html)
    assert html.count("<label") == 3 and 'type="range" min="0" max="3"' in html
    assert html.count("<option") == 3 and 'getElementById("film-2")' in html and 'id="film-2"' in html
    assert 'html[data-theme="dark"] .entk-film' in html and "prefers-color-scheme: dark" in html


def test_a_script_leaves_the_same_text_each_time():
    assert grokking_slider(EPOCHS, [film()], edges=EDGES).html == grokking_slider(EPOCHS, [film()], edges=EDGES).html


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": [0, 5, 5, 50]}, "increasing"),
        ({"epochs": [0]}, "at least two"),
        ({"start": 4}, "start"),
        ({"films": []}, "no film"),
        ({"name": "a b"}, "id of letters"),
        ({"edges": (12,)}, "ratio to show"),
        ({"films": [film(), film(spectrum=np.ones((4, 3)))]}, "positive values"),
        ({"films": [film(spectrum=np.zeros((4, COUNT)))]}, "positive values"),
        ({"films": [film(shares={"all rows": np.zeros((4, 4, COUNT))})]}, "bytes"),
        ({"films": [film(), film(shares={"some": np.zeros((4, 4, COUNT), np.uint8)})]}, "same kinds of rows"),
        ({"films": [film(curves={line: [0, 0, 0, 2] for line in LINES})]}, "values up to 1"),
    ],
)
def test_films_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        grokking_slider(**({"epochs": EPOCHS, "films": [film()], "edges": EDGES} | change))
