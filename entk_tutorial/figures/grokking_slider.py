r"""A moving figure of grokking: drag the epoch, and accuracy, spectrum and eigenvectors follow.

It is one piece of HTML with its data inside: no network, no library, no server. The first frame is drawn here, as SVG,
so that a page without scripts, or on paper, still shows a figure; the script only moves what is drawn.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH, LEFT, RIGHT = 720, 56, 700
CURVES, SPECTRUM, CELLS = (24, 140), (186, 306), (338, 434)
"""Top and bottom of the three panels, in units of the drawing."""

FAMILY_LABELS = ("n", "m", "n + m", "n − m")
LINES = ("train_accuracy", "held_out_accuracy", "overlap_held_out")
LINE_LABELS = ("accuracy, training pairs", "accuracy, held-out pairs", "overlap with the sum, held-out rows")


@dataclass(frozen=True)
class Film:
    """One run, frame by frame.

    Attributes:
        label: what the reader chooses it by.
        curves: the names in ``LINES`` -> (T,) values between 0 and 1.
        spectrum: (T, L) positive eigenvalues, descending; the first one, the constant mode, is not drawn.
        shares: label of the rows -> (T, 4, L) bytes, 255 for a share of 1: families n, m, sum, diff.
    """

    label: str
    curves: Mapping[str, Sequence[float]]
    spectrum: ArrayLike
    shares: Mapping[str, ArrayLike]


class Slider:
    """The figure; a notebook shows it. ``html`` is its text."""

    def __init__(self, html: str) -> None:
        """Keep the text."""
        self.html = html

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """What is shown where there is no HTML."""
        return "Slider: a figure for the browser; its frames as pictures are in the chapter."


def grokking_slider(
    epochs: Sequence[int],
    films: Sequence[Film],
    *,
    edges: Sequence[int],
    start: int = 0,
    name: str = "grokking-film",
    description: str = "",
) -> Slider:
    """The moving figure.

    Args:
        epochs: (T,) of the frames, increasing.
        films: at least one run; all with the same frames, eigenvalues and kinds of rows.
        edges: indices, from 1, after which a cliff is expected.
        start: the frame that is drawn first.
        name: id of the element, unique on the page; letters, digits and hyphens.
        description: alternative text of the drawing.

    Raises:
        ValueError: no film, films that differ in shape, frames that are not increasing, values outside their range,
            or an id with other characters.

    Chapter: book/microscope/grokking.
    """
    _check(epochs, films, edges, start, name)
    first = films[0]
    count = np.asarray(first.spectrum).shape[1]
    data = {
        "epochs": [int(e) for e in epochs],
        "x": [round(_epoch_x(epochs, i), 1) for i in range(len(epochs))],
        "count": count,
        "films": [_packed(film, films, edges) for film in films],
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    options = "".join(f'<option value="{i}">{escape(f.label)}</option>' for i, f in enumerate(films))
    rows = "".join(f'<option value="{i}">{escape(label)}</option>' for i, label in enumerate(first.shares))
    edge_list = json.dumps(list(edges))
    html = f"""<div class="entk-film" id="{name}">
