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
        exit "${PIP_STATUS:-0}" ;;
esac
"""


def executable(path, text):
    """Writes a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(*command, **variables):
    """Runs a program with no interpreter chosen but by `variables`."""
    chosen = ('MMSSL_PYTHON', 'VIRTUAL_ENV', 'PYTHON', 'OMP_NUM_THREADS', 'PYTHONPATH')
    env = {k: v for k, v in os.environ.items() if k not in chosen}
    env |= {k: str(v) for k, v in variables.items()}
    return subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose path has a space, with the scripts only."""
    root = tmp_path / 'a checkout'
    shutil.copytree(TOOLS, root / 'tools', ignore=shutil.ignore_patterns('*.py', '__pycache__'))
    (root / 'setup.py').write_text('# bounds')
    return root


@pytest.mark.parametrize('script', SCRIPTS)
def test_usage_when_arguments_are_missing(script):
    done = run('bash', TOOLS / script, 'config.py')
    assert done.returncode == 2 and done.stdout == ''
    assert done.stderr.startswith('usage: ') and script in done.stderr


def test_dist_train_passes_all_on(checkout, tmp_path):
    python = executable(tmp_path / 'my python', ECHO)
    script = checkout / 'tools/dist_train.sh'
    done = run(
        *('bash', script, 'a config.py', 2, '--cfg-options', 'a.b=c d', 'x=[1,2]'),
        MMSSL_PYTHON=python,
    )
    assert done.stdout.splitlines() == [
        *(f'{checkout}/tools/launch.py', '--nnodes=1', '--node_rank=0', '--nproc_per_node=2'),
        *('--master_addr=127.0.0.1', '--master_port=29500', str(checkout / 'tools/train.py')),
        *('a config.py', '--launcher', 'pytorch', '--cfg-options', 'a.b=c d', 'x=[1,2]'),
        *('OMP=1', 'MASTER_PORT=', f'PYTHONPATH={checkout}/tools/..'),
    ], done.stderr


def test_dist_test_on_several_machines(checkout, tmp_path):
    done = run(
        *('bash', checkout / 'tools/dist_test.sh', 'c.py', 'a checkpoint.pth', 8, '--dump', 'p q'),
        MMSSL_PYTHON=executable(tmp_path / 'python', ECHO),
        NNODES=2,
        NODE_RANK=1,
        MASTER_ADDR='host',
        PORT=1234,
        OMP_NUM_THREADS=3,
        PYTHONPATH='/mine',
    )
    assert done.stdout.splitlines() == [
        *(f'{checkout}/tools/launch.py', '--nnodes=2', '--node_rank=1', '--nproc_per_node=8'),
        *('--master_addr=host', '--master_port=1234', str(checkout / 'tools/test.py'), 'c.py'),
        *('a checkpoint.pth', '--launcher', 'pytorch', '--dump', 'p q'),
        *('OMP=3', 'MASTER_PORT=', f'PYTHONPATH={checkout}/tools/..:/mine'),
    ], done.stderr


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
def test_slurm(checkout, tmp_path, script, arguments):
    executable(tmp_path / 'bin/srun', ECHO)
    python = executable(tmp_path / 'python', ECHO)
    done = run(
        *('bash', checkout / f'tools/slurm_{script}.sh', 'part', 'a job', *arguments, '--x', 'y z'),
        PATH=f'{tmp_path}/bin:{os.environ["PATH"]}',
        MMSSL_PYTHON=python,
        GPUS=4,
        CPUS_PER_TASK=7,
        SRUN_ARGS='--qos=high --quiet',
        PORT=4321,
    )
    assert done.stdout.splitlines() == [
        *('--partition=part', '--job-name=a job', '--gres=gpu:4', '--ntasks=4'),
        *('--ntasks-per-node=4', '--cpus-per-task=7', '--kill-on-bad-exit=1', '--qos=high'),
        *('--quiet', str(python), '-u', str(checkout / f'tools/{script}.py'), *arguments),
        *('--launcher', 'slurm', '--x', 'y z', 'OMP=1', 'MASTER_PORT=4321'),
        f'PYTHONPATH={checkout}/tools/..',
    ], done.stderr


def test_slurm_defaults(checkout, tmp_path):
    executable(tmp_path / 'bin/srun', ECHO)
    done = run(
        *('bash', checkout / 'tools/slurm_train.sh', 'part', 'job', 'c.py'),
        PATH=f'{tmp_path}/bin:{os.environ["PATH"]}',
        MMSSL_PYTHON=executable(tmp_path / 'python', ECHO),
        GPUS=16,
    )
    lines = done.stdout.splitlines()
    assert {'--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8', '--cpus-per-task=5'} <= set(lines)
    (port,) = (line.split('=')[1] for line in lines if line.startswith('MASTER_PORT='))
    assert 12000 <= int(port) < 32000


def which(checkout, **variables):
    """The interpreter that the scripts take."""
    done = run('bash', checkout / 'tools/setup_env.sh', '--which', **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_choice_of_the_interpreter(checkout, tmp_path):
    on_path = executable(tmp_path / 'bin/python', ECHO)
    path = f'{tmp_path}/bin:{os.environ["PATH"]}'
    mine = executable(tmp_path / 'mine', ECHO)
    assert which(checkout, PATH=path) == str(on_path)
    own = executable(checkout / '.venv/bin/python', ECHO)
    assert which(checkout, PATH=path) == str(own)
    assert which(checkout, PATH=path, VIRTUAL_ENV='/active') == str(on_path)
    assert which(checkout, PATH=path, VIRTUAL_ENV='/active', MMSSL_PYTHON=mine) == str(mine)


@pytest.fixture
def setup_env(checkout, tmp_path):
    """Runs setup_env.sh with a fake interpreter; returns what it did besides."""
    fake = executable(tmp_path / 'fake', FAKE_PYTHON)
    log = tmp_path / 'log'

    def call(**variables):
        log.write_text('')
        script = checkout / 'tools/setup_env.sh'
        done = run('bash', script, **{'PYTHON': fake, 'LOG': log, **variables})
        done.steps = [line.split()[0] for line in log.read_text().splitlines()]
        done.log = log.read_text()
        return done

    return call


def test_setup_installs_once(checkout, setup_env):
    done = setup_env()
    assert done.stdout == f'{checkout}/.venv/bin/python\n', done.stderr
    assert done.steps == ['venv', 'pip'] and 'setup: installing' in done.stderr
    assert '-c tools/constraints.txt -e .[lite,dev]' in done.log
    done = setup_env()
    assert done.stdout == f'{checkout}/.venv/bin/python\n'
    assert done.steps == [] and done.stderr == ''


@pytest.mark.parametrize('name', ['setup.py', 'tools/constraints.txt'])
def test_setup_follows_changes(checkout, setup_env, name):
    setup_env()
    with open(checkout / name, 'a') as file:
        file.write('# another bound\n')
    assert setup_env().steps == ['pip']
    assert setup_env().steps == []


def test_setup_follows_the_folder(checkout, setup_env, tmp_path):
    setup_env()
    moved = checkout.rename(tmp_path / 'elsewhere')
    log = tmp_path / 'log of the second'
    done = run('bash', moved / 'tools/setup_env.sh', PYTHON=tmp_path / 'fake', LOG=log)
    assert done.stdout == f'{moved}/.venv/bin/python\n' and log.read_text().startswith('pip')


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


def test_setup_says_what_is_wrong(checkout, setup_env, tmp_path):
    done = setup_env(WRONG_VERSION=1)
    assert done.returncode == 2 and 'is not Python 3.11 or 3.12' in done.stderr
    done = setup_env(MMSSL_PYTHON='/no/such/python')
    assert done.returncode == 2 and '/no/such/python is not a program' in done.stderr
    (checkout / 'setup.py').unlink()
    done = setup_env()
    assert done.returncode == 2 and 'is not a source checkout' in done.stderr


def test_setup_takes_a_chosen_interpreter_as_it_is(checkout, setup_env, tmp_path):
    package = checkout / 'mmssl_video/__init__.py'
    package.parent.mkdir()
    package.touch()
    done = setup_env(MMSSL_PYTHON=sys.executable)
    assert done.stdout == f'{sys.executable}\n' and done.steps == []
    assert not (checkout / '.venv').exists()
    package.write_text("raise ImportError('mmssl_video needs numpy<2: run `pip install`')")
    done = setup_env(MMSSL_PYTHON=sys.executable)
    assert done.returncode == 2
    assert 'ImportError: mmssl_video needs numpy<2: run `pip install`' in done.stderr


def test_two_set_ups_at_once_install_once(checkout, tmp_path):
    if not shutil.which('flock'):
        pytest.skip('no flock on this system')
    slow = FAKE_PYTHON.replace('exit "${PIP_STATUS', 'sleep 1; exit "${PIP_STATUS')
    env = {**os.environ, 'PYTHON': str(executable(tmp_path / 'fake', slow))}
    env['LOG'] = str(tmp_path / 'log')
    env.pop('MMSSL_PYTHON', None)
    command = ['bash', str(checkout / 'tools/setup_env.sh')]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate()[0].decode() for process in both]
    assert outputs == [f'{checkout}/.venv/bin/python\n'] * 2
    assert (tmp_path / 'log').read_text().count('pip install') == 1


def test_run_tests_hands_arguments_to_pytest(checkout, tmp_path):
    package = checkout / 'mmssl_video/__init__.py'
    package.parent.mkdir()
    package.touch()
    done = run(
        *('bash', checkout / 'tools/run_tests.sh', '-k', 'a b'),
        MMSSL_PYTHON=executable(tmp_path / 'python', ECHO),
    )
    assert done.stdout.splitlines() == [
        *('-m', 'pytest', '-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder', '-k', 'a b'),
        *('OMP=1', 'MASTER_PORT=', f'PYTHONPATH={checkout}'),
    ], done.stderr
