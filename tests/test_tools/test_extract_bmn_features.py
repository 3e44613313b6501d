"""The tool extract_bmn_features.py: what it says, its errors, and Ctrl-C."""

import json
import sys

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import LoadLocalizationFeature
from tiny_vclr import CHANNELS, REPOSITORY, build_tiny, load_tool, tiny_config

from mmssl_video.generated.untrimmed import write_untrimmed

tool = load_tool('extract_bmn_features')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Three untrimmed videos, a config, a checkpoint."""
    root = tmp_path_factory.mktemp('tool')
    write_untrimmed(root, dict(train=2, val=1), 0, size=(32, 32), fps=10, seconds=(6, 7))
    tiny_config(root, root, 'extract_bmn').dump(root / 'config.py')
    torch.save(dict(state_dict=build_tiny(5).state_dict()), root / 'epoch_1.pth')
    return root


def run(monkeypatch, capsys, *arguments):
    """Standard output of a run that ends well."""
    monkeypatch.setattr(sys, 'argv', ['extract_bmn_features.py', *map(str, arguments)])
    tool.main()
    return capsys.readouterr().out


def arguments(folder, out, weights='epoch_1.pth'):
    anns = [folder / f'anet_anno_{split}.json' for split in ('train', 'val')]
    weights = weights if weights == 'none' else folder / weights
    return [folder / 'config.py', weights, out, '--ann-file', *anns, '--data-root',
            folder / 'videos', '--workers', 0]  # fmt: skip


def test_defaults(folder, tmp_path, monkeypatch, capsys):
    said = run(monkeypatch, capsys, *arguments(folder, tmp_path))
    assert said == (
        f'{tmp_path}: 3 videos; for BMN: feat_dim={CHANNELS}, temporal_dim=100, '
        'feature_extraction_interval=16\n'
    )
    settings = json.loads((tmp_path / 'settings.json').read_text())
    del settings['encoder']
    assert settings == dict(interval=16, clip_len=1, frame_interval=1, bins=100)
    for split, number in (('train', 2), ('val', 1)):
        videos = json.loads((tmp_path / f'anet_anno_{split}.json').read_text())
        # What the generator promises is what the files hold.
        assert videos == json.loads((folder / f'anet_anno_{split}.json').read_text())
        assert len(videos) == number
        for name in videos:
            path = str(tmp_path / 'csv' / f'{name}.csv')
            raw = LoadLocalizationFeature()(dict(feature_path=path))['raw_feature']
            assert raw.shape == (CHANNELS, 100) and np.isfinite(raw).all()


def test_options(folder, tmp_path, monkeypatch, capsys):
    options = ['--interval', 5, '--clip-len', 2, '--frame-interval', 3, '--bins', 20]
    options += ['--batch-size', 7, '--cfg-options', 'feature_pipeline.3.scale=(16,16)']
    out = tmp_path / 'out'
    said = run(monkeypatch, capsys, *arguments(folder, out), *options)
    assert said.endswith('temporal_dim=20, feature_extraction_interval=5\n')
    settings = json.loads((out / 'settings.json').read_text())
    del settings['encoder']
    assert settings == dict(interval=5, clip_len=2, frame_interval=3, bins=20)


def test_random_weights_and_a_missing_video(folder, tmp_path, monkeypatch, capsys, left_out):
    features = []
    for out, seed in (('a', 0), ('b', 0), ('c', 1)):
        run(monkeypatch, capsys, *arguments(folder, tmp_path / out, 'none'), '--seed', seed)
        features.append((tmp_path / out / 'csv' / 'v_val_00000.csv').read_bytes())
    assert features[0] == features[1] != features[2]
    annotations = json.loads((folder / 'anet_anno_val.json').read_text())
    annotations['v_other'] = annotations['v_val_00000']
    (tmp_path / 'more.json').write_text(json.dumps(annotations))
    call = [folder / 'config.py', 'none', tmp_path / 'd', '--ann-file', tmp_path / 'more.json',
            '--data-root', folder / 'videos']  # fmt: skip
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, capsys, *call)
    assert error.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f'error: {folder}/videos: 1 of 2 videos are missing, the first is v_other; add them, or '
        'leave such videos out with --skip-bad'
    )
    said = run(monkeypatch, capsys, *call, '--skip-bad', '--workers', 0)
    assert said.splitlines()[1:] == [
        f'1 videos are left out; their names are in {tmp_path}/d/bad_videos.txt'
    ]


def test_help_and_errors(folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, '--help')
    said = capsys.readouterr().out
    assert 'python tools/extract_bmn_features.py configs/vclr/' in said
    assert "BMN's\n                        feature_extraction_interval must be the same" in said
    example = next(word for word in said.split() if word.startswith('configs/'))
    assert (REPOSITORY / example).is_file()
    call = arguments(folder, tmp_path / 'out')
    for wrong, message in (
        (['no.py', *call[1:]], 'error: no.py: no such config file'),
        ([call[0], 'no.pth', *call[2:]], 'error: no.pth: no such checkpoint'),
        ([*call, '--bins', 1], 'error: bins is 1, '),
    ):
        with pytest.raises(SystemExit) as error:
            run(monkeypatch, capsys, *wrong)
        assert error.value.code == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(message)
    assert not (tmp_path / 'out').exists()


def test_ctrl_c(folder, forks, tmp_path):
    """One word, no traceback from any process, and whole files only."""
    source = folder / 'videos' / 'v_val_00000.mp4'
    annotation = json.loads((folder / 'anet_anno_val.json').read_text())['v_val_00000']
    (tmp_path / 'videos').mkdir()
    names = [f'v_{i:03}' for i in range(500)]
    for name in names:
        (tmp_path / 'videos' / f'{name}.mp4').hardlink_to(source)
    (tmp_path / 'many.json').write_text(json.dumps(dict.fromkeys(names, annotation)))
    stopped = forks.run(
        *('extract_bmn_features.py', folder / 'config.py', 'none', tmp_path / 'out'),
        *('--ann-file', tmp_path / 'many.json', '--data-root', tmp_path / 'videos'),
        stop_when=lambda: len(list((tmp_path / 'out' / 'csv').glob('*.csv'))) >= 3,
    )
    assert stopped.returncode == 130 and stopped.stdout == '', stopped.stderr
    assert stopped.stderr.splitlines()[-1] == 'interrupted' and 'Traceback' not in stopped.stderr
    files = list((tmp_path / 'out' / 'csv').iterdir())
    assert 3 <= len(files) < 500
    assert all(len(file.read_text().splitlines()) == 101 for file in files)
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'csv',
        'lengths',
        'settings.json',
    }
