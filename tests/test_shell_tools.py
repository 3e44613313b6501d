"""The shell scripts in tools/, with stand-ins for python and srun that print their arguments."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / 'tools'
SCRIPTS = [
    *('dist_train.sh', 'dist_test.sh', 'dist_extract_features.sh'),
    *('slurm_train.sh', 'slurm_test.sh'),
]

# Prints what it is called with, one argument a line, and the variables the scripts set.
ECHO = """#!/bin/bash
printf '%s\\n' "$@"
printf '%s\\n' "OMP=$OMP_NUM_THREADS" "MASTER_PORT=${MASTER_PORT:-}" "PYTHONPATH=$PYTHONPATH"
"""

# An interpreter whose `-m venv` and `-m pip` only leave traces: $LOG gets a line for each.
FAKE_PYTHON = """#!/bin/bash
case "$1 $2" in
    '-c import'*) exit "${WRONG_VERSION:-0}" ;;
    --version*) echo Python 3.11.7 ;;
    '-m venv')
        echo "venv $*" >>"$LOG"
        mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
    '-m pip')
        [[ $3 == --version ]] && exit
        echo "pip ${*:3}" >>"$LOG"
        sleep "${PIP_SECONDS:-0}"
        exit "${PIP_STATUS:-0}" ;;
esac
"""


def executable(path, text=ECHO):
    """Writes a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def start(*command, **variables):
    """Starts a program with no interpreter chosen but by `variables`."""
    chosen = ('MMSSL_PYTHON', 'VIRTUAL_ENV', 'PYTHON', 'OMP_NUM_THREADS', 'PYTHONPATH')
    env = {k: v for k, v in os.environ.items() if k not in chosen}
    env |= {k: str(v) for k, v in variables.items()}
    streams = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(list(map(str, command)), env=env, **streams)


