"""What all tools share: help without heavy imports, arguments, configs."""

import argparse
import io
import logging
import os
import re
import runpy
import signal
import subprocess
import sys

import pytest
from command_line import Children, Parser, find_checkpoint, load_config, stopped_cleanly, tool
from tiny_vclr import REPOSITORY, load_tool

from mmssl_video.checkpoints.conversion import LAYOUTS
from mmssl_video.checkpoints.fitting import BRANCHES
from mmssl_video.datasets.lists import MAKERS
from mmssl_video.datasets.motion import MEASURES
from mmssl_video.errors import UserError
from mmssl_video.evaluation.encoder import AMP_DTYPES
from mmssl_video.passes import TIMEOUT
from mmssl_video.video import available_cores
from mmssl_video.video.storage import STORAGES
from mmssl_video.visualization.browse import PICTURES, STAGES, VIDEOS
from mmssl_video.visualization.feature_map import METHODS
from mmssl_video.visualization.grad_cam import TARGETS

HEAVY = ('torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmaction', 'rich', 'mmssl_video')
# launch.py has the arguments of torchrun, which its own parser knows.
TOOLS = sorted(
    path.relative_to(REPOSITORY / 'tools').as_posix()
    for folder in ('', 'data/', 'benchmarks/')
    for path in REPOSITORY.glob(f'tools/{folder}*.py')
    if '__main__' in path.read_text() and path.name != 'launch.py'
)


def call_light(tool, *arguments, monkeypatch):
    """Run a tool where importing torch, or what imports it, is an error; its exit status."""
    for name in HEAVY:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(REPOSITORY / 'tools' / tool), run_name='__main__')
    return stop.value.code


def arguments_of(tool, monkeypatch):
    """The arguments that a tool reads, as actions of `argparse`."""
    found = []

    def read(parser):
        found.extend(parser._actions)
        sys.exit()

    monkeypatch.setattr(Parser, 'parse_args', read)
    with pytest.raises(SystemExit):
        load_tool(tool.removesuffix('.py')).parse_args()
    return found


@pytest.mark.parametrize('tool', TOOLS)
def test_help_and_wrong_arguments_need_no_imports(tool, monkeypatch, capsys):
    assert call_light(tool, '--help', monkeypatch=monkeypatch) == 0
    text = capsys.readouterr().out
    assert text.startswith('usage: ') and max(map(len, text.splitlines())) <= 100
    shown = 'bash tools/demo.sh' if tool == 'demo.py' else f'python tools/{tool} '
    assert shown in text
    for example in re.findall(r'configs/[\w/-]+\.py', text):
        assert (REPOSITORY / example).is_file()
    assert call_light(tool, '--no-such-option', monkeypatch=monkeypatch) == 2
    assert 'error: ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            'train.py c.py --cfg-options a.b=1 work_dir',
            "--cfg-options: 'work_dir' is not of the form KEY=VALUE",
        ),
        ('benchmarks/step.py c.py --turns 0', '--turns: 0 is too few; use 1 or more'),
        ('benchmarks/loader.py --workers 0 -1', '--workers: -1 is too few; use 0 or more'),
        ('benchmarks/loader.py --workers few', "--workers: invalid number value: 'few'"),
        ('prepare_videos.py x y --jobs 0', '--jobs: 0 is too few'),
        ('train.py c.py --seed -1', '--seed: -1 is too few; use 0 or more'),
        ('compare_methods.py --seeds 0 -1', '--seeds: -1 is too few'),
        ('browse_dataset.py c.py --out x --fps 0', '--fps: 0 is not from 0.1 to 240'),
        ('retrieval.py a b --out c --nprobe 3', '--nprobe is for --index ivf; add that'),
        ('benchmarks/retrieval.py --sizes 9x2', '--sizes 9x2: fewer videos than --neighbours 10'),
    ],
)
def test_wrong_values_are_refused_at_once(command, message, monkeypatch, capsys):
    assert call_light(*command.split(), monkeypatch=monkeypatch) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    'command',
    [
        'export_backbone.py {file} {out}',
        'subset_annotations.py {file} {out} --fraction 0.5',
        'linear_svm.py {file} test.npz --out {out}',
        'grad_cam.py config.py {file} a.mp4 --out {out}',
    ],
)
def test_no_input_is_overwritten(command, tmp_path, monkeypatch, capsys):
    """Nor through a link; a file that is no input may be replaced."""
    for name in ('in.file', 'other.file'):
        (tmp_path / name).touch()
    (tmp_path / 'link').symlink_to(tmp_path / 'in.file')
    for name, is_input in (('in.file', True), ('link', True), ('other.file', False)):
        tool, *args = command.format(file=tmp_path / 'in.file', out=tmp_path / name).split()
        monkeypatch.setattr(sys, 'argv', [tool, *args])
        if not is_input:
            load_tool(tool.removesuffix('.py')).parse_args()
            continue
        with pytest.raises(SystemExit):
            load_tool(tool.removesuffix('.py')).parse_args()
        assert f'{tmp_path / name} is also a file to read; write to' in capsys.readouterr().err


