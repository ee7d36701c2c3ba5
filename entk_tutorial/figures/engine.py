"""Tables of the engine's stored benchmark: what each kernel costs beside its peer, and which aims were missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["aims", "costs_beside_peers", "exponents"]

_COLUMNS = ("seconds", "memory (GB)", "peer", "its seconds", "times faster")
_TIME = ("time", "trace by layer, time")
_SHORT = {
    "dense eigh of the flat kernel": "dense eigensolver",
    "tile by tile, all pairs of classes": "all pairs, in tiles",
    "neural-tangents, structured derivatives": "neural-tangents",
}


def _peer(told: str) -> dict[str, str]:
    """Name and seconds of a peer from the words of its row; a star where the seconds are extrapolated."""
    name, _, rest = told.partition(": ")
    star = "*" if "extrapolated" in rest else ""
    return {"peer": _SHORT.get(name, name), "its seconds": _whole(float(rest.split(" ")[0])) + star}


def _whole(value: float) -> str:
    """Three digits, never as a power of ten."""
    return f"{float(f'{value:.3g}'):,.10g}"


def costs_beside_peers(stored: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """One row a kernel: seconds, gigabytes, the peer, its seconds (* extrapolated), and how many times ours they are.

    What was not measured is an empty text.

    Args:
        stored: what :func:`entk_tutorial.results.load_benchmark` gives for ``"engine"``.

    Example:
        >>> time = {"work": "w", "figure": "time", "unit": "s", "ours": 0.5, "limit": 1.0, "met": True, "peer": ""}
        >>> faster = time | {"figure": "times faster", "unit": "x", "ours": 40.0, "peer": "dense eigh: 20 s"}
        >>> costs_beside_peers({"rows": [time, faster]})["w"]
        {'seconds': '0.5', 'memory (GB)': '', 'peer': 'dense eigh', 'its seconds': '20', 'times faster': '40'}

    Chapter: book/microscope/computing-entk.
    """
    out: dict[str, dict[str, str]] = {}
    for row in stored["rows"]:
        name, value = row["figure"], f"{row['ours']:.3g}"
        entry = out.setdefault(row["work"], dict.fromkeys(_COLUMNS, ""))
        if name in _TIME:
            entry["seconds"] = value
        elif name == "top 460 pairs, time":
            out[f"its 460 leading eigenpairs, {row['work'].split(', ')[2]}"] = {"seconds": value}
        elif name == "memory":
            entry["memory (GB)"] = value
        elif name == "times faster":
            entry |= _peer(row["peer"]) | {"times faster": _whole(row["ours"])}
        elif name in ("times faster, peer NT", "the same, without factor"):
            label = "the same" if "peer" in name else "the same, without the shared factor"
            out[label] = _peer(row["peer"]) | {"times faster": value}
    return {work: entry for work, entry in out.items() if any(entry.values())}


def aims(stored: Mapping[str, Any], *, met: bool) -> dict[str, dict[str, str]]:
    """Figures that had an aim before the run, and met it or missed it: measured, and the aim.

    Args:
        stored: as above.
        met: which of the two.

    Example:
        >>> row = {"work": "w", "figure": "time", "unit": "s", "ours": 0.5, "limit": 1.0, "at_most": True, "met": True}
        >>> aims({"rows": [row]}, met=True)
        {'w: time': {'measured': '0.5 s', 'aim': 'at most 1 s'}}

    Chapter: book/microscope/computing-entk.
    """
    return {
        f"{row['work']}: {row['figure']}": {
            "measured": f"{row['ours']:.3g} {row['unit']}".strip(),
            "aim": f"{'at most' if row['at_most'] else 'at least'} {row['limit']:g} {row['unit']}".strip(),
        }
        for row in stored["rows"]
        if row["met"] is met
    }


def exponents(stored: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """How time grows with inputs, neurons and outputs: fitted exponents, and those of the counted products.

    Args:
        stored: as above.

    Example:
        >>> row = {"work": "w", "figure": "exponent of inputs", "ours": 1.6, "note": "products counted 2.00"}
        >>> exponents({"rows": [row]})
        {'inputs': {'measured': '1.60', 'counted': '2.00'}}

    Chapter: book/beyond/scaling-up.
    """
    return {
        row["figure"].removeprefix("exponent of "): {
            "measured": f"{row['ours']:.2f}",
            "counted": row["note"].rsplit(" ", 1)[-1],
        }
        for row in stored["rows"]
        if row["figure"].startswith("exponent of ") and "off" not in row["figure"]
    }
