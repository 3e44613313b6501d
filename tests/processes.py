"""Two processes with a gloo group, for tests of what looks across processes."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

WORLD = 2


def run_in_processes(function, folder, *args):
    """What ``function(rank, *args)``, of the top level of a module, returns in each process."""
    mp.start_processes(_process, (function, str(folder), args), WORLD, start_method='spawn')
    return [torch.load(f'{folder}/rank{rank}.pt') for rank in range(WORLD)]


def _process(rank, function, folder, args):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=WORLD)
    torch.save(function(rank, *args), f'{folder}/rank{rank}.pt')
    dist.destroy_process_group()
