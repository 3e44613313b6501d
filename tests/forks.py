"""Tools of the repository as real processes, which can be killed and interrupted.

They start at once, as forks of a process that has imported all. It has run no operation of torch,
so that its children lack no thread of a pool.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parent
# What a run imports on the way.
PRELOADED = ['mmssl_video', 'mmaction.apis', 'mmaction.engine', 'mmaction.visualization']
PRELOADED += ['matplotlib.figure', 'matplotlib.backends.backend_agg', 'pkg_resources', 'setuptools']
PRELOADED += ['sklearn.svm', 'torch._dynamo', 'stubs']


@cache
def shared_forks():
    """The `Forks` of this process; they end with it."""
    forks = Forks()
    atexit.register(forks.end)
    return forks


class Forks:
    """Starts tools, each in a process group of its own, and waits for them."""

    def __init__(self):
        path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
        self.server = subprocess.Popen(
            [sys.executable, '-W', 'ignore', __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {'PYTHONPATH': path, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
        )
        assert self.server.stdout.readline() == 'ready\n'

    def end(self):
        self.server.kill()  # forked workers of the tests may keep its input open
        self.server.communicate()

    def start(self, tool, *args, out, err=None, cwd=None, **environment):
        """Run ``tools/<tool>``, or another file by its whole path; the number of its process.

        Args:
            out, err: Files of its output and of its errors; by default one for both.
            cwd: Its folder.
            environment: Variables to set.
        """
        return self._ask(
            tool=str(TESTS.parent / 'tools' / tool),
            args=list(map(str, args)),
            streams=[str(out), str(err or out)],
            cwd=str(cwd or Path.cwd()),
            environment=environment,
        )

    def start_ranks(self, tool, *args, log, world):
        """Run it in so many processes; their numbers. Each writes to ``<log>.<rank>``."""
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        group = dict(WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        args = [*args, *(['--launcher', 'pytorch'] if world > 1 else [])]
        return [
            self.start(
                tool,
                *args,
                out=f'{log}.{rank}',
                **group,
                **dict.fromkeys(('RANK', 'LOCAL_RANK'), str(rank)),
            )
            for rank in range(world)
        ]

    def wait(self, *processes):
        """Their exit statuses, negative for a signal."""
        return [self._ask(wait=process) for process in processes]

    def run(self, tool, *args, cwd=None, stop_when=None, signum=signal.SIGINT):
        """Run a tool to its end: its exit status, output and errors as `subprocess.run` has them.

        Once ``stop_when()`` is true, it and its workers get a signal, as from a terminal.
        """
        with tempfile.TemporaryDirectory() as folder:
            out, err = (Path(folder, name) for name in ('out', 'err'))
            process = self.start(tool, *args, out=out, err=err, cwd=cwd)
            if stop_when:
                deadline = time.monotonic() + 120
                while not stop_when():
                    assert time.monotonic() < deadline, err.read_text()
                    time.sleep(0.02)
                os.killpg(process, signum)
            (status,) = self.wait(process)
            with contextlib.suppress(ProcessLookupError):
                while stop_when and time.monotonic() < deadline:  # its workers end, too
                    os.killpg(process, 0)
                    time.sleep(0.02)
            texts = (path.read_text(errors='replace') for path in (out, err))
            return subprocess.CompletedProcess([tool, *args], status, *texts)

    def _ask(self, **request):
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


def serve():
    """Fork and wait as the lines of the standard input say."""
    for name in PRELOADED:
        importlib.import_module(name)
    sys.modules['stubs'].make_mmengine_quick()
    gc.freeze()  # as pages that are written to are copied
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    print('ready', flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if 'wait' in request:
            _, status = os.waitpid(request['wait'], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.chdir(request['cwd'])
            for stream, path in enumerate(request['streams'], 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), stream)
            os.environ.update(request['environment'])
            tool = request['tool']
            sys.argv = [tool, *request['args']]
            sys.path.insert(0, os.path.dirname(tool))
            runpy.run_path(tool, run_name='__main__')
            sys.exit()
        print(pid, flush=True)


if __name__ == '__main__':
    serve()