def test_a_wrong_seed_of_the_environment_is_refused(monkeypatch, capsys):
    monkeypatch.setenv('SEED', 'abc')
    assert call_light('demo.py', monkeypatch=monkeypatch) == 2
    assert "--seed: invalid number value: 'abc'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('tool', 'option', 'choices'),
    [
        ('benchmarks/features', '--amp', AMP_DTYPES),
        ('browse_dataset', '--stages', STAGES),
        ('data/make_lists', 'DATASET', MAKERS),
        ('export_backbone', '--branch', BRANCHES),
        ('export_backbone', '--format', ('mmaction', *LAYOUTS)),
        ('extract_features', '--branch', BRANCHES),
        ('feature_map', '--method', METHODS),
        ('grad_cam', '--target', TARGETS),
        ('motion_index', '--measure', MEASURES),
        ('prepare_videos', '--storage', STORAGES),
    ],
)
def test_choices_are_those_of_the_package(tool, option, choices, monkeypatch):
    """The tools name them themselves, since they must not import the package for them."""
    found = {
        name: action.choices
        for action in arguments_of(tool, monkeypatch)
        for name in action.option_strings or [action.metavar]
    }
    assert list(found[option]) == list(choices)


@pytest.mark.parametrize('tool', TOOLS)
def test_only_some_whole_numbers_may_be_negative(tool, monkeypatch):
    found = {action.dest for action in arguments_of(tool, monkeypatch) if action.type is int}
    # The package knows what a quality may be.
    assert found <= {'local_rank', 'quality'}


def test_numbers_in_the_help_are_those_of_the_package(monkeypatch, capsys):
    call_light('prepare_videos.py', '--help', monkeypatch=monkeypatch)
    text = ' '.join(capsys.readouterr().out.split())
    defaults = ', '.join(f'{kind.quality} for {name}' for name, kind in STORAGES.items())
    assert f'default {defaults}' in text and f'(default {TIMEOUT:g})' in text
    call_light('browse_dataset.py', '--help', monkeypatch=monkeypatch)
    text = capsys.readouterr().out
    assert all(suffix in text for suffix in PICTURES + VIDEOS)


@pytest.fixture
def parser(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '5')
    parser = Parser('A tool.')
    parser.add_config('config')
    parser.add_checkpoint()
    parser.add_launcher()
    parser.add_jobs()
    return parser


def test_config_with_options(parser, tmp_path):
    path = tmp_path / 'c.py'
    path.write_text(
        'model = dict(heads=dict(a=dict(n=1), b=dict(n=2)))\n'
        'train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=True)\n'
    )
    options = ('model.heads.a=None', 'model.heads.b.n=[(1,2),(3,4)]', 'work_dir=x=y')
    cfg = load_config(parser.parse_args([str(path), 'none', '--cfg-options', *options]))
    assert cfg.model.heads == {'a': None, 'b': {'n': [(1, 2), (3, 4)]}}
    assert cfg.work_dir == 'x=y'
    assert cfg.train_dataloader == {'batch_size': 4, 'num_workers': 0}
    assert load_config(parser.parse_args([str(path), 'none'])).model.heads.a.n == 1
    with pytest.raises(UserError, match=r'absent\.py: no such config file'):
        load_config(parser.parse_args(['absent.py', 'none']))


def test_checkpoint_and_jobs(parser, tmp_path):
    args = parser.parse_args(['c.py', 'none'])
    assert find_checkpoint(args) is None and args.jobs == available_cores()
    path = tmp_path / 'w.pth'
    path.touch()
    assert find_checkpoint(parser.parse_args(['c.py', str(path)])) == str(path)
    with pytest.raises(UserError, match=r'absent\.pth: no such checkpoint'):
        find_checkpoint(parser.parse_args(['c.py', 'absent.pth']))


def test_local_rank(parser, monkeypatch):
    """Of torch.distributed.launch; torchrun has set it in the environment."""
    parser.parse_args(['c.py', 'none', '--local_rank', '3'])
    assert os.environ['LOCAL_RANK'] == '5'
    monkeypatch.delenv('LOCAL_RANK')
    parser.parse_args(['c.py', 'none', '--local-rank', '3'])
    assert os.environ['LOCAL_RANK'] == '3'


def test_names_that_are_not_utf8_are_printed(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), 'utf-8'))
    tool(argparse.Namespace)(lambda args: print(os.fsdecode(b'caf\xe9.mp4')))()
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue() == b'caf\\udce9.mp4\n'


def test_file_names_in_ascii_are_refused(tmp_path):
    """A video with another name would be left out as one whose name is not UTF-8."""
    tool = REPOSITORY / 'tools/check_videos.py'
    done = subprocess.run(
        [sys.executable, tool, tmp_path],
        env=os.environ | dict(LC_ALL='C', PYTHONUTF8='0'),
        capture_output=True,
        text=True,
    )
    line = 'error: Python reads file names as ASCII; set PYTHONUTF8=1\n'
    assert (done.returncode, done.stderr) == (2, line)


