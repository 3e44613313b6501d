"""Hooks of pretraining: their values on a stub of the Runner, and all of them in one real run."""

import atexit
import math
import re
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from head_helpers import example
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from tiny_vclr import build_tiny, tiny_config, tiny_model, write_videos
from torch.utils.data import BatchSampler, DataLoader

from mmssl_video.engine.hooks import (
    MomentumScheduleHook,
    ObjectiveReportHook,
    ProgressBarHook,
    TargetStepHook,
)
from mmssl_video.errors import UserError


class Notes(list):
    """A logger that keeps its lines."""

    def info(self, message):
        self.append(message)

    warning = info


def stub_model(momentum=0.9):
    return SimpleNamespace(momentum=momentum, momentum_copies=[None])


def stub_runner(model=None, batch_size=4, max_iters=10, num_videos=1000):
    return SimpleNamespace(
        model=model or stub_model(),
        iter=0,
        max_iters=max_iters,
        optim_wrapper=SimpleNamespace(_accumulative_counts=1),
        logger=Notes(),
        train_dataloader=SimpleNamespace(batch_size=batch_size, dataset=range(num_videos)),
    )


# Momentum schedule ------------------------------------------------------------------------------


def momenta(hook, runner):
    hook.before_train(runner)
    drawn = []
    for iteration in range(runner.max_iters + 1):
        runner.iter = iteration
        hook.before_train_iter(runner, 0)
        drawn.append(runner.model.momentum)
    return drawn


@pytest.mark.parametrize(('start', 'end'), [(0.9, 1.0), (0.996, 0.9999), (0.5, 0.25)])
def test_momentum_follows_half_a_cosine(start, end):
    drawn = momenta(MomentumScheduleHook(end=end), stub_runner(stub_model(start)))
    for t, value in enumerate(drawn):
        expected = end - (end - start) * (math.cos(math.pi * t / 10) + 1) / 2
        assert value == pytest.approx(expected, rel=1e-12)
    assert drawn[0] == pytest.approx(start)
    assert drawn[5] == pytest.approx((start + end) / 2)
    assert drawn[10] == pytest.approx(end)
    assert np.all(np.diff(drawn) * np.sign(end - start) > 0)


def test_momentum_schedule_ends_at_one_by_default():
    assert momenta(MomentumScheduleHook(), stub_runner())[-1] == 1.0


def test_momentum_schedule_without_a_target_network():
    runner = stub_runner()
    runner.model.momentum_copies = []
    with pytest.raises(UserError, match='no head reads target_views, .*; take the hook out'):
        MomentumScheduleHook().before_train(runner)


def test_momentum_of_a_resumed_run_is_that_of_its_iteration():
    whole = momenta(MomentumScheduleHook(), stub_runner())
    resumed, hook = stub_runner(), MomentumScheduleHook()
    resumed.iter = 6  # set by the checkpoint before before_train
    hook.before_train(resumed)
    hook.before_train_iter(resumed, 0)
    assert resumed.model.momentum == whole[6]


def test_momentum_follows_optimiser_steps():
    runner = stub_runner(max_iters=11)
    runner.optim_wrapper._accumulative_counts = 2
    drawn = momenta(MomentumScheduleHook(), runner)[:11]
    steps = momenta(MomentumScheduleHook(), stub_runner(max_iters=6))
    assert drawn == [steps[t // 2] for t in range(11)]


def test_target_follows_optimiser_steps():
    """Two batches of 4 leave the target where one of 8 does (BYOL, no batch normalisation)."""
    byol = example('BYOLHead')
    torch.manual_seed(0)
    model = MODELS.build(tiny_model(momentum=0.5) | dict(heads=dict(byol=byol)))
    model.init_weights()
    model.double().train()
    inputs = torch.randn(3, 8, 2, 1, 3, 16, 16, dtype=torch.float64)
    targets = []
    for counts in (1, 2):
        now = deepcopy(model)
        optimizer = torch.optim.SGD(now.parameters(), lr=0.5)
        wrapper = OptimWrapper(optimizer, accumulative_counts=counts)
        runner = SimpleNamespace(model=now, iter=0, optim_wrapper=wrapper)
        for batch in inputs.flatten(0, 1).split(8 // counts):
            TargetStepHook().before_train_iter(runner, 0)
            losses = now.loss(batch, [ActionDataSample()] * len(batch))
            wrapper.update_params(now.parse_losses(losses)[0])
            runner.iter += 1
        targets.append(now.target_backbone.state_dict())
    torch.testing.assert_close(*targets, rtol=1e-10, atol=1e-12)
    start = model.target_backbone.state_dict()
    weight = 'module.layers.0.weight'
    assert (targets[0][weight] - start[weight]).abs().max() > 1e-4


# Objectives -------------------------------------------------------------------------------------


def test_objectives_are_reported_with_their_chance_levels():
    runner = stub_runner(build_tiny(queue_size=64))
    runner.model.heads['order'].loss_weight = 0.5
    ObjectiveReportHook().before_train(runner)
    assert [re.match(r'objective (\w+): ', line)[1] for line in runner.logger] == [
        'inter',
        'intra',
        'video',
        'order',
    ]
    ends = [
        f'loss_inter at chance {math.log(65):.3f}',
        f'loss_intra at chance {math.log(3):.3f}',
        f'loss_video at chance {math.log(65):.3f}',
        f'loss_order at chance {math.log(4) / 2:.3f}, times 0.5',
    ]
    for line, end in zip(runner.logger, ends, strict=True):
        assert line.endswith(end)


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


# Progress ---------------------------------------------------------------------------------------


def run_progress(runner, start=0):
    hook = ProgressBarHook('Testing')
    runner.iter = start
    hook.before_train(runner)
    for iteration in range(start, runner.max_iters):
        runner.iter = iteration
        hook.after_train_iter(runner, 0, outputs=dict(loss=torch.tensor(iteration / 4)))
    hook.after_train(runner)


def test_progress_without_a_terminal_is_a_line_a_tenth(capsys, monkeypatch):
    for variable in ('FORCE_COLOR', 'TTY_COMPATIBLE'):
        monkeypatch.delenv(variable, raising=False)
    run_progress(stub_runner(max_iters=40))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    for tenth, line in enumerate(lines, 1):
        assert line.startswith(f'Testing: {4 * tenth}/40, loss {(4 * tenth - 1) / 4:.3f}')
    run_progress(stub_runner(max_iters=40), start=30)  # resumed
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(',')[0] for line in lines] == ['Testing: 32/40', 'Testing: 36/40'] + [
        'Testing: 40/40'
    ]


def test_progress_of_fewer_than_ten_iterations(capsys):
    run_progress(stub_runner(max_iters=3))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(',')[0] for line in lines] == [f'Testing: {i}/3' for i in (1, 2, 3)]


def test_progress_on_a_terminal_is_one_bar(capsys, monkeypatch):
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('COLUMNS', '100')
    run_progress(stub_runner(max_iters=4))
    shown = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]', '', capsys.readouterr().err)
    assert 'Testing' in shown and '4/4' in shown and 'loss 0.750' in shown and 'ETA' in shown
    assert 'Testing: ' not in shown  # no lines beside the bar


