"""tools/benchmarks/augment.py: what is compared does the same, and each figure is of one thing."""

import json
import random
import sys

import numpy as np
import pytest
from measures import augment
from tiny_vclr import load_tool


def test_the_stacked_chain_makes_the_same_frames():
    """From the same seeds; 8 bit weights of the blur and a rounding of the mean grey apart."""
    steps, groups = augment.read_works()['CVRL']
    outs = []
    for make in (augment.make_own, augment.make_stacked):
        random.seed(2)
        np.random.seed(2)
        outs.append(np.stack(make(steps)(groups)).astype(int))
    error = np.abs(outs[0] - outs[1])
    assert error.max() <= 10 and error.mean() < 1


def test_figures(tmp_path, monkeypatch):
    out = tmp_path / 'augment.json'
    options = f'--turns 1 --samples 1 --busy 0 --out {out}'
    monkeypatch.setattr(sys, 'argv', ['augment.py', *options.split()])
    works = {name: work for name, work in augment.read_works().items() if name in ('VCLR', 'grey')}
    monkeypatch.setattr(augment, 'read_works', lambda: works)
    load_tool('benchmarks/augment').main()
    rows = {(row['work'], row['contender']): row for row in json.loads(out.read_text())['rows']}
    assert {work for work, _ in rows} == set(works)
    assert rows['VCLR', 'device']['frames'] == 9 and rows['grey', augment.OURS]['frames'] == 16
    for (work, _), row in rows.items():
        own = rows[work, augment.OURS]['ms_a_frame']['median']
        ratio = row['times_ours']['median']
        assert ratio == pytest.approx(row['ms_a_frame']['median'] / own) and ratio > 0
