"""Runs of tools/train.py as real processes, which can be killed.

They start at once, as forks of a process that has imported all. It has run no operation of torch,
so that its children lack no thread of a pool.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent


class Forks:
    """Starts runs, and waits for them; a context manager."""

    def __enter__(self):
        path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
        self.server = subprocess.Popen(
            [sys.executable, '-W', 'ignore', __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONPATH': path, 'OMP_NUM_THREADS': '1'},
        )
        assert self.server.stdout.readline() == 'ready\n'
        return self

    def __exit__(self, *error):
        self.server.stdin.close()
        self.server.wait()

    def start(self, *args, log, world=1):
        """Run train.py in so many processes; their numbers. Each writes to ``<log>.<rank>``."""
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        group = dict(WORLD_SIZE=str(world), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        args = [*map(str, args), *(['--launcher', 'pytorch'] if world > 1 else [])]
        return [
            self._ask(
                args=args,
                log=f'{log}.{rank}',
                environment=group | dict.fromkeys(('RANK', 'LOCAL_RANK'), str(rank)),
            )
            for rank in range(world)
        ]

    def wait(self, processes):
        """Their exit statuses, negative for a signal."""
        return [self._ask(wait=process) for process in processes]

    def _ask(self, **request):
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())


def serve():
    """Fork and wait as the lines of the standard input say."""
    import torch._dynamo  # noqa: F401  the first optimizer would
    from mmengine.config import Config
    from tiny_vclr import load_tool

    Config.pretty_text = property(repr)  # formatting takes half of the time of so short a run
    main = load_tool('train').main
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
            log = os.open(request['log'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(log, stream)
            os.environ.update(request['environment'])
            sys.argv = ['train.py', *request['args']]
            sys.exit(main())
        print(pid, flush=True)


if __name__ == '__main__':
    serve()
