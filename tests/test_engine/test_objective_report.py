"""Objectives and queues in the log, before training and while the queues fill."""

import math
from types import SimpleNamespace

import pytest
from head_helpers import example
from mmaction.registry import MODELS
from stubs import stub_runner
from tiny_vclr import build_tiny
from torch.utils.data import BatchSampler, DataLoader

from mmssl_video.engine.hooks import ObjectiveReportHook
from mmssl_video.errors import UserError


def test_objectives_are_reported_with_their_chance_levels():
    runner = stub_runner(build_tiny(queue_size=64))
    runner.model.heads['order'].loss_weight = 0.5
    ObjectiveReportHook().before_train(runner)
    chances = dict(inter=math.log(65), intra=math.log(3), video=math.log(65), order=math.log(4) / 2)
    for line, (name, chance) in zip(runner.logger, chances.items(), strict=True):
        end = ', with loss_weight 0.5' if name == 'order' else ''
        assert line.startswith(f'objective {name}: ')
        assert line.endswith(f'loss_{name} at chance {chance:.3f}{end}')


@pytest.mark.parametrize('heads', [('inter', 'intra'), ('video', 'order')])
def test_queue_smaller_than_the_batch_is_refused_before_training(heads):
    runner = stub_runner(build_tiny(heads=heads, queue_size=7), batch_size=8)
    with pytest.raises(UserError) as error:
        ObjectiveReportHook().before_train(runner)
    message = str(error.value)
    assert message.startswith(f'model.heads.{heads[0]}: a queue of 7 is smaller than what all')
    assert 'enqueue at once, 8; set queue_size to 8 or more' in message
    assert '\n' not in message
    ObjectiveReportHook().before_train(stub_runner(runner.model, batch_size=7))


def test_a_queue_longer_than_the_data_is_told_before_training():
    runner = stub_runner(build_tiny(heads=('video', 'intra'), queue_size=20), num_videos=19)
    ObjectiveReportHook().before_train(runner)
    (warning,) = [line for line in runner.logger if 'longer' in line]
    assert warning.startswith('model.heads.video: a queue of 20 is longer than the data, 19 videos')
    assert warning.endswith('set queue_size to 9 or less')
    runner = stub_runner(runner.model, num_videos=20)
    ObjectiveReportHook().before_train(runner)
    assert not [line for line in runner.logger if 'longer' in line]


@pytest.mark.parametrize(
    'loader',
    [
        DataLoader(range(7), batch_size=3),
        DataLoader(range(7), batch_sampler=BatchSampler(range(7), 3, drop_last=True)),
        DataLoader(range(7), batch_sampler=[[0, 4, 2], [3, 1, 6]]),  # has no batch_size
    ],
    ids=['batch_size', 'batch_sampler', 'batches'],
)
def test_chance_levels_and_queues_with_any_batches(loader):
    head = MODELS.build(example('SimCLRHead'))
    runner = stub_runner(SimpleNamespace(heads=dict(pair=head)))
    runner.train_dataloader = loader
    ObjectiveReportHook().before_train(runner)
    assert runner.logger[0].endswith(f'loss_pair at chance {math.log(2 * 3 - 1):.3f}')
    runner.model = build_tiny(heads=('video',), queue_size=2)
    with pytest.raises(UserError, match='model.heads.video: a queue of 2 is smaller than .*, 3;'):
        ObjectiveReportHook().before_train(runner)


def test_filling_queues_are_reported_until_they_are_full():
    runner = stub_runner(build_tiny(heads=('video', 'intra'), queue_size=10))
    queue, hook = runner.model.heads['video'].queue, ObjectiveReportHook()
    hook.before_train(runner)
    runner.logger.clear()
    for filled in (4, 8, 10, 10):
        queue.num_filled = filled
        hook.after_train_epoch(runner)
    assert [line.split(';')[0] for line in runner.logger] == [
        'queue of video: 4 of 10',
        'queue of video: 8 of 10',
        'queue of video: full (10)',
    ]
    assert f'loss_video at chance now {math.log(5):.3f}' in runner.logger[0]