def run(*command, **variables):
    """Runs it to its end."""
    process = start(*command, **variables)
    output = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, *output)


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose path has a space, with the scripts only."""
    root = tmp_path / 'a checkout'
    shutil.copytree(TOOLS, root / 'tools', ignore=shutil.ignore_patterns('*.py', '__pycache__'))
    (root / 'setup.py').write_text('# bounds')
    (root / 'mmssl_video').mkdir()
    (root / 'mmssl_video/__init__.py').touch()
    return root


@pytest.fixture
def call(checkout, tmp_path):
    """``call(script, *arguments, **variables)`` -> what the stand-ins print, line by line."""
    python = executable(tmp_path / 'my python')
    executable(tmp_path / 'bin/srun')

    def call(script, *arguments, **variables):
        variables['PATH'] = f'{tmp_path}/bin:{os.environ["PATH"]}'
        script = checkout / 'tools' / script
        done = run('bash', script, *arguments, MMSSL_PYTHON=python, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return call


@pytest.mark.parametrize('script', SCRIPTS)
def test_usage_when_arguments_are_missing(script):
    done = run('bash', TOOLS / script, 'config.py')
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.startswith('usage: ') and script in done.stderr


@pytest.mark.parametrize('gpus', ['two', '0', '--work-dir'])
def test_usage_when_gpus_is_no_number(gpus):
    for arguments, variables in (
        (('dist_train.sh', 'c.py', gpus, 'w'), {}),
        (('slurm_train.sh', 'part', 'job', 'c.py'), dict(GPUS=gpus)),
    ):
        done = run('bash', TOOLS / arguments[0], *arguments[1:], **variables)
        assert done.returncode == 2 and done.stderr.startswith('usage: ')
        assert done.stderr.endswith(f"error: GPUS is '{gpus}', not a positive number\n")


@pytest.mark.parametrize(
    ('tool', 'arguments'),
    [
        ('train', ['a config.py']),
        ('test', ['a config.py', 'a checkpoint.pth']),
        ('extract_features', ['a config.py', 'none', 'x y.npz']),
    ],
)
def test_dist_passes_all_on(checkout, call, tool, arguments):
    options = ['--cfg-options', 'a.b=c d', 'x=[1,2]']
    assert call(f'dist_{tool}.sh', *arguments, 2, *options) == [
        *(f'{checkout}/tools/launch.py', '--nnodes=1', '--node_rank=0', '--nproc_per_node=2'),
        *('--master_addr=127.0.0.1', '--master_port=29500', f'{checkout}/tools/{tool}.py'),
        *(*arguments, '--launcher', 'pytorch', *options),
        *('OMP=1', 'MASTER_PORT=', f'PYTHONPATH={checkout}/tools/..'),
    ]


def test_dist_on_several_machines(checkout, call):
    variables = dict(NNODES=2, NODE_RANK=1, MASTER_ADDR='host', PORT=1234, OMP_NUM_THREADS=3)
    found = call('dist_test.sh', 'c.py', 'x.pth', 8, PYTHONPATH='/mine', **variables)
    assert found == [
        *(f'{checkout}/tools/launch.py', '--nnodes=2', '--node_rank=1', '--nproc_per_node=8'),
        *('--master_addr=host', '--master_port=1234', f'{checkout}/tools/test.py'),
        *('c.py', 'x.pth', '--launcher', 'pytorch'),
        *('OMP=3', 'MASTER_PORT=', f'PYTHONPATH={checkout}/tools/..:/mine'),
    ]


@pytest.mark.parametrize(
    ('fails', 'status', 'told'),
    [
        ('sys.exit(2)', 2, ''),
        ('os.kill(os.getpid(), signal.SIGKILL)', 137, 'error: process 1 was ended by SIGKILL\n'),
    ],
)
def test_launch_ends_as_the_process_that_failed(tmp_path, forks, fails, status, told):
    """The other is still at work, and is stopped."""
    script = tmp_path / 'fails.py'
    script.write_text(
        f'import os, signal, sys, time\n{fails} if os.environ["RANK"] == "1" else time.sleep(60)\n'
    )
    done = forks.run('launch.py', '--standalone', '--nproc_per_node=2', script)
    assert (done.returncode, done.stdout) == (status, '')
    assert done.stderr.endswith(told) and 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'script, arguments', [('train', ['a config.py']), ('test', ['a config.py', 'a ckpt.pth'])]
)
def test_slurm(checkout, call, tmp_path, script, arguments):
    variables = dict(GPUS=4, CPUS_PER_TASK=7, SRUN_ARGS='--qos=high --quiet', PORT=4321)
    found = call(f'slurm_{script}.sh', 'part', 'a job', *arguments, '--x', 'y z', **variables)
    assert found == [
        *('--partition=part', '--job-name=a job', '--gres=gpu:4', '--ntasks=4'),
        *('--ntasks-per-node=4', '--cpus-per-task=7', '--kill-on-bad-exit=1', '--qos=high'),
        *('--quiet', f'{tmp_path}/my python', '-u', f'{checkout}/tools/{script}.py', *arguments),
        *('--launcher', 'slurm', '--x', 'y z', 'OMP=1', 'MASTER_PORT=4321'),
        f'PYTHONPATH={checkout}/tools/..',
    ]


def test_slurm_defaults(call):
    lines = call('slurm_train.sh', 'part', 'job', 'c.py', GPUS=16)
    assert {'--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8', '--cpus-per-task=5'} <= set(lines)
    (port,) = (line.split('=')[1] for line in lines if line.startswith('MASTER_PORT='))
    assert 12000 <= int(port) < 32000


def test_run_tests_hands_arguments_to_pytest(checkout, call):
    assert call('run_tests.sh', '-k', 'a b') == [
        *('-m', 'pytest', '-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder', '-k', 'a b'),
        *('OMP=1', 'MASTER_PORT=', f'PYTHONPATH={checkout}'),
    ]


def test_choice_of_the_interpreter(checkout, tmp_path):
    def which(**variables):
        variables['PATH'] = f'{tmp_path}/bin:{os.environ["PATH"]}'
        done = run('bash', checkout / 'tools/setup_env.sh', '--which', **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    on_path, mine = executable(tmp_path / 'bin/python'), executable(tmp_path / 'mine')
    assert which() == str(on_path)
    own = executable(checkout / '.venv/bin/python')
    assert which() == str(own)
    assert which(VIRTUAL_ENV='/active') == str(on_path)
    assert which(VIRTUAL_ENV='/active', MMSSL_PYTHON=mine) == str(mine)


@pytest.fixture
def setup_env(checkout, tmp_path):
    """Runs setup_env.sh with a fake interpreter; returns what it did besides."""
    fake = executable(tmp_path / 'fake', FAKE_PYTHON)
    log = tmp_path / 'log'

    def call(root=checkout, **variables):
        log.write_text('')
        script = root / 'tools/setup_env.sh'
        done = run('bash', script, **{'PYTHON': fake, 'LOG': log, **variables})
        done.log = log.read_text()
        done.steps = [line.split()[0] for line in done.log.splitlines()]
        return done

    return call


def test_setup_installs_once_and_follows_changes(checkout, setup_env, tmp_path):
    done = setup_env()
    assert done.stdout == f'{checkout}/.venv/bin/python\n', done.stderr
    assert done.steps == ['venv', 'pip'] and 'setup: installing' in done.stderr
    assert '-c tools/constraints.txt -e .[lite,dev]' in done.log
    done = setup_env()
    assert done.stdout == f'{checkout}/.venv/bin/python\n'
    assert done.steps == [] and done.stderr == ''
    for name in ('setup.py', 'tools/constraints.txt'):
        with open(checkout / name, 'a') as file:
            file.write('# another bound\n')
        assert setup_env().steps == ['pip']
        assert setup_env().steps == []
    moved = checkout.rename(tmp_path / 'elsewhere')
    done = setup_env(moved)
    assert done.stdout == f'{moved}/.venv/bin/python\n' and done.steps == ['pip']


def test_setup_goes_on_after_an_interruption(checkout, setup_env):
    done = setup_env(PIP_STATUS=1)
    assert done.returncode == 2 and done.stdout == ''
    assert 'run the same command to continue' in done.stderr
    assert setup_env().steps == ['pip']
    # A change whose installation fails is not taken for done either.
    (checkout / 'setup.py').write_text('# other bounds')
    assert setup_env(PIP_STATUS=1).returncode == 2
    (checkout / 'setup.py').write_text('# bounds')
    assert setup_env().steps == ['pip']
    # .venv without its interpreter is made again.
    (checkout / '.venv/bin/python').unlink()
    assert setup_env().steps == ['venv', 'pip']


def test_setup_says_what_is_wrong(checkout, setup_env):
    done = setup_env(WRONG_VERSION=1)
    assert done.returncode == 2 and 'is not Python 3.11 or 3.12' in done.stderr
    done = setup_env(MMSSL_PYTHON='/no/such/python')
    assert done.returncode == 2 and '/no/such/python is not a program' in done.stderr
    (checkout / 'setup.py').unlink()
    done = setup_env()
    assert done.returncode == 2 and 'is not a source checkout' in done.stderr


def test_setup_takes_a_chosen_interpreter_as_it_is(checkout, setup_env):
    done = setup_env(MMSSL_PYTHON=sys.executable)
    assert done.stdout == f'{sys.executable}\n' and done.steps == []
    assert not (checkout / '.venv').exists()
    message = 'mmssl_video needs numpy<2: run `pip install`'
    (checkout / 'mmssl_video/__init__.py').write_text(f'raise ImportError({message!r})')
    done = setup_env(MMSSL_PYTHON=sys.executable)
    assert done.returncode == 2 and f'ImportError: {message}' in done.stderr


def test_two_set_ups_at_once_install_once(checkout, tmp_path):
    if not shutil.which('flock'):
        pytest.skip('no flock on this system')
    variables = dict(PYTHON=executable(tmp_path / 'fake', FAKE_PYTHON), LOG=tmp_path / 'log')
    command = 'bash', checkout / 'tools/setup_env.sh'
    both = [start(*command, PIP_SECONDS=1, **variables) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert outputs == [f'{checkout}/.venv/bin/python\n'] * 2
    assert (tmp_path / 'log').read_text().count('pip install') == 1
