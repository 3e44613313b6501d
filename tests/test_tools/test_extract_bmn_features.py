"""The tool extract_bmn_features.py: what it says, its errors, and Ctrl-C."""

import json

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import LoadLocalizationFeature
from tiny_vclr import CHANNELS, build_tiny, tiny_config

from mmssl_video.generated.untrimmed import write_untrimmed


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two untrimmed videos, a config, a checkpoint."""
    root = tmp_path_factory.mktemp('tool')
    write_untrimmed(root, dict(train=1, val=1), 0, size=(32, 32), fps=10, seconds=(6, 7))
    tiny_config(root, root, 'extract_bmn').dump(root / 'config.py')
    torch.save(dict(state_dict=build_tiny(5).state_dict()), root / 'epoch_1.pth')
    return root


@pytest.fixture
def run(folder, tool_runner):
    """``run(out, *options, ...)`` -> exit status and output."""

    def run(out, *options, config=folder / 'config.py', weights='none', anns=None):
        anns = anns or [folder / f'anet_anno_{split}.json' for split in ('train', 'val')]
        options = ['--ann-file', *anns, '--data-root', folder / 'videos', '--workers', 0, *options]
        return tool_runner('extract_bmn_features')(config, weights, out, *options)

    return run


def read_settings(out):
    settings = json.loads((out / 'settings.json').read_text())
    del settings['encoder']
    return settings


def test_defaults(folder, run, tmp_path):
    status, said = run(tmp_path, weights=folder / 'epoch_1.pth')
    assert status == 0 and said.out == (
        f'{tmp_path}: 2 videos; for BMN: feat_dim={CHANNELS}, temporal_dim=100, '
        'feature_extraction_interval=16\n'
    )
    settings = dict(interval=16, clip_len=1, frame_interval=1, bins=100)
    assert read_settings(tmp_path) == settings
    for split in ('train', 'val'):
        videos = json.loads((tmp_path / f'anet_anno_{split}.json').read_text())
        # What the generator promises is what the files hold.
        assert videos == json.loads((folder / f'anet_anno_{split}.json').read_text())
        (name,) = videos
        path = str(tmp_path / f'csv/{name}.csv')
        raw = LoadLocalizationFeature()(dict(feature_path=path))['raw_feature']
        assert raw.shape == (CHANNELS, 100) and np.isfinite(raw).all()


def test_options(run, tmp_path):
    options = ['--interval', 5, '--clip-len', 2, '--frame-interval', 3, '--bins', 20]
    options += ['--batch-size', 7, '--cfg-options', 'feature_pipeline.3.scale=(16,16)']
    status, said = run(tmp_path, *options)
    assert status == 0 and said.out.endswith('temporal_dim=20, feature_extraction_interval=5\n')
    assert read_settings(tmp_path) == dict(interval=5, clip_len=2, frame_interval=3, bins=20)


def test_random_weights_and_a_missing_video(folder, run, tmp_path):
    features = []
    for out, seed in (('a', 0), ('b', 0), ('c', 1)):
        assert run(tmp_path / out, '--seed', seed)[0] == 0
        features.append((tmp_path / out / 'csv/v_val_00000.csv').read_bytes())
    assert features[0] == features[1] != features[2]
    annotations = json.loads((folder / 'anet_anno_val.json').read_text())
    annotations['v_other'] = annotations['v_val_00000']
    (tmp_path / 'more.json').write_text(json.dumps(annotations))
    status, said = run(tmp_path / 'd', anns=[tmp_path / 'more.json'])
    assert status == 2 and said.err.splitlines()[-1] == (
        f'error: {folder}/videos: 1 of 2 videos are missing, the first is v_other; add them, or '
        'leave such videos out with --skip-bad'
    )
    status, said = run(tmp_path / 'd', '--skip-bad', anns=[tmp_path / 'more.json'])
    assert status == 0 and said.out.splitlines()[1:] == [
        f'1 videos are left out; their names are in {tmp_path}/d/bad_videos.txt'
    ]


@pytest.mark.parametrize(
    ('options', 'changes', 'message'),
    [
        ([], dict(config='no.py'), 'error: no.py: no such config file'),
        ([], dict(weights='no.pth'), 'error: no.pth: no such checkpoint'),
        (['--bins', 1], {}, 'error: bins is 1, '),
    ],
)
def test_errors(run, tmp_path, options, changes, message):
    status, said = run(tmp_path / 'out', *options, **changes)
    assert status == 2 and said.err.splitlines()[-1].startswith(message)
    assert not (tmp_path / 'out').exists()


def test_ctrl_c(folder, forks, tmp_path):
    """One word, no traceback from any process, and whole files only."""
    source = folder / 'videos/v_val_00000.mp4'
    annotation = json.loads((folder / 'anet_anno_val.json').read_text())['v_val_00000']
    (tmp_path / 'videos').mkdir()
    names = [f'v_{i:03}' for i in range(200)]
    for name in names:
        (tmp_path / f'videos/{name}.mp4').hardlink_to(source)
    (tmp_path / 'many.json').write_text(json.dumps(dict.fromkeys(names, annotation)))
    out = tmp_path / 'out'
    stopped = forks.run(
        *('extract_bmn_features.py', folder / 'config.py', 'none', out),
        *('--ann-file', tmp_path / 'many.json', '--data-root', tmp_path / 'videos'),
        stop_when=lambda: len(list((out / 'csv').glob('*.csv'))) >= 3,
    )
    assert stopped.returncode == 130 and stopped.stdout == '', stopped.stderr
    assert stopped.stderr.splitlines()[-1] == 'interrupted' and 'Traceback' not in stopped.stderr
    assert {path.name for path in out.iterdir()} == {'csv', 'lengths', 'settings.json'}
    files = list((out / 'csv').iterdir())
    assert 3 <= len(files) < 200
    assert all(len(file.read_text().splitlines()) == 101 for file in files)
