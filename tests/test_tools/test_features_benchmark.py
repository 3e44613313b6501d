"""tools/benchmarks/features.py: the work that is compared is the same, and so are the batches."""

import json
import sys

import pytest
import torch
from measures import features
from tiny_vclr import TinyBackbone, load_tool, tiny_config, write_videos


def test_figures(tmp_path, monkeypatch, capsys):
    """Five batches of two out of three videos, in a turn that warms up and in one that counts."""
    videos = write_videos(tmp_path / 'videos', 3)
    tiny_config(videos, tmp_path / 'work', 'features benchmark').dump(tmp_path / 'tiny.py')
    out = tmp_path / 'features.json'
    options = '--batch-size 2 --batches 5 --workers 1 --turns 1 --num-frames 4 --amp bfloat16'
    argv = ['', '--config', tmp_path / 'tiny.py', '--videos', videos, '--out', out]
    monkeypatch.setattr(sys, 'argv', [*map(str, argv), *options.split()])
    seen = []
    forward = TinyBackbone.forward

    def noted(self, images):
        maps = forward(self, images)
        seen.append((images.double().sum().item(), len(images), maps.dtype))
        return maps

    monkeypatch.setattr(TinyBackbone, 'forward', noted)
    load_tool('benchmarks/features').main()
    passes = [seen[first : first + 5] for first in range(0, len(seen), 5)]
    assert len(passes) == 4 * 2
    bare = passes[0]
    # Those of the bare forward are the first four and the first again; workers keep no order.
    assert bare[4] == bare[0] and len({*bare}) == 3
    assert all({*batches} == {*bare} for batches in passes)
    assert {*bare[0][1:]} == {8, torch.bfloat16}
    rows = {row['contender']: row for row in json.loads(out.read_text())['rows']}
    assert list(rows) == [features.BARE, features.FEATURES, features.KEPT, features.ALONE]
    printed = capsys.readouterr().out
    for row in rows.values():
        speed, share = row['videos_a_second']['median'], row['of_bare_forward']['median']
        assert share == pytest.approx(speed / rows[features.BARE]['videos_a_second']['median'])
        assert f'{speed:.2f}' in printed
