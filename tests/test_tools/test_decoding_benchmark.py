"""tools/benchmarks/decoding.py: both readers read what is drawn; each figure is of one thing."""

import json
import sys

import pytest
from measures import decoding
from tiny_vclr import load_tool, write_videos


def test_figures(tmp_path, monkeypatch, capsys):
    pytest.importorskip('decord')
    path = write_videos(tmp_path, 1, num_frames=64) / 'video_0.mp4'
    drawn = {}
    for name, read in decoding.READERS.items():

        def noted(path, indices, name=name, read=read):
            drawn.setdefault(name, []).append((path.name, *indices))
            read(path, indices)

        monkeypatch.setitem(decoding.READERS, name, noted)
    out = tmp_path / 'decoding.json'
    monkeypatch.setattr(sys, 'argv', ['', str(path), '--turns', '1', '--out', str(out)])
    load_tool('benchmarks/decoding').main()
    # Four files and two patterns, in the turn that warms up and in the one that counts.
    assert sorted(drawn[decoding.OURS]) == sorted(drawn[decoding.BASELINE])
    assert len(drawn[decoding.OURS]) == len({*drawn[decoding.OURS]}) == 4 * 2 * 2
    rows = json.loads(out.read_text())['rows']
    printed = capsys.readouterr().out
    for row in rows:
        ours, theirs = (row['ms'][name]['median'] for name in (decoding.OURS, decoding.BASELINE))
        assert row['of_decord']['median'] == pytest.approx(ours / theirs)
        assert f'{ours:.1f}' in printed and f'{theirs:.1f}' in printed
    sizes = [row['size'] for row in rows if row['frames'] == '6 random']
    assert len(rows) == 8 and sizes[0] == path.stat().st_size and sizes[3] == max(sizes)


def test_short_videos_are_refused(tmp_path, monkeypatch, capsys):
    pytest.importorskip('decord')
    path = write_videos(tmp_path, 1) / 'video_0.mp4'
    monkeypatch.setattr(sys, 'argv', ['', str(path)])
    with pytest.raises(SystemExit):
        load_tool('benchmarks/decoding').main()
    assert 'has 12 frames; take one of 64 or more' in capsys.readouterr().err