<style>{_STYLE}</style>
<div class="controls">
<span class="wide"><label for="{name}-epoch">Epoch</label>
<input type="range" min="0" max="{len(epochs) - 1}" step="1" value="{start}" class="epoch" id="{name}-epoch"></span>
<span><label for="{name}-run">Run</label> <select class="run" id="{name}-run">{options}</select></span>
<span><label for="{name}-rows">Rows</label> <select class="rows" id="{name}-rows">{rows}</select></span>
</div>
<div class="stage" tabindex="0">{_drawing(epochs, films, edges, start, description)}</div>
<p class="readout" role="status" aria-live="polite">{escape(_sentence(epochs, first, edges, start))}</p>
<noscript><p>Without scripts the figure stands still at epoch {int(epochs[start])}.</p></noscript>
<script type="application/json" class="film-data">{text}</script>
<script>{_SCRIPT.replace("NAME", name).replace("EDGES", edge_list)}</script>
</div>"""
    return Slider(html)


def _check(epochs: Sequence[int], films: Sequence[Film], edges: Sequence[int], start: int, name: str) -> None:
    if not name or not all(c.isascii() and (c.isalnum() or c == "-") for c in name):
        raise ValueError(f"name={name!r}: an id of letters, digits and hyphens is expected.")
    frames = len(epochs)
    if frames < 2 or any(b <= a for a, b in pairwise(epochs)) or not 0 <= start < frames:
        raise ValueError(f"{frames} epochs, start={start}: at least two, increasing, and a start among them.")
    if not films:
        raise ValueError("no film given: at least one run is expected.")
    shape = np.asarray(films[0].spectrum).shape
    for film in films:
        spectrum = np.asarray(film.spectrum, dtype=float)
        if spectrum.shape != shape or spectrum.ndim != 2 or len(spectrum) != frames or not (spectrum > 0).all():
            raise ValueError(f"{film.label}: spectrum {spectrum.shape}; (T, L) = {shape} positive values are expected.")
        if list(film.shares) != list(films[0].shares) or not film.shares:
            raise ValueError(f"{film.label}: shares of {list(film.shares)}; all films need the same kinds of rows.")
        for label, shares in film.shares.items():
            values = np.asarray(shares)
            if values.shape != (frames, 4, shape[1]) or values.dtype != np.uint8:
                raise ValueError(
                    f"{film.label}, {label}: shares {values.shape} {values.dtype}; bytes (T, 4, L) expected."
                )
        for line in LINES:
            curve = np.asarray(film.curves[line], dtype=float)
            if curve.shape != (frames,) or curve.min() < -0.5 or curve.max() > 1.001:
                raise ValueError(f"{film.label}: {line} must hold {frames} values up to 1.")
    if any(not 2 <= e < shape[1] for e in edges):
        raise ValueError(f"edges={list(edges)}; indices from 2 to {shape[1] - 1} have a ratio to show.")


def _epoch_x(epochs: Sequence[int], i: int) -> float:
    """Frames are evenly spaced, so that the crowded part of the run has room; the axis says which epoch is where."""
    return LEFT + (RIGHT - LEFT) * i / (len(epochs) - 1)


def _index_x(index: int, count: int) -> float:
    """Middle of the column of eigenvalue ``index``, counted from 1."""
    return LEFT + (RIGHT - LEFT) * (index - 0.5) / count


def _curve_y(value: float) -> float:
    top, bottom = CURVES
    return bottom - (bottom - top) * min(max(value, 0.0), 1.0)


def _relative(film: Film) -> NDArray[np.float64]:
    """log10 of each eigenvalue over the second one, the largest behind the constant mode: (T, L - 1)."""
    values = np.log10(np.asarray(film.spectrum, dtype=float))
    return np.asarray(values[:, 1:] - values[:, 1:2])


def _spectrum_y(film: Film, films: Sequence[Film]) -> NDArray[np.float64]:
    top, bottom = SPECTRUM
    lowest = min(float(_relative(f).min()) for f in films)
    return top + (bottom - top) * _relative(film) / min(lowest, -1e-9)


def _ratios(film: Film, edges: Sequence[int]) -> list[list[float]]:
    values = np.asarray(film.spectrum, dtype=float)
    return [[round(float(frame[e - 1] / frame[e]), 2) for e in edges] for frame in values]


def _packed(film: Film, films: Sequence[Film], edges: Sequence[int]) -> dict[str, object]:
    tenths = np.round(10 * _spectrum_y(film, films)).astype("<u2")
    return {
        "label": film.label,
        "lines": [_points(film, line) for line in LINES],
        "values": [[round(100 * float(v)) for v in film.curves[line]] for line in LINES],
        "ratios": _ratios(film, edges),
        "y": base64.b64encode(tenths.tobytes()).decode(),
        "shares": [base64.b64encode(_cells(s).tobytes()).decode() for s in film.shares.values()],
    }


def _cells(shares: ArrayLike) -> NDArray[np.uint8]:
    """Shares as drawn: the constant mode belongs to no family, and what rounding leaves of it is not shown."""
    values = np.array(shares, dtype=np.uint8)
    values[:, :, 0] = 0
    return values


def _points(film: Film, line: str) -> str:
    count = len(film.curves[line])
    return " ".join(
        f"{LEFT + (RIGHT - LEFT) * i / (count - 1):.1f},{_curve_y(float(v)):.1f}"
        for i, v in enumerate(film.curves[line])
    )


def _sentence(epochs: Sequence[int], film: Film, edges: Sequence[int], i: int) -> str:
    """What the readout says; the script says the same."""
    values = (str(round(100 * float(film.curves[line][i]))) for line in LINES)
    train, held, overlap = (v.replace("-", "\N{MINUS SIGN}") for v in values)
    ratios = ", ".join(f"{r:.2f} after {e}" for r, e in zip(_ratios(film, edges)[i], edges, strict=True))
    return (
        f"Epoch {int(epochs[i])}, {film.label}: accuracy {train} % on training pairs, {held} % on held-out pairs; "
        f"overlap with the sum on held-out rows {overlap} % of the way; eigenvalue ratio {ratios}."
    )


def _drawing(epochs: Sequence[int], films: Sequence[Film], edges: Sequence[int], start: int, description: str) -> str:
    film, count = films[0], np.asarray(films[0].spectrum).shape[1]
    parts = [f'<svg viewBox="0 0 {WIDTH} 478" role="img" aria-label="{escape(description, quote=True)}">']

    def text(x: float, y: float, words: str, anchor: str = "middle", kind: str = "") -> None:
        shown = f' class="{kind}"' if kind else ""
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{shown}>{escape(words)}</text>')

    for value in (0, 0.5, 1):
        y = _curve_y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        text(LEFT - 6, y + 4, f"{value:g}", "end")
    for i in range(0, len(epochs), max(1, (len(epochs) - 1) // 9)):
        text(_epoch_x(epochs, i), CURVES[1] + 16, str(int(epochs[i])))
    text((LEFT + RIGHT) / 2, CURVES[1] + 31, "epoch")
    for k, line in enumerate(LINES):
        parts.append(f'<polyline class="line l{k}" points="{_points(film, line)}"/>')
        text(LEFT + 4 + 215 * k, 13, ("━ ", "╍ ", "┅ ")[k] + LINE_LABELS[k], "start", f"key k{k}")
    x = _epoch_x(epochs, start)
    parts.append(f'<path class="cursor" d="M0 {CURVES[0]}V{CURVES[1]}" transform="translate({x:.1f} 0)"/>')

    text(LEFT, SPECTRUM[0] - 6, "eigenvalues, each over the second one (logarithmic)", "start")
    lowest = min(float(_relative(f).min()) for f in films)
    for decade in range(0, int(-lowest) + 1):
        y = SPECTRUM[0] + (SPECTRUM[1] - SPECTRUM[0]) * decade / max(-lowest, 1e-9)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        text(LEFT - 6, y + 4, f"{10.0**-decade:g}", "end")
    for edge in edges:
        x = (_index_x(edge, count) + _index_x(edge + 1, count)) / 2
        parts.append(f'<path class="edge" d="M{x:.1f} {SPECTRUM[0]}V{CELLS[1]}"/>')
        text(x, SPECTRUM[1] + 14, str(edge))
    dots = _spectrum_y(film, films)[start]
    parts += [f'<circle cx="{_index_x(i + 2, count):.1f}" cy="{y:.1f}" r="2"/>' for i, y in enumerate(dots)]

    text(LEFT, CELLS[0] - 6, "share of each eigenvector in the functions of", "start")
    width, height = (RIGHT - LEFT) / count, (CELLS[1] - CELLS[0]) / 4
    shares = _cells(next(iter(film.shares.values())))[start]
    parts.append(
        f'<rect class="frame" x="{LEFT}" y="{CELLS[0]}" width="{RIGHT - LEFT}" height="{CELLS[1] - CELLS[0]}"/>'
    )
    for f, label in enumerate(FAMILY_LABELS):
        y = CELLS[0] + f * height
        text(LEFT - 6, y + height / 2 + 4, label, "end")
        parts.append(f'<g transform="translate({LEFT} {y:g})">')
        parts += [
            f'<rect class="c" x="{i * width:.2f}" width="{width:.2f}" height="{height:g}" '
            f'fill-opacity="{b / 255:.3f}"/>'
            for i, b in enumerate(shares[f])
        ]
        parts.append("</g>")
    text((LEFT + RIGHT) / 2, CELLS[1] + 16, "index of the eigenvalue, from 1")
    for k, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        x = LEFT + 110 * k
        parts.append(f'<rect class="frame" x="{x}" y="{CELLS[1] + 24}" width="14" height="12"/>')
        parts.append(f'<rect class="k" x="{x}" y="{CELLS[1] + 24}" width="14" height="12" fill-opacity="{share:g}"/>')
        text(x + 20, CELLS[1] + 34, f"share {share:g}", "start")
    return "\n".join([*parts, "</svg>"])


_STYLE = """
.entk-film{--ink:#1f2328;--soft:#d0d7de;--back:#ffffff;--a:#0072b2;--b:#c04e00;--c:#00795a;--cell:#0072b2;
max-width:760px;color:var(--ink);background:var(--back);padding:.5rem;border-radius:6px;text-align:left}
@media (prefers-color-scheme: dark){html:not([data-theme="light"]) .entk-film{--ink:#e6e8eb;--soft:#3a424b;
--back:#14181d;--a:#56b4e9;--b:#f0a050;--c:#2fd0a5;--cell:#7cc8f5}}
html[data-theme="dark"] .entk-film{--ink:#e6e8eb;--soft:#3a424b;--back:#14181d;--a:#56b4e9;--b:#f0a050;--c:#2fd0a5;
--cell:#7cc8f5}
.entk-film .controls{display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;align-items:center}
.entk-film .controls span{display:inline-flex;gap:.5rem;align-items:center}.entk-film label{margin:0}
.entk-film .wide{flex:1 1 16rem}
.entk-film input{flex:1;min-width:8rem;accent-color:var(--a)}
.entk-film select{background:var(--back);color:var(--ink);border:1px solid var(--soft);border-radius:4px;
max-width:12rem}
.entk-film .stage{overflow-x:auto}.entk-film svg{width:100%;min-width:34rem;height:auto;display:block}
.entk-film text{font:11px system-ui,sans-serif;fill:var(--ink)}
.entk-film .line{fill:none;stroke-width:2}
.entk-film .l0{stroke:var(--a)}.entk-film .l1{stroke:var(--b);stroke-dasharray:7 3}
.entk-film .l2{stroke:var(--c);stroke-dasharray:3 2}
.entk-film .k0{fill:var(--a)}.entk-film .k1{fill:var(--b)}.entk-film .k2{fill:var(--c)}
.entk-film .grid{stroke:var(--soft);stroke-width:.6}.entk-film .cursor{stroke:var(--ink);stroke-width:1.5}
.entk-film .edge{stroke:var(--ink);stroke-width:.8;stroke-dasharray:2 3}
.entk-film .frame{fill:none;stroke:var(--soft)}.entk-film circle{fill:var(--a)}
.entk-film .c,.entk-film .k{fill:var(--cell)}.entk-film .readout{margin:.3rem 0 0;font-size:.95em;min-height:4.5em}
@media print{.entk-film .controls{display:none}}
"""

_SCRIPT = """
(function(){
var box=document.getElementById("NAME"),edges=EDGES;
var data=JSON.parse(box.querySelector(".film-data").textContent);
function bytes(text){var s=atob(text),out=new Uint8Array(s.length);for(var i=0;i<s.length;i++)out[i]=s.charCodeAt(i);
return out;}
data.films.forEach(function(f){var b=bytes(f.y);f.y=[];for(var i=0;i<b.length;i+=2)f.y.push(b[i]+256*b[i+1]);
f.shares=f.shares.map(bytes);});
var epoch=box.querySelector(".epoch"),run=box.querySelector(".run"),rows=box.querySelector(".rows");
var dots=box.querySelectorAll("circle"),cells=box.querySelectorAll(".c"),lines=box.querySelectorAll(".line");
var cursor=box.querySelector(".cursor"),readout=box.querySelector(".readout");
function draw(){
var i=+epoch.value,f=data.films[+run.value],n=data.count,s=f.shares[+rows.value];
cursor.setAttribute("transform","translate("+data.x[i]+" 0)");
lines.forEach(function(line,k){line.setAttribute("points",f.lines[k]);});
dots.forEach(function(dot,k){dot.setAttribute("cy",f.y[i*(n-1)+k]/10);});
cells.forEach(function(cell,k){cell.setAttribute("fill-opacity",(s[i*4*n+k]/255).toFixed(3));});
var v=f.values.map(function(line){return String(line[i]).replace("-","\\u2212");});
var words="Epoch "+data.epochs[i]+", "+f.label+": accuracy "+v[0]+" % on training pairs, "+v[1]+
" % on held-out pairs; overlap with the sum on held-out rows "+v[2]+" % of the way; eigenvalue ratio "+
f.ratios[i].map(function(r,k){return r.toFixed(2)+" after "+edges[k];}).join(", ")+".";
readout.textContent=words;epoch.setAttribute("aria-valuetext","epoch "+data.epochs[i]);
}
[epoch,run,rows].forEach(function(control){control.addEventListener("input",draw);});
draw();
})();
"""
