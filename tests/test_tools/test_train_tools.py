"""train.py, from the command line to its files, in this process and in real ones."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from tiny_vclr import REPOSITORY, load_tool, tiny_config, write_videos

from mmssl_video.checkpoints.loading import load_checkpoint_file
from mmssl_video.errors import UserError

DATA = 'train_dataloader.dataset'
OPTIONS = '{0}/tiny.py --cfg-options'


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Nine videos, two batches of four and one to spare."""
    return write_videos(tmp_path_factory.mktemp('tools') / 'videos', 9)


@pytest.fixture
def config(videos, tmp_path):
    """``config(epochs=2)`` writes a config file and returns its path."""

    def write(epochs=2):
        # The name is that of MMEngine's logger and message hub: one of its own for each run.
        cfg = tiny_config(videos, tmp_path / 'work', os.fspath(tmp_path), epochs)
        cfg.dump(tmp_path / 'tiny.py')
        return str(tmp_path / 'tiny.py')

    return write


@pytest.fixture
def train(tool_runner):
    return tool_runner('train')


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


def test_resume_without_a_checkpoint_starts_from_load_from(config, tmp_path, monkeypatch):
    """The same command starts from given weights and, once there is a checkpoint, resumes."""
    tool = load_tool('train')
    args = ['train.py', config(), '--work-dir', str(tmp_path / 'w'), '--resume', '--cfg-options']
    monkeypatch.setattr('sys.argv', [*args, f'load_from={tmp_path / "moco.pth"}'])
    monkeypatch.setenv('LOCAL_RANK', '0')
    cfg = tool.load_config(tool.parse_args())
    assert (cfg.resume, cfg.load_from) == (False, str(tmp_path / 'moco.pth'))
    monkeypatch.setattr(
        'mmssl_video.engine.training.find_checkpoint', lambda folder: Path(folder, 'epoch_1.pth')
    )
    cfg = tool.load_config(tool.parse_args())
    assert (cfg.resume, cfg.load_from) == (True, str(tmp_path / 'w' / 'epoch_1.pth'))


def test_no_validate_comes_after_the_options(config, tmp_path, monkeypatch):
    path = Path(config())
    path.write_text(
        f'{path.read_text()}\nval_cfg = val_evaluator = {{}}\nval_dataloader = dict(b=1)'
    )
    options = ['--no-validate', '--cfg-options', 'val_dataloader.b=2']
    tool = load_tool('train')
    monkeypatch.setattr('sys.argv', ['train.py', str(path), *options])
    monkeypatch.setenv('LOCAL_RANK', '0')
    cfg = tool.load_config(tool.parse_args())
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


def test_train_in_two_processes(config, forks, tmp_path):
    """With --amp on a CPU: products in bfloat16, the rest in float32; the queue has both's."""
    options = ('--seed', 4, '--cfg-options', 'train_dataloader.batch_size=2')
    log = tmp_path / 'log'
    ranks = forks.start_ranks('train.py', config(1), '--amp', *options, log=log, world=2)
    assert forks.wait(*ranks) == [0, 0], (tmp_path / 'log.0').read_text()
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert len(re.findall('objective inter:', log.read_text())) == 1  # by the first process alone
    assert "type='Bf16OptimWrapper'" in (tmp_path / 'work/tiny.py').read_text()
    entries = scalars(tmp_path / 'work')
    assert len(entries) == 2  # nine videos in batches of two times two, without what is left
    assert all(np.isfinite(entry['loss']) and 0 < entry['loss_intra'] < 5 for entry in entries)
    state = load_checkpoint_file(tmp_path / 'work/epoch_1.pth')['state_dict']
    assert state['heads.video.queue.num_filled'] == 8
    lengths = state['heads.video.queue.embeddings'][:8].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(8))
    assert not any(key.startswith('module.') for key in state)
    assert {value.dtype for value in state.values()} <= {torch.float32, torch.int64}


def test_objectives_are_switched_off_from_the_command_line(config, tmp_path, train):
    options = ('--cfg-options', 'model.heads.order=None', 'model.heads.inter=None')
    assert train(config(1), *options)[0] == 0
    logged = scalars(tmp_path / 'work')[0].keys()
    assert {key for key in logged if key.startswith('loss_')} == {'loss_intra', 'loss_video'}
    assert load_checkpoint_file(tmp_path / 'work/epoch_1.pth')['meta']['seed'] == 3


