"""What a resumed run may differ in, and what it may not."""

import logging

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from tiny_vclr import tiny_config, write_videos

from mmssl_video.errors import UserError


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('check') / 'videos', 9)


def config(videos, work_dir, name, **model):
    cfg = tiny_config(videos, work_dir, name, epochs=2, momentum=0.9, **model)
    cfg.custom_hooks.append(dict(type='ResumeCheckHook'))
    cfg.param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True)]
    return cfg


@pytest.fixture(scope='module')
def checkpoint(videos, tmp_path_factory):
    """Of the first of two epochs of two iterations."""
    cfg = config(videos, tmp_path_factory.mktemp('begun'), 'check begun')
    Runner.from_cfg(cfg).train()
    return f'{cfg.work_dir}/epoch_1.pth'


class Warnings(Hook):
    """The warnings of a run, from its start."""

    def __init__(self, name):
        self.messages = []
        handler = logging.Handler(level=logging.WARNING)
        handler.emit = lambda record: self.messages.append(record.getMessage())
        MMLogger.get_instance(name).addHandler(handler)


def resume(cfg, checkpoint):
    """Runs on; its warnings."""
    cfg.resume, cfg.load_from = True, checkpoint
    runner = Runner.from_cfg(cfg)
    warnings = Warnings(runner._experiment_name)
    runner.train()
    assert runner.iter == 4
    return [message for message in warnings.messages if checkpoint in message]


def test_the_same_settings_are_resumed_without_a_word(videos, checkpoint, tmp_path):
    cfg = config(videos, tmp_path, 'check same')
    cfg.train_dataloader.pin_memory = True  # changes no result
    assert resume(cfg, checkpoint) == []


def test_differences_are_listed(videos, checkpoint, tmp_path):
    cfg = config(videos, tmp_path, 'check listed')
    cfg.model.momentum = 0.8
    cfg.train_dataloader.dataset.bad_videos = 'skip'
    assert resume(cfg, checkpoint) == [
        f'{checkpoint} was written with other settings:\n'
        '  model.momentum: 0.9 -> 0.8\n'
        '  train_dataloader.dataset.bad_videos: not set -> skip'
    ]


REFUSED = {
    'optim_wrapper.optimizer.lr=0.1': 'lr: 0.05 -> 0.1; a resumed run uses the optimizer of its',
    'train_cfg.max_epochs=5': 'max_epochs: 2 -> 5; its learning rate was scheduled for 2',
    'train_dataloader.batch_size=3': (
        r'an epoch had 2 iterations \(1 processes with batches of 4\) and now has 3 \(1 with 3\)'
    ),
    'train_dataloader.dataset.ann_file=other.txt': 'ann_file: not set -> .*other.txt; it was',
    'model.heads.order=None': r'fit the model .*: 0 tensors are missing, \d+ unknown, 0 of another',
    'model.backbone.norm=True': r'fit the model .*: \d+ tensors are missing, \d+ unknown',
}


@pytest.mark.parametrize('option', REFUSED)
def test_what_cannot_be_right_is_refused(videos, checkpoint, tmp_path, option):
    cfg = config(videos, tmp_path, f'check {option}')
    key, value = option.split('=')
    if key.endswith('ann_file'):
        other = tmp_path / value
        other.write_text(''.join(f'video_{number}.mp4\n' for number in range(9)))
        value = str(other)
    else:
        value = {'None': None, 'True': True}.get(value, float(value) if '.' in value else value)
        value = int(value) if isinstance(value, str) else value
    cfg.merge_from_dict({key: value})
    with pytest.raises(UserError, match=REFUSED[option]) as error:
        resume(cfg, checkpoint)
    assert str(error.value).startswith(checkpoint) and 'load_from' in str(error.value)


def test_more_iterations_are_refused(videos, tmp_path):
    def by_iterations(number):
        cfg = config(videos, tmp_path, f'check {number} iterations')
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=number)
        cfg.default_hooks.checkpoint.update(by_epoch=False)
        cfg.param_scheduler = None
        return cfg

    Runner.from_cfg(by_iterations(1)).train()
    with pytest.raises(UserError, match='max_iters: 1 -> 2; .* scheduled for 1 iters and would'):
        resume(by_iterations(2), f'{tmp_path}/iter_1.pth')


def test_a_queue_of_another_size_starts_empty(videos, checkpoint, tmp_path):
    """No zero vector counts as a negative."""
    cfg = config(videos, tmp_path, 'check queue', queue_size=24)
    cfg.resume, cfg.load_from = True, checkpoint
    runner = Runner.from_cfg(cfg)
    runner.train_loop  # noqa: B018  builds it
    warnings = Warnings(runner._experiment_name)
    runner.load_or_resume()
    for name in ('inter', 'video'):
        queue = runner.model.heads[name].queue
        assert int(queue.num_filled) == int(queue.pointer) == 0
    listed = [line for line in warnings.messages if 'starts empty' in line]
    assert listed == [
        f'heads.{name}.queue starts empty: it is [20, 6] in the checkpoint, [24, 6] in the config'
        for name in ('inter', 'video')
    ]


def test_checkpoints_of_before_are_resumed(videos, checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=False)
    for key in ('settings', 'world_size', 'iterations_per_epoch'):
        del content['meta'][key]
    torch.save(content, tmp_path / 'epoch_1.pth')
    cfg = config(videos, tmp_path, 'check before')
    cfg.optim_wrapper.optimizer.lr = 0.1
    assert resume(cfg, str(tmp_path / 'epoch_1.pth')) == []