def test_an_interrupt_gives_the_cursor_back(capsys, monkeypatch):
    """No hook is told of an interrupt; the bar is then stopped as Python exits."""
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('TERM', 'xterm')
    at_exit = []
    monkeypatch.setattr(atexit, 'register', at_exit.append)
    ProgressBarHook().before_train(stub_runner())
    shown = capsys.readouterr().err
    assert '\x1b[?25l' in shown and '\x1b[?25h' not in shown  # hidden
    for function in at_exit:
        function()
    assert '\x1b[?25h' in capsys.readouterr().err


# A whole run ------------------------------------------------------------------------------------


class Watch(Hook):
    """Notes the momentum and the losses of each iteration."""

    def before_train(self, runner):
        self.momenta, self.losses = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.momenta.append(runner.model.momentum)
        self.losses.append({key: value.item() for key, value in outputs.items()})


@pytest.fixture(scope='module')
def whole_run(tmp_path_factory):
    """Three epochs of two batches of four with all hooks; the runner, its watch and its log."""
    folder = tmp_path_factory.mktemp('whole_run')
    cfg = tiny_config(
        write_videos(folder / 'videos', 8), folder / 'work', 'whole_run', epochs=3, momentum=0.8
    )
    cfg.custom_hooks += [
        dict(type='MomentumScheduleHook', end=1.0),
        dict(type='ProgressBarHook', description='Whole run'),
    ]
    runner, watch = Runner.from_cfg(cfg), Watch()
    runner.register_hook(watch, priority='LOWEST')
    runner.train()
    (log,) = (folder / 'work').glob('*/*.log')
    return SimpleNamespace(runner=runner, watch=watch, log=log.read_text())


def test_a_run_reports_each_objective_once(whole_run):
    for name, chance in dict(
        inter=math.log(21), intra=math.log(3), video=math.log(21), order=math.log(4)
    ).items():
        lines = re.findall(rf'objective {name}: .*', whole_run.log)
        assert len(lines) == 1
        assert lines[0].endswith(f'loss_{name} at chance {chance:.3f}')


def test_a_run_reports_its_queues(whole_run):
    assert re.findall(r'queue of inter: (\w+)', whole_run.log) == ['8', '16', 'full']


def test_a_run_logs_every_loss_under_its_own_name(whole_run):
    last = whole_run.log.splitlines()[-1] + whole_run.log
    for name in ('inter', 'intra', 'video', 'order'):
        assert len(re.findall(rf'loss_{name}: [\d.]+', last)) >= 6
    for losses in whole_run.watch.losses:
        parts = sum(losses[f'loss_{name}'] for name in ('inter', 'intra', 'video', 'order'))
        assert losses['loss'] == pytest.approx(parts, rel=1e-6)


def test_a_run_moves_its_momentum(whole_run):
    expected = [1 - 0.2 * (1 + math.cos(math.pi * t / 6)) / 2 for t in range(6)]
    assert whole_run.watch.momenta == pytest.approx(expected)


def test_hooks_are_registered_with_their_priorities(whole_run):
    names = [type(hook).__name__ for hook in whole_run.runner.hooks]
    # The draws of an iteration are seeded before any other hook could draw.
    assert names.index('ReproducibleHook') < names.index('ObjectiveReportHook')
    assert names.index('ProgressBarHook') > names.index('ObjectiveReportHook')
