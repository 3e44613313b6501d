"""Warm-up and cosine: each value against a formula written a second time, alone and in a run."""

import math

import numpy as np
import pytest
import torch
from mmaction.registry import PARAM_SCHEDULERS
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmssl_video.engine.schedulers import WarmupCosineLR
from mmssl_video.errors import UserError

init_default_scope('mmaction')


def optimizer_of(*base_lrs):
    return torch.optim.SGD([dict(params=[nn.Parameter(torch.ones(2))], lr=lr) for lr in base_lrs])


def rates(scheduler, steps):
    """Learning rates of each group, [steps, groups], as training uses them."""
    drawn = []
    for _ in range(steps):
        drawn.append([group['lr'] for group in scheduler.optimizer.param_groups])
        scheduler.optimizer.step()
        scheduler.step()
    return np.array(drawn)


def slow(t, total, warmup, base, start_factor, eta_min, cosine_from):
    if t >= warmup:
        if cosine_from == 'warmup':
            angle = 180 * (t - warmup) / (total - warmup)
        else:
            angle = 180 * t / total
        # Half an angle's cosine squared: another way to (1 + cos) / 2.
        return eta_min + (base - eta_min) * math.cos(math.radians(angle) / 2) ** 2
    top = slow(warmup, total, warmup, base, start_factor, eta_min, cosine_from)
    first = start_factor * base
    return first + (top - first) / warmup * t


@pytest.mark.parametrize('cosine_from', ['warmup', 'start'])
@pytest.mark.parametrize('warmup', [0, 5, 2.5, 19])
def test_every_step_equals_a_slow_formula(cosine_from, warmup):
    arguments = dict(start_factor=0.01, eta_min=1e-4, cosine_from=cosine_from)
    scheduler = WarmupCosineLR(optimizer_of(0.3, 1.2), warmup=warmup, end=20, **arguments)
    expected = [
        [slow(t, 20, warmup, base, 0.01, 1e-4, cosine_from) for base in (0.3, 1.2)]
        for t in range(21)
    ]
    drawn = rates(scheduler, 24)
    np.testing.assert_allclose(drawn[:21], expected, rtol=1e-12, atol=1e-16)
    assert (drawn[20:] == 1e-4).all()  # exactly, and from then on


@pytest.mark.parametrize('base', [0.1, 0.32, 1.2])
def test_ends_are_exact(base):
    scheduler = WarmupCosineLR(
        optimizer_of(base), warmup=7, end=50, start_factor=0.01, eta_min=0.03
    )
    drawn = rates(scheduler, 51)[:, 0]
    assert (drawn[0], drawn[7], drawn[50]) == (0.01 * base, base, 0.03)
    from_zero = rates(WarmupCosineLR(optimizer_of(base), warmup=7, end=50), 51)[:, 0]
    assert (from_zero[0], from_zero[7], from_zero[50]) == (0, base, 0)


def test_a_schedule_that_begins_late_is_the_same_shifted():
    arguments = dict(warmup=3, start_factor=0.2, eta_min=0.01, cosine_from='start')
    early = WarmupCosineLR(optimizer_of(0.5), end=10, **arguments)
    late = WarmupCosineLR(optimizer_of(0.5), begin=6, end=16, **arguments)
    drawn = rates(late, 18)
    assert (drawn[:6] == 0.5).all()
    assert (drawn[6:] == rates(early, 12)).all()


def test_warm_up_alone():
    drawn = rates(WarmupCosineLR(optimizer_of(0.8), warmup=4, end=4), 7)[:, 0]
    np.testing.assert_allclose(drawn, [0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8], rtol=1e-12)


