"""A run that breaks stops at once, says where, and leaves its last sound checkpoint alone."""

import math
import os
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from tiny_vclr import tiny_config, write_videos

from mmssl_video.engine.hooks import FiniteLossHook
from mmssl_video.errors import UserError

WEIGHT = 'heads.video.projector.layers.2.weight'
BUFFER = 'heads.video.queue.embeddings'


class BreakLoss(Hook):
    """Makes the losses of some heads ``value`` in one iteration, counted from 1."""

    def __init__(self, iteration, heads, value=math.nan):
        self.iteration, self.heads, self.value = iteration, heads, value

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            for name in self.heads:
                runner.model.heads[name].loss_weight = self.value


class BreakWeight(Hook):
    """Makes one number of a weight or a buffer infinite, as the step of an iteration would."""

    priority = 'VERY_HIGH'

    def __init__(self, iteration, key):
        self.iteration, self.key = iteration, key

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            runner.model.state_dict()[self.key].view(-1)[-1] = math.inf


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp('finite') / 'videos', 8)


def build(videos, work_dir, *hooks, **checkpoint):
    """Three epochs of two iterations."""
    cfg = tiny_config(
        videos, work_dir, f'finite {work_dir}', epochs=3, heads=('video', 'intra', 'order')
    )
    cfg.custom_hooks.append(dict(type='FiniteLossHook'))
    cfg.default_hooks.checkpoint.update(checkpoint)
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner


def stopped(runner):
    """The message that a run ends with."""
    with pytest.raises(UserError) as error:
        runner.train()
    assert '\n' not in str(error.value)
    return str(error.value)


def assert_last_checkpoint(folder, name):
    """It is the latest file, ``last_checkpoint`` names it, and all its weights are finite."""
    files = [file for file in os.listdir(folder) if file.endswith('.pth')]
    assert max(files) == name
    assert (folder / 'last_checkpoint').read_text() == str(folder / name)
    state = torch.load(folder / name, weights_only=False)['state_dict']
    assert WEIGHT in state and BUFFER in state
    assert all(value.isfinite().all() for value in state.values())


def test_a_broken_loss_stops_the_run(videos, tmp_path):
    message = stopped(build(videos, tmp_path, BreakLoss(5, ['video', 'order'], -math.inf)))
    words = 'a loss is not finite (loss_video is -inf, loss_order is -inf);'
    assert message.startswith(f'iteration 5: {words}')
    assert f'the last checkpoint is {tmp_path}/epoch_2.pth' in message
    assert 'lower optim_wrapper.optimizer.lr' in message and '--amp' in message
    assert_last_checkpoint(tmp_path, 'epoch_2.pth')


@pytest.mark.parametrize(
    ('iteration', 'key', 'checkpoint', 'expected'),
    [
        (4, WEIGHT, dict(), 'epoch_1.pth'),
        (4, None, dict(by_epoch=False, interval=2), 'iter_2.pth'),
        (4, BUFFER, dict(by_epoch=False, interval=2), 'iter_2.pth'),
        # Due every fourth iteration and at the last one.
        (6, WEIGHT, dict(by_epoch=False, interval=4), 'iter_4.pth'),
    ],
)
def test_nothing_is_written_or_removed_when_a_checkpoint_is_due(
    videos, tmp_path, iteration, key, checkpoint, expected
):
    """CheckpointHook removes the older file before it writes the next."""
    breaks = BreakWeight(iteration, key) if key else BreakLoss(iteration, ['video'])
    message = stopped(build(videos, tmp_path, breaks, max_keep_ckpts=1, **checkpoint))
    what = f'{key} of the model is no longer finite' if key else 'a loss is not finite'
    assert message.startswith(f'iteration {iteration}: {what}')
    assert f'the last checkpoint is {tmp_path}/{expected}' in message
    assert_last_checkpoint(tmp_path, expected)


def test_broken_weights_are_not_saved_by_any_caller(videos, tmp_path):
    runner = build(videos, tmp_path)
    runner.train()
    assert_last_checkpoint(tmp_path, 'epoch_3.pth')
    with torch.no_grad():
        runner.model.backbone.layers[2].bias[3] = math.nan
    with pytest.raises(UserError, match='^iteration 6: backbone.layers.2.bias of the model is no'):
        runner.save_checkpoint(str(tmp_path), 'mine.pth')
    assert not (tmp_path / 'mine.pth').exists()


def test_a_run_without_a_checkpoint_says_so(videos, tmp_path):
    message = stopped(build(videos, tmp_path, BreakLoss(2, ['intra'])))
    assert '; no checkpoint has been written; start again with a lower optim' in message
    assert not [file for file in os.listdir(tmp_path) if file.endswith('.pth')]


def after_iteration(tmp_path, **scalars):
    """The hook on scalars in the message hub and outputs that cannot be read."""
    runner = SimpleNamespace(
        message_hub=MessageHub(f'finite hub {tmp_path} {len(scalars)} {scalars}'),
        work_dir=str(tmp_path),
        hooks=[],
    )
    runner.message_hub.update_info('iter', 0)
    for key, value in scalars.items():
        runner.message_hub.update_scalar(f'train/{key}', value)
    FiniteLossHook().after_train_iter(runner, 0, outputs=dict.fromkeys(scalars))


def test_losses_are_not_fetched_from_the_gpu_again(tmp_path):
    after_iteration(tmp_path, loss=1.5, loss_video=1.5, video_acc=math.nan)
    with pytest.raises(UserError, match=r'a loss is not finite \(loss_video is nan\)'):
        after_iteration(tmp_path, loss=math.nan, loss_video=math.nan, video_acc=0.0)


def test_a_sum_of_finite_losses_can_overflow(tmp_path):
    with pytest.raises(UserError, match=r'a loss is not finite \(loss is inf\)'):
        after_iteration(tmp_path, loss=math.inf, loss_video=3e38, loss_order=3e38)
