"""Progress: one bar on a terminal, ten lines elsewhere."""

import atexit
import re

import torch
from stubs import stub_runner

from mmssl_video.engine.hooks import ProgressBarHook


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
