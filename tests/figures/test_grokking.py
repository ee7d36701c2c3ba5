import numpy as np
import pytest

from entk_tutorial import plotting
from entk_tutorial.figures.grokking import against_controls, lead_chart, lead_table, stills

LEADS = {"early": [40, 42, 41], "late": [1, -3, 2], "never": [-400, -401, -399]}
ALARMED = {"early": [1, 1, 1], "late": [1, 1, 0], "never": [0, 0, 0]}


def test_the_table_sorts_by_median_and_leaves_out_leads_that_are_none():
    false = {"30 %": {name: [0, 1, 1] for name in LEADS}}
    lines = str(lead_table(LEADS, ALARMED, false)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["early", "late", "never"]
    assert lines[1].split()[2:] == ["41", "40", "to", "42", "3", "2"]
    assert lines[2].split()[2:] == ["-1", "-3", "to", "1", "2", "2"]
    assert lines[3].split()[2:] == ["–", "–", "0", "2"]


def test_the_chart_has_a_row_a_measure_and_says_how_many_seeds_are_off_the_axis():
    alarms = {name: ["0", "20"] for name in LEADS}
    kernel = {"early": True, "late": False, "never": False}
    [axis] = lead_chart(LEADS, alarms, ["a", "b"], kernel=kernel).axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["never", "late", "early"]
    texts = [t.get_text() for t in axis.texts]
    assert "← 3" in texts and texts.count("20") == 3
    marks = sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() in plotting.MARKERS)
    assert marks == 6  # two measures of three seeds; the third is off the axis


def test_stills_show_the_frames_asked_for_and_no_constant_mode():
    spectrum = np.tile(np.linspace(1, 0.1, 12), (3, 1))
    shares = np.full((3, 4, 12), 255, np.uint8)
    figure = stills([0, 5, 10], spectrum, shares, (0, 10), edges=(4,))
    assert [a.get_title() for a in figure.axes[:2]] == ["epoch 0", "epoch 10"]
    picture = figure.axes[2].images[0].get_array()
    assert picture[:, 0].max() == 0 and picture[:, 1:].min() == 1
    assert shares.min() == 255  # what was given is left alone
    with pytest.raises(ValueError, match=r"epochs \[7\] were not recorded"):
        stills([0, 5, 10], spectrum, shares, (7,), edges=(4,))


def test_every_run_is_a_line_and_every_group_has_one_name():
    _, (axis,) = plotting.panels(1)
    runs = np.zeros((3, 4))
    against_controls(axis, [0, 1, 2, 3], runs, runs[:2], (-1, 1), label="x", near=runs[:1])
    assert len(axis.lines) == 6 and len(axis.get_legend_handles_labels()[1]) == 4