@pytest.mark.parametrize(
    ('command', 'words'),
    [
        (
            f'{OPTIONS} model.heads.order.type=OrderHaed',
            "model.heads.order.type: 'OrderHaed' is not registered; did you mean 'OrderHead'?",
        ),
        (
            f'{OPTIONS} model.heads.video.queue_size=3',
            'model.heads.video: a queue of 3 is smaller than what all processes enqueue at once, '
            '4; set',
        ),
        (f'{OPTIONS} {DATA}.data_prefix.video={{0}}/gone', 'gone: no such folder'),
        (f'{OPTIONS} {DATA}.data_prefix.video={{0}}/empty', 'empty: found no videos'),
        (f'{OPTIONS} {DATA}.ann_file={{0}}/list.txt', 'list.txt, line 2: '),
        (f'{OPTIONS} {DATA}.data_prefix.video={{0}}/cut', 'cut.mp4 cannot be read'),
        (
            f'{OPTIONS} {DATA}.data_prefix.video={{0}}/cut train_dataloader.num_workers=1',
            'cut.mp4 cannot be read',
        ),
        (
            f'{OPTIONS} train_dataloader.batch_size=10 model.heads.inter.queue_size=20',
            '9 videos are fewer than one batch of 10; lower train_dataloader.batch_size',
        ),
        (
            f'{OPTIONS} model.heads.intra.query_view=5',
            'the heads read view 5, but the pipeline makes views',
        ),
        (
            f'{OPTIONS} optim_wrapper.optimizer.momentum=-1',
            'SGD cannot be built with its settings (ValueError: Invalid '
            'momentum value: -1); correct them in the config',
        ),
        ('no/such/config.py', 'no/such/config.py: no such config file'),
        ('{0}/tiny.py --resume no.pth', 'no.pth: no such checkpoint to resume from'),
        ('{0}/tiny.py --auto-scale-lr', 'has no auto_scale_lr.base_batch_size'),
    ],
)
def test_errors_are_one_line(config, videos, tmp_path, train, command, words):
    config()
    for name in ('empty', 'cut'):
        (tmp_path / name).mkdir()
    for number in range(4):
        content = (videos / 'video_0.mp4').read_bytes()[:300]
        (tmp_path / f'cut/{number}cut.mp4').write_bytes(content)
    (tmp_path / 'list.txt').write_text('video_0.mp4 1\nvideo_99.mp4 2\n')
    status, said = train(*command.format(tmp_path).split())
    assert status == 2 and words in error_line(said.err)
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_a_part_of_the_users_own_keeps_its_traceback(config, train):
    with pytest.raises((KeyError, TypeError, ValueError)) as error:
        train(config(), '--cfg-options', 'model.backbone.ndim=abc')
    assert not isinstance(error.value, UserError)


@pytest.mark.parametrize('counts', [1, 4])
def test_auto_scale_lr_counts_accumulated_batches(config, train, monkeypatch, counts):
    """The rate is for 8 videos; a step is made of ``counts`` batches of 4."""
    rates = []

    def note(runner):
        wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.scale_lr(wrapper, runner.auto_scale_lr)
        rates.append(wrapper.optimizer.param_groups[0]['lr'])
        assert runner.cfg.auto_scale_lr.base_batch_size == 8  # as the next run will read it

    monkeypatch.setattr(Runner, 'train', note)
    options = ['auto_scale_lr.enable=True', 'auto_scale_lr.base_batch_size=8']
    options.append(f'optim_wrapper.accumulative_counts={counts}')
    assert train(config(), '--cfg-options', *options)[0] == 0
    assert rates == [pytest.approx(0.05 * 4 * counts / 8)]


@pytest.mark.parametrize(
    ('tool', 'part', 'content', 'words'),
    [
        (
            'train',
            'val',
            'video_0.mp4 0\nvideo_1.mp4 12\n',
            'line 2: .*video_1.mp4 has label 12, but model.cls_head.num_classes is 12, for labels '
            '0 to 11; set model.cls_head.num_classes=13',
        ),
        (
            'test',
            'test',
            'video_0.mp4 0\nvideo_99.mp4 1\n',
            'line 2: .*/video_99.mp4 does not exist; check ',
        ),
    ],
)
def test_labelled_lists_are_checked_before_the_run(
    videos, tmp_path, tool_runner, tool, part, content, words
):
    """The tools compare the labels with the classes, and look for the videos."""
    config = REPOSITORY / 'configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py'
    lists = dict.fromkeys(('train', 'val', 'test'), 'video_0.mp4 0\nvideo_1.mp4 11\n')
    options = ['load_from=None']
    for name, text in (lists | {part: content}).items():
        (tmp_path / f'{name}.txt').write_text(text)
        data = f'{name}_dataloader.dataset'
        options.append(f'{data}.ann_file={tmp_path}/{name}.txt')
        options.append(f'{data}.data_prefix.video={videos}')
    (tmp_path / 'any.pth').write_bytes(b'')
    checkpoint = [tmp_path / 'any.pth'] if tool == 'test' else []
    args = (config, *checkpoint, '--work-dir', tmp_path / 'work', '--cfg-options', *options)
    status, said = tool_runner(tool)(*args)
    assert status == 2 and re.search(f'{part}.txt, {words}', error_line(said.err))
