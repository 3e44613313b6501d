"""From Python: what the tools do, in a few lines."""

import json
import re
import shutil
from copy import deepcopy

import matplotlib
import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_vclr import CHANNELS, REPOSITORY, tiny_config, write_videos

from mmssl_video import Encoder, nearest_neighbours, pretrain
from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('api') / 'videos', 5)


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    path = tmp_path_factory.mktemp('api') / 'config.py'
    tiny_config('', '', 'api', epochs=2).dump(path)
    return Config.fromfile(path)


@pytest.fixture(scope='module')
def checkpoint(cfg, videos, tmp_path_factory):
    return pretrain(cfg, videos, tmp_path_factory.mktemp('api') / 'work', seed=3)


def assert_same(one, other):
    """Whether two checkpoints have the same weights, to the bit."""
    one, other = (torch.load(path, weights_only=False)['state_dict'] for path in (one, other))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_pretrain_does_what_train_py_does(cfg, videos, checkpoint, forks, tmp_path):
    assert checkpoint.name == 'epoch_2.pth' and cfg.train_dataloader.dataset.data_prefix.video == ''
    folder = f'train_dataloader.dataset.data_prefix.video={videos}'
    args = cfg.filename, '--seed', 3, '--work-dir', tmp_path / 'w'
    done = forks.run('train.py', *args, '--cfg-options', folder)
    assert done.returncode == 0, done.stderr
    assert_same(checkpoint, tmp_path / 'w/epoch_2.pth')
    before = checkpoint.stat().st_mtime_ns
    assert pretrain(cfg, videos, checkpoint.parent, seed=3) == checkpoint  # which is not run again
    assert checkpoint.stat().st_mtime_ns == before


def test_a_longer_run_goes_on(cfg, videos, checkpoint, tmp_path):
    first = pretrain(cfg, videos, tmp_path, seed=3, options={'train_cfg.max_epochs': 1})
    assert first == tmp_path / 'epoch_1.pth'
    last = pretrain(cfg, videos, tmp_path, seed=3)
    assert torch.load(last, weights_only=False)['meta']['epoch'] == 2
    assert_same(last, checkpoint)


def test_a_run_of_other_settings_is_not_taken_for_this_one(cfg, videos, checkpoint, tmp_path):
    with pytest.raises(UserError, match=r'epoch_2.pth .* \(seed: 3 and 4\); .* `work_dir=DIR`$'):
        pretrain(cfg, videos, checkpoint.parent, seed=4)
    cfg = deepcopy(cfg)
    cfg.custom_hooks.append(dict(type='ResumeCheckHook'))
    one = {'train_cfg.max_epochs': 1}
    first = pretrain(cfg, videos, tmp_path, options=one)
    assert pretrain(cfg, videos, tmp_path, options=one) == first
    with pytest.raises(UserError, match=r'\(optim_wrapper.optimizer.lr: 0.05 and 0.1\)'):
        pretrain(cfg, videos, tmp_path, options={'optim_wrapper.optimizer.lr': 0.1} | one)


@pytest.mark.parametrize('name', ['clip', 'clip 7', ' lead.mp4', 'new\nline.mp4', 'lat\udce9'])
def test_features_of_any_name(cfg, videos, checkpoint, tmp_path, name):
    """A list could not hold these names, or would read them as others."""
    shutil.copy(videos / 'video_0.mp4', tmp_path / 'clip')
    shutil.copy(videos / 'video_3.mp4', tmp_path / name)
    encoder = Encoder(cfg, checkpoint)
    found = encoder.features(tmp_path / name, labels=np.array([2], np.uint8), num_workers=0)
    assert found.names.tolist() == [name] and found.labels.tolist() == [2]
    same = encoder.features(videos, num_workers=0).features[3:4]
    np.testing.assert_allclose(found.features, same, rtol=1e-5, atol=1e-7)