def test_a_log_on_a_full_disk_is_silent(monkeypatch, capsys):
    """Each message would be a traceback."""
    monkeypatch.setattr(logging, 'raiseExceptions', True)
    log = logging.Logger('full')
    log.addHandler(logging.FileHandler('/dev/full'))
    tool(argparse.Namespace)(lambda args: log.error('a message'))()
    assert capsys.readouterr().err == ''


# Interrupted ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('signum', 'status', 'said'), [(signal.SIGINT, 130, 'interrupted\n'), (signal.SIGTERM, 143, '')]
)
def test_a_tool_can_be_stopped_while_it_imports(signum, status, said, tmp_path):
    (tmp_path / 'mmssl_video.py').write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(60)"
    )
    command = [sys.executable, REPOSITORY / 'tools/check_videos.py', tmp_path]
    options = dict(env=os.environ | {'PYTHONPATH': str(tmp_path)}, text=True)
    pipes = dict.fromkeys(('stdout', 'stderr'), subprocess.PIPE)
    with subprocess.Popen(command, **options, **pipes) as process:
        assert process.stdout.readline() == 'importing\n'
        process.send_signal(signum)
        assert process.communicate(timeout=30) == ('', said)
    assert process.returncode == status


STOPPED = f"""
import os, signal, sys, time
sys.path.insert(0, {str(REPOSITORY / 'tools')!r})
from command_line import stopped_cleanly
with stopped_cleanly():
    BLOCK
"""


def run_stopped(block, **options):
    """The exit status and the errors of a block of code in a process of its own."""
    command = [sys.executable, '-c', STOPPED.replace('BLOCK', block)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, **options)
    return done.returncode, done.stderr


def test_sigterm_cleans_up_once(tmp_path):
    """Not interrupted by a second one, nor by what is told about workers that it has ended."""
    block = f"""
    def fault(*_):
        raise RuntimeError('a worker is gone')
    signal.signal(signal.SIGCHLD, fault)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGCHLD)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        open({str(tmp_path / 'clean')!r}, 'w').close()
    """
    assert run_stopped(block) == (143, '')
    assert (tmp_path / 'clean').exists()


def test_the_end_of_python_is_not_interrupted_either():
    """Until the patience is over."""
    block = """
    import atexit, command_line
    atexit.register(lambda: print('clean', file=sys.stderr))
    atexit.register(os.kill, os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert run_stopped(block) == (143, 'clean\n')
    impatient = block.replace('command_line\n', 'command_line; command_line.PATIENCE = 0\n')
    assert run_stopped(impatient) == (-signal.SIGTERM, '')


def test_no_handler_stays():
    earlier = signal.getsignal(signal.SIGTERM)
    with stopped_cleanly():
        assert signal.getsignal(signal.SIGTERM) != earlier
    assert signal.getsignal(signal.SIGTERM) == earlier


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('block', ["print('a')", "print('a'); sys.exit(1)", "print('a' * 100000)"])
def test_output_that_cannot_be_written(block, unbuffered, monkeypatch):
    """Found by `print`, or only at the end; the status is not that of bad videos, 1."""
    monkeypatch.setenv('PYTHONUNBUFFERED', unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, 'w') as pipe:
        assert run_stopped(block, stdout=pipe) == (141, '')
    with open('/dev/full', 'w') as full:
        line = 'error: standard output: No space left on device\n'
        assert run_stopped(block, stdout=full) == (2, line)
    with pytest.raises(BrokenPipeError), stopped_cleanly():
        raise BrokenPipeError  # of another pipe


# Children -------------------------------------------------------------------------------------


@pytest.mark.parametrize('in_thread', [False, True])
def test_children_end_with_their_parent(in_thread, tmp_path):
    """Killed by SIGTERM, it waits for a child that has something to save, as a training does."""
    saved = tmp_path / 'saved'
    child = f"""
import signal, sys
def save(*_):
    open({str(saved)!r}, 'w').close()
    sys.exit(7)
signal.signal(signal.SIGTERM, save)
print('ready', flush=True)
signal.pause()
"""
    started = 'pool.submit(children.run, command).result()'
    block = f"""
    from concurrent.futures import ThreadPoolExecutor
    from command_line import Children
    command = [sys.executable, '-c', {child!r}]
    with ThreadPoolExecutor(1) as pool, Children() as children:
        {started if in_thread else 'children.run(command)'}
    """
    parent = STOPPED.replace('BLOCK', block)
    with subprocess.Popen(
        [sys.executable, '-c', parent], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == 'ready\n'
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert saved.exists()


def test_a_child_that_is_starting_ends(monkeypatch):
    class Slow(subprocess.Popen):
        def __init__(self, *args):
            children.__exit__()
            super().__init__(*args)

    monkeypatch.setattr(subprocess, 'Popen', Slow)
    with Children() as children:
        status = children.run([sys.executable, '-c', 'import signal; signal.pause()'])
    assert status == -signal.SIGTERM


def test_children_have_an_exit_status():
    with Children() as children:
        assert children.run([sys.executable, '-c', 'exit(3)']) == 3
