"""train.py, extract_features.py and convert_weights.py, from command line to file.

Most tests call a tool's ``main`` in this process; exit status and one process per rank are tested
on real processes.
"""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmaction.models import VisionTransformer
from mmengine.runner import Runner
from tiny_vclr import (
    CHANNELS,
    REPOSITORY,
    build_tiny,
    call_tool,
    load_tool,
    tiny_config,
    write_videos,
)

from mmssl_video.checkpoints.loading import load_checkpoint_file


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Nine videos, two batches of four and one to spare."""
    return write_videos(tmp_path_factory.mktemp('tools') / 'videos', 9)


@pytest.fixture
def config(videos, tmp_path):
    """``config(**changes of the model)`` writes a config file and returns its path."""

    def write(**changes):
        # The name is that of MMEngine's logger and message hub: one of its own for each run.
        cfg = tiny_config(videos, tmp_path / 'work', os.fspath(tmp_path), **changes)
        cfg.dump(tmp_path / 'tiny.py')
        return str(tmp_path / 'tiny.py')

    return write


def error_line(text):
    """The one line that tells the user what is wrong."""
    lines = [line for line in text.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1, text
    assert 'Traceback' not in text
    return lines[0]


def scalars(work_dir):
    """What was logged at each iteration."""
    entries = []
    for file in sorted(work_dir.glob('*/vis_data/scalars.json')):
        entries += [json.loads(line) for line in file.read_text().splitlines()]
    return entries


# Training -----------------------------------------------------------------------------------------


def test_resume_without_a_checkpoint_starts_from_load_from(config, tmp_path, monkeypatch):
    """The same command starts from given weights and, once there is a checkpoint, resumes."""
    train = load_tool('train')
    options = ('--cfg-options', f'load_from={tmp_path / "moco.pth"}')
    args = ['train.py', config(), '--work-dir', str(tmp_path / 'w'), '--resume', *options]
    monkeypatch.setattr(sys, 'argv', args)
    monkeypatch.setenv('LOCAL_RANK', '0')
    cfg = train.load_config(train.parse_args())
    assert (cfg.resume, cfg.load_from) == (False, str(tmp_path / 'moco.pth'))
    monkeypatch.setattr(
        'mmssl_video.engine.training.find_checkpoint', lambda folder: Path(folder, 'epoch_1.pth')
    )
    cfg = train.load_config(train.parse_args())
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'w' / 'epoch_1.pth'))


def test_train_in_two_processes(config, forks, tmp_path):
    """On a CPU, with --amp: the queue takes the batches of both."""
    options = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2')
    log = tmp_path / 'log'
    ranks = forks.start_ranks('train.py', config(), '--amp', *options, log=log, world=2)
    assert forks.wait(*ranks) == [0, 0], (tmp_path / 'log.0').read_text()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert len(re.findall('objective inter:', log.read_text())) == 1  # by the first process alone
    entries = scalars(tmp_path / 'work')
    assert len(entries) == 2  # nine videos in batches of two times two, without what is left
    assert all(np.isfinite(entry['loss']) for entry in entries)
    state = load_checkpoint_file(tmp_path / 'work/epoch_1.pth')['state_dict']
    assert state['heads.video.queue.num_filled'] == 8
    lengths = state['heads.video.queue.embeddings'][:8].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(8))
    assert not any(key.startswith('module.') for key in state)


def test_train_in_bfloat16(config, tmp_path, monkeypatch):
    """--amp on a CPU: products in bfloat16, weights, queue and losses in float32."""
    assert call_tool('train', config(), '--amp', '--seed', 4, monkeypatch=monkeypatch) == 0
    checkpoint = load_checkpoint_file(tmp_path / 'work/epoch_2.pth')
    assert checkpoint['state_dict']['heads.inter.queue.num_filled'] == 16
    for key, value in checkpoint['state_dict'].items():
        assert value.dtype in (torch.float32, torch.int64), key
    assert "type='Bf16OptimWrapper'" in (tmp_path / 'work/tiny.py').read_text()
    entries = scalars(tmp_path / 'work')
    assert len(entries) == 4
    assert all(0 < entry['loss_intra'] < 5 for entry in entries)


def test_objectives_are_switched_off_from_the_command_line(config, tmp_path, monkeypatch):
    status = call_tool(
        'train',
        config(epochs=1),
        *('--cfg-options', 'model.heads.order=None', 'model.heads.inter=None'),
        monkeypatch=monkeypatch,
    )
    assert status == 0
    logged = scalars(tmp_path / 'work')[0].keys()
    assert {key for key in logged if key.startswith('loss_')} == {'loss_intra', 'loss_video'}
    assert load_checkpoint_file(tmp_path / 'work/epoch_1.pth')['meta']['seed'] == 3


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (
            ['model.heads.order.type=OrderHaed'],
            "model.heads.order.type: 'OrderHaed' is not registered; did you mean 'OrderHead'?",
        ),
        (
            ['model.heads.video.queue_size=3'],
            'model.heads.video: a queue of 3 is smaller than what all processes enqueue at once, '
            '4; set',
        ),
        (['train_dataloader.dataset.data_prefix.video=EMPTY'], 'EMPTY: found no videos'),
        (['train_dataloader.dataset.data_prefix.video=MISSING'], 'MISSING: no such folder'),
        (['train_dataloader.dataset.ann_file=LIST'], 'LIST, line 2: '),
        (['train_dataloader.dataset.data_prefix.video=TEXT'], 'notes.mp4 holds text, not a video'),
        (['train_dataloader.dataset.data_prefix.video=ZERO'], 'none.mp4 is empty (0 bytes)'),
        (['train_dataloader.dataset.data_prefix.video=CUT'], 'cut.mp4 cannot be read'),
        (
            ['train_dataloader.batch_size=10', 'model.heads.inter.queue_size=20'],
            '9 videos are fewer than one batch of 10; lower train_dataloader.batch_size',
        ),
        (['model.heads.intra.query_view=5'], 'the heads read view 5, but the pipeline makes views'),
    ],
)
def test_errors_are_one_line(config, videos, tmp_path, monkeypatch, capsys, options, words):
    for name, file, content in (
        ('EMPTY', None, b''),
        ('TEXT', 'notes.mp4', b'just text'),
        ('ZERO', 'none.mp4', b''),
        ('CUT', 'cut.mp4', (videos / 'video_0.mp4').read_bytes()[:300]),
    ):
        (tmp_path / name).mkdir()
        if file:
            for number in range(4):
                (tmp_path / name / f'{number}{file}').write_bytes(content)
    (tmp_path / 'LIST').write_text('video_0.mp4 1\nvideo_99.mp4 2\n')
    options = [
        re.sub(r'=([A-Z]+)$', lambda match: f'={tmp_path / match[1]}', option) for option in options
    ]
    status = call_tool('train', config(), '--cfg-options', *options, monkeypatch=monkeypatch)
    output = capsys.readouterr()
    assert status == 2
    assert words in error_line(output.err)
    assert not list((tmp_path / 'work').glob('*.pth'))


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['no/such/config.py'], 'no/such/config.py: no such config file'),
        (['CONFIG', '--resume', 'no.pth'], '--resume no.pth: no such checkpoint'),
        (['CONFIG', '--auto-scale-lr'], 'has no auto_scale_lr.base_batch_size'),
    ],
)
def test_errors_of_the_command_line(config, monkeypatch, capsys, args, words):
    args = [config() if arg == 'CONFIG' else arg for arg in args]
    assert call_tool('train', *args, monkeypatch=monkeypatch) == 2
    assert words in error_line(capsys.readouterr().err)


@pytest.mark.parametrize('counts', [1, 4])
def test_auto_scale_lr_counts_accumulated_batches(config, monkeypatch, counts):
    """The rate is for 8 videos; a step is made of ``counts`` batches of 4."""
    rates = []

    def note(runner):
        wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.scale_lr(wrapper, runner.auto_scale_lr)
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        assert runner.cfg.auto_scale_lr.base_batch_size == 8  # as the next run will read it

    monkeypatch.setattr(Runner, 'train', note)
    options = (
        'auto_scale_lr.enable=True',
        'auto_scale_lr.base_batch_size=8',
        f'optim_wrapper.accumulative_counts={counts}',
    )
    assert call_tool('train', config(), '--cfg-options', *options, monkeypatch=monkeypatch) == 0
    assert rates == [pytest.approx(0.05 * 4 * counts / 8)]


def test_exit_status_of_an_error(config, forks, tmp_path):
    """A folder without a video, in a worker-free process: status 2, one line, no traceback."""
    (tmp_path / 'empty').mkdir()
    videos = f'train_dataloader.dataset.data_prefix.video={tmp_path / "empty"}'
    done = forks.run('train.py', config(), '--cfg-options', videos, cwd=tmp_path)
    assert done.returncode == 2
    assert 'empty: found no videos' in error_line(done.stderr)


def test_an_error_in_a_worker_is_one_line_too(config, videos, tmp_path, monkeypatch, capsys):
    (tmp_path / 'cut').mkdir()
    for number in range(4):
        (tmp_path / f'cut/{number}.mp4').write_bytes((videos / 'video_0.mp4').read_bytes()[:300])
    status = call_tool(
        'train',
        config(),
        '--cfg-options',
        f'train_dataloader.dataset.data_prefix.video={tmp_path / "cut"}',
        'train_dataloader.num_workers=1',
        monkeypatch=monkeypatch,
    )
    assert status == 2
    assert re.search(r'/cut/\d.mp4 cannot be read', error_line(capsys.readouterr().err))


def test_labelled_lists_are_checked_before_the_run(videos, tmp_path, monkeypatch, capsys):
    """The tools compare the labels with the classes, and look for the videos."""
    config = REPOSITORY / 'configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py'
    lists = dict(good='video_0.mp4 0\nvideo_1.mp4 11\n', high='video_0.mp4 0\nvideo_1.mp4 12\n')
    lists['gone'] = 'video_0.mp4 0\nvideo_99.mp4 1\n'
    for name, content in lists.items():
        (tmp_path / f'{name}.txt').write_text(content)
    (tmp_path / 'any.pth').write_bytes(b'')
    label = 'line 2: .*video_1.mp4 has label 12, but model.cls_head.num_classes is 12, for labels '
    for tool, names, words in (
        ('train', dict(val='high'), f'high.txt, {label}0 to 11; set model.cls_head.num_classes=13'),
        ('test', dict(test='gone'), 'gone.txt, line 2: .*/video_99.mp4 does not exist; check '),
    ):
        options = ['load_from=None']
        for part in ('train', 'val', 'test'):
            data = f'{part}_dataloader.dataset'
            options.append(f'{data}.ann_file={tmp_path}/{names.get(part, "good")}.txt')
            options.append(f'{data}.data_prefix.video={videos}')
        checkpoint = [tmp_path / 'any.pth'] if tool == 'test' else []
        args = (config, *checkpoint, '--work-dir', tmp_path / 'work', '--cfg-options', *options)
        assert call_tool(tool, *args, monkeypatch=monkeypatch) == 2
        assert re.search(words, error_line(capsys.readouterr().err))


# Features -----------------------------------------------------------------------------------------


def extract(config, checkpoint, out, videos, *args, monkeypatch):
    return call_tool(
        'extract_features',
        *(config, checkpoint, out, '--data-root', videos, '--workers', 0, *args),
        monkeypatch=monkeypatch,
    )


def test_extract_features(config, videos, tmp_path, monkeypatch, capsys):
    """By random weights and by a checkpoint; the file has what the other tools read."""
    (tmp_path / 'list.txt').write_text('video_3.mp4 1\nvideo_1.mp4 0\n')
    torch.save(dict(state_dict=build_tiny(8).state_dict()), tmp_path / 'c.pth')
    files = {}
    for name, checkpoint, extra in (
        ('random', 'none', ('--seed', 5)),
        ('same', 'none', ('--seed', 5)),
        ('other', 'none', ('--seed', 6)),
        ('pretrained', tmp_path / 'c.pth', ()),
        ('two frames', tmp_path / 'c.pth', ('--num-frames', 2)),
    ):
        out = tmp_path / f'{name}.npz'
        args = ('--ann-file', tmp_path / 'list.txt', *extra)
        assert extract(config(), checkpoint, out, videos, *args, monkeypatch=monkeypatch) == 0
        files[name] = dict(np.load(out, allow_pickle=False))
        assert f'{name}.npz: 2 videos, {CHANNELS} dimensions' in capsys.readouterr().out
        assert files[name]['features'].dtype == np.float32
        assert files[name]['features'].shape == (2, CHANNELS)
        assert files[name]['labels'].tolist() == [1, 0]
        assert files[name]['names'].tolist() == ['video_3.mp4', 'video_1.mp4']
    features = {name: file['features'] for name, file in files.items()}
    np.testing.assert_array_equal(features['random'], features['same'])
    for name in ('other', 'pretrained'):
        assert np.abs(features[name] - features['random']).max() > 1e-3
    assert np.abs(features['two frames'] - features['pretrained']).max() > 1e-4


@pytest.mark.parametrize(
    ('checkpoint', 'out', 'words'),
    [
        ('missing.pth', 'x.npz', 'missing.pth: no such checkpoint'),
        ('WRONG', 'x.npz', 'its backbone does not fit'),
        ('TEXT', 'x.npz', 'cannot be read as a PyTorch checkpoint'),
    ],
)
def test_errors_of_extract_features(
    config, videos, tmp_path, monkeypatch, capsys, checkpoint, out, words
):
    torch.save({'backbone.conv.weight': torch.zeros(1)}, tmp_path / 'WRONG')
    (tmp_path / 'TEXT').write_text('no checkpoint')
    checkpoint = tmp_path / checkpoint if checkpoint.isupper() else checkpoint
    assert extract(config(), checkpoint, tmp_path / out, videos, monkeypatch=monkeypatch) == 2
    assert words in error_line(capsys.readouterr().err)
    assert not (tmp_path / out).exists()


# Converted weights --------------------------------------------------------------------------------


def moco_like(path):
    """A file with MoCo v2's names: a stem, one block and the MLP."""
    state = {
        'encoder_q.conv1.weight': torch.randn(4, 3, 7, 7),
        'encoder_q.layer1.0.bn1.running_mean': torch.randn(4),
        'encoder_q.layer1.0.downsample.0.weight': torch.randn(4, 4, 1, 1),
        'encoder_q.fc.0.weight': torch.randn(6, 6),
        'encoder_q.fc.2.bias': torch.randn(2),
        'encoder_k.conv1.weight': torch.randn(4, 3, 7, 7),
        'queue': torch.randn(2, 8),
        'queue_ptr': torch.zeros(1),
    }
    torch.save({'state_dict': {f'module.{key}': value for key, value in state.items()}}, path)
    return state