def test_features_of_paths_folders_and_arrays(cfg, videos, checkpoint):
    encoder = Encoder(cfg, checkpoint)
    of_folder = encoder.features(videos, num_workers=0)
    assert of_folder.features.shape == (5, CHANNELS) and (of_folder.labels == -1).all()
    paths = [videos / f'video_{number}.mp4' for number in (4, 2)]
    some = encoder.features(paths, labels=[1, 0], num_workers=0)
    assert some.names.tolist() == ['video_4.mp4', 'video_2.mp4'] and some.labels.tolist() == [1, 0]
    rows = [of_folder.names.tolist().index(name) for name in some.names]
    np.testing.assert_allclose(some.features, of_folder.features[rows], rtol=1e-5, atol=1e-7)
    arrays = []
    for path in paths:
        with VideoReader(path) as video:
            arrays.append(video.get_batch(range(len(video))))
    np.testing.assert_allclose(
        encoder.features_of_arrays(arrays), some.features, rtol=1e-5, atol=1e-7
    )
    indices, similarities = nearest_neighbours(of_folder, some, k=1)
    assert indices[:, 0].tolist() == rows
    np.testing.assert_allclose(similarities, 1, atol=1e-6)


def test_backbone_has_the_weights_of_the_checkpoint_or_of_the_seed(cfg, checkpoint):
    backbone = Encoder(cfg, checkpoint).backbone
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, state[f'backbone.{name}'])
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, CHANNELS, 8, 8)
    weights = [Encoder(cfg, seed=seed).backbone.layers[0].weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_configs_of_the_package_and_wrong_ones(cfg, videos, tmp_path):
    recipe = 'mmssl_video::cvrl/cvrl_r3d-r18_1x32-12x2x2-40e_folder-rgbdiff.py'
    found = Encoder(recipe).features_of_arrays([np.zeros((3, 40, 60, 3), np.uint8)])
    assert found.shape == (1, 128)
    with pytest.raises(UserError, match='no.py: no such config file'):
        Encoder(tmp_path / 'no.py')
    with pytest.raises(UserError, match='max_epoch'):
        pretrain(cfg, videos, tmp_path, options={'train_cfg.max_epoch': 1})
    with pytest.raises(UserError, match='has no video'):
        Encoder(cfg).features([])
    for folder in (str(tmp_path / 'absent'), 'nowhere://bucket/videos'):
        with pytest.raises(UserError, match=f'^{folder}: (no such folder|MMEngine has no file)'):
            Encoder(cfg).features(folder)
    with pytest.raises(ValueError, match='not for a folder'):
        Encoder(cfg).features(videos, labels=[1] * 5)
    with pytest.raises(ValueError, match='zip'):
        Encoder(cfg).features([videos / 'video_0.mp4'], labels=[1, 2])


def test_the_page_is_run(cfg, videos, tmp_path, monkeypatch, capsys):
    page = (REPOSITORY / 'docs/python.md').read_text()
    code = re.search(r'```python\n(.*?)```', page, re.DOTALL)[1]
    shutil.copytree(videos, tmp_path / 'VIDEO_DIR')
    for number, name in enumerate('ab'):
        (tmp_path / f'VIDEO_DIR/video_{number}.mp4').rename(tmp_path / f'VIDEO_DIR/{name}.mp4')
    monkeypatch.chdir(tmp_path)
    exec(re.sub("'mmssl_video::.*?'", repr(cfg.filename), code), {})
    printed = capsys.readouterr().out.partition("[['")[2]
    assert printed.count('.mp4') == 10 and printed.startswith("a.mp4' ")


def test_the_notebook_is_run(tmp_path, monkeypatch, capsys):
    """With few videos, for an epoch: neighbours in green are of the class of their query."""
    notebook = json.loads((REPOSITORY / 'docs/pretrain_and_look.ipynb').read_text())
    cells = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    monkeypatch.chdir(tmp_path)
    matplotlib.use('agg')
    names = {}
    for cell in cells:
        code = ''.join(cell['source'])
        exec(code.replace('mmssl_video::', f'{REPOSITORY}/configs/'), names)
        if 'parameters' in cell['metadata'].get('tags', ()):
            names.update(num_train=2, num_test=2, epochs=1)
    printed = [line for line in capsys.readouterr().out.splitlines() if 'R@1' in line]
    for line, title in zip(printed, ('random weights', 'pretrained'), strict=True):
        assert re.fullmatch(rf'{title}: R@1 \d+\.\d %, chance 4\.3 %', line)  # 1 of 23
    assert names['checkpoint'].is_file()
    for number, axes in enumerate(names['axes']):
        titles = [axis.get_title() for axis in axes]
        assert titles[0] == names['CLASSES'][number] and len(titles) == 6
        colors = ['green' if title == titles[0] else 'red' for title in titles]
        assert [axis.title.get_color() for axis in axes] == colors
        assert all(axis.images[0].get_array().shape == (72, 96, 3) for axis in axes)