def test_epochs_are_converted_to_iterations():
    arguments = dict(start_factor=0.01, eta_min=1e-3, cosine_from='start')
    converted = PARAM_SCHEDULERS.build(
        dict(
            type='WarmupCosineLR',
            warmup=0.5,
            begin=1,
            end=9,
            by_epoch=True,
            convert_to_iter_based=True,
            **arguments,
        ),
        default_args=dict(optimizer=optimizer_of(0.3), epoch_length=7),
    )
    assert not converted.by_epoch
    drawn = rates(converted, 65)[:, 0]
    expected = [slow(t, 56, 3.5, 0.3, 0.01, 1e-3, 'start') for t in range(57)]
    np.testing.assert_allclose(drawn[7:64], expected, rtol=1e-12)
    assert drawn[63] == drawn[64] == 1e-3


@pytest.mark.parametrize('broken_at', [2, 13])
def test_resume_equals_the_unbroken_run(broken_at):
    def build():
        arguments = dict(start_factor=0.01, cosine_from='start')
        return WarmupCosineLR(optimizer_of(0.1, 0.9), warmup=5, end=20, **arguments)

    whole = rates(build(), 20)
    broken = build()
    rates(broken, broken_at)
    resumed = build()
    resumed.optimizer.load_state_dict(broken.optimizer.state_dict())
    resumed.load_state_dict(broken.state_dict())
    assert (rates(resumed, 20 - broken_at) == whole[broken_at:]).all()


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(warmup=-1), r'warmup=-1 must be between 0 and .* = 6 epochs; lower warmup'),
        (dict(warmup=6.5), r'warmup=6\.5 must be between 0 and .* = 6 epochs; lower warmup'),
        (dict(warmup=7, by_epoch=False), r'warmup=7 must .* = 6 iterations; lower warmup'),
        (dict(warmup=0, end=3), r'warmup=0 must .* end - begin = -1 epochs; lower warmup'),
        (dict(cosine_from='end'), r"cosine_from is 'warmup' or 'start', not 'end'$"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(wrong, message):
    arguments = dict(warmup=2, begin=4, end=10) | wrong
    with pytest.raises(UserError, match=f'^WarmupCosineLR: {message}') as error:
        WarmupCosineLR(optimizer_of(0.1), **arguments)
    assert '\n' not in str(error.value)


# A run ------------------------------------------------------------------------------------------


class Line(BaseModel):
    """A linear map of two inputs, for a run in which only the learning rate matters."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, inputs, mode='loss'):
        return dict(loss=self.linear(inputs).square().mean())


class WatchRate(Hook):
    def before_train(self, runner):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])


def run(work_dir, name, epochs=4, **kwargs):
    """Learning rates of a run of 5 iterations an epoch under LARS with a base of 0.2."""
    runner = Runner(
        model=Line(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.ones(2))] * 15,
            batch_size=3,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='LARS', lr=0.2)),
        param_scheduler=dict(
            type='WarmupCosineLR',
            warmup=1.2,
            end=4,
            start_factor=0.01,
            by_epoch=True,
            convert_to_iter_based=True,
        ),
        default_scope='mmaction',
        experiment_name=name,
        **kwargs,
    )
    watch = WatchRate()
    runner.register_hook(watch)
    runner.train()
    return watch.rates, runner


def test_a_run_has_the_curve_also_scaled_and_resumed(tmp_path):
    expected = [slow(t, 20, 6, 0.2, 0.01, 0, 'warmup') for t in range(20)]
    drawn, runner = run(tmp_path / 'whole', 'whole')
    np.testing.assert_allclose(drawn, expected, rtol=1e-12)
    assert runner.optim_wrapper.get_lr()['lr'] == [0]

    # A batch of 3 where the base is meant for 12.
    scaled, _ = run(
        tmp_path / 'scaled', 'scaled', auto_scale_lr=dict(enable=True, base_batch_size=12)
    )
    np.testing.assert_allclose(scaled, np.array(expected) / 4, rtol=1e-12)

    run(tmp_path / 'resumed', 'first', epochs=2)
    resumed, _ = run(tmp_path / 'resumed', 'second', resume=True)
    assert resumed == drawn[10:]