def test_convert_weights(tmp_path, monkeypatch, capsys):
    state = moco_like(tmp_path / 'moco.pth')
    out = tmp_path / 'new' / 'converted.pth'
    args = (tmp_path / 'moco.pth', out, '--allow-missing', '--heads', 'inter', 'mine')
    assert call_tool('convert_weights', *args, monkeypatch=monkeypatch) == 0
    converted = torch.load(out, weights_only=True)['state_dict']
    names = {
        'backbone.conv1.conv.weight': 'conv1.weight',
        'backbone.layer1.0.conv1.bn.running_mean': 'layer1.0.bn1.running_mean',
        'backbone.layer1.0.downsample.conv.weight': 'layer1.0.downsample.0.weight',
    }
    for head in ('inter', 'mine'):
        names[f'heads.{head}.projector.layers.0.weight'] = 'fc.0.weight'
        names[f'heads.{head}.projector.layers.2.bias'] = 'fc.2.bias'
    assert converted.keys() == names.keys()
    for new, old in names.items():
        assert torch.equal(converted[new], state[f'encoder_q.{old}'])
    assert '7 tensors' in capsys.readouterr().out


def test_convert_a_fine_tuned_vision_transformer(tmp_path, monkeypatch, capsys):
    """Ours to Hugging Face's and back: backbone and classifier, without the fixed positions."""
    settings = dict(img_size=16, patch_size=8, num_frames=2, embed_dims=12, depth=1, num_heads=3)
    backbone = VisionTransformer(**settings).state_dict()
    ours = {f'backbone.{key}': value for key, value in backbone.items()}
    ours |= {'cls_head.fc_cls.weight': torch.randn(4, 12), 'cls_head.fc_cls.bias': torch.randn(4)}
    torch.save(dict(state_dict=ours), tmp_path / 'ours.pth')
    theirs, back = tmp_path / 'pytorch_model.bin', tmp_path / 'back.pth'
    args = (tmp_path / 'ours.pth', theirs, '--format', 'huggingface')
    assert call_tool('export_backbone', *args, monkeypatch=monkeypatch) == 0
    assert 'classifier.weight' in torch.load(theirs, weights_only=True)
    assert call_tool('convert_weights', theirs, back, monkeypatch=monkeypatch) == 0
    assert f"{back}: 19 tensors for the backbone and ['cls_head']" in capsys.readouterr().out
    found = torch.load(back, weights_only=True)['state_dict']
    assert found.keys() == ours.keys() - {'backbone.pos_embed'}
    assert all(torch.equal(found[key], ours[key]) for key in found)


class NotATensor:
    """Something that only a trusted file may hold."""


def test_errors_of_convert_weights(tmp_path, monkeypatch, capsys):
    torch.save({'weight': torch.zeros(1)}, tmp_path / 'unknown.pth')
    torch.save({'conv1.weight': NotATensor()}, tmp_path / 'object.pth')
    for name, words in (
        ('missing.pth', 'missing.pth: no such checkpoint file'),
        (
            'unknown.pth',
            'unknown.pth: has neither a ResNet of torchvision, MoCo v2, VCLR or',
        ),
        ('object.pth', 'which could run code on loading'),
    ):
        args = (tmp_path / name, tmp_path / 'out.pth')
        assert call_tool('convert_weights', *args, monkeypatch=monkeypatch) == 2
        assert words in error_line(capsys.readouterr().err)
    assert not (tmp_path / 'out.pth').exists()
