"""The momentum of the target network follows half a cosine."""

import math

import pytest
from stubs import stub_model, stub_runner

from mmssl_video.engine.hooks import MomentumScheduleHook
from mmssl_video.errors import UserError


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


def test_momentum_schedule_ends_at_one_by_default():
    assert momenta(MomentumScheduleHook(), stub_runner())[-1] == 1.0


def test_momentum_schedule_without_a_target_network():
    runner = stub_runner()
    runner.model.momentum_copies = []
    with pytest.raises(UserError, match='no head reads target_views, .*; remove the hook'):
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
