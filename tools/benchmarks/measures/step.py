"""A whole training step, and its floor."""

import argparse
import math
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmaction.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mmssl_video import config_check
from mmssl_video.errors import UserError
from mmssl_video.models.encoding import run_backbone
from mmssl_video.models.heads.videomae import complement

from .timing import summary, take_turns, write_figures

STEP, FLOOR, SHORT = 'step', 'floor', 'short queues'
Batch = dict[str, Tensor | list]


def load_config(path: str, args: argparse.Namespace) -> Config:
    """Load the config, and merge the command line into it.

    Raises:
        UserError: If gradients are accumulated over iterations.
    """
    cfg = config_check.load_config(path)
    init_default_scope('mmaction')
    config_check.apply_options(cfg, config_check.read_options(args.cfg_options))
    if args.channels_last:
        cfg.model.channels_last = True
    if args.compile:
        cfg.model.compile = True
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    if accumulated > 1:
        raise UserError(
            f'{path}: optim_wrapper.accumulative_counts is {accumulated}, so most iterations have '
            'no optimiser step; set --cfg-options optim_wrapper.accumulative_counts=1'
        )
    if args.amp:
        cfg.optim_wrapper.type = 'Bf16OptimWrapper'
    for step in cfg.train_dataloader.dataset.pipeline:
        for inner in (step, *step.get('transforms', [])):
            if args.side and inner.type == 'Resize':
                inner.scale = (args.side, args.side)
    return cfg


def make_sample(cfg: Config) -> dict:
    """Pass a video of noise through the pipeline."""
    picture = np.random.default_rng(0).integers(0, 256, (256, 340, 3), dtype=np.uint8)
    results = dict(total_frames=1000, start_index=0, avg_fps=25.0, modality='RGB')
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type.endswith('Decode'):
            size = picture.shape[:2]
            imgs = [picture] * results['frame_inds'].size
            results.update(imgs=imgs, img_shape=size, original_shape=size)
        elif not step.type.endswith('Init'):
            results = TRANSFORMS.build(step)(results)
    return results


def build_model(cfg: Config, args: argparse.Namespace) -> torch.nn.Module:
    """Build the recognizer of a config in training mode, with full queues."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.to(args.device).train()
    for head in model.heads.values():
        if hasattr(head, 'set_epoch'):
            head.set_epoch(cfg.train_cfg.max_epochs - 1)
        queue = getattr(head, 'queue', None)
        if queue is not None:
            queue.embeddings.copy_(F.normalize(torch.randn_like(queue.embeddings), dim=1))
            queue.num_filled = queue.size
    return model


def shorten_queues(cfg: Config, model: torch.nn.Module, batch_size: int) -> Config | None:
    """Return the config with queues of one batch, or ``None`` if there are no queues."""
    short = deepcopy(cfg)
    queues = {name: getattr(head, 'queue', None) for name, head in model.heads.items()}
    names = [name for name, queue in queues.items() if queue is not None]
    for name in names:
        short.model.heads[name].queue_size = batch_size * model.heads[name].keys_per_sample
    return short if names else None


def make_step(model: torch.nn.Module, cfg: Config, batch: Batch) -> Callable[[], None]:
    """Make a training step like MMEngine's ``train_step``."""
    optim_wrapper = build_optim_wrapper(model, deepcopy(cfg.optim_wrapper))

    def step() -> None:
        with optim_wrapper.optim_context(model):
            losses = model(**batch, mode='loss')
        optim_wrapper.update_params(model.parse_losses(losses)[0])

    return step


def make_floor(model: torch.nn.Module, cfg: Config, batch: Batch) -> Callable[[], None]:
    """Make the network passes that a step contains."""
    views = model._split_views(**batch)

    def together(wanted: Iterable[int]) -> Tensor:
        return torch.cat([views[view] for view in sorted(wanted)], dim=1).flatten(0, 1)

    backbone, heads = deepcopy(model.backbone), deepcopy(model.heads)
    networks, target = [backbone], None
    if model.target_views:
        target = together(model.target_views)
        networks.append(deepcopy(model.target_backbone.module))
    if options := cfg.model.get('compile'):
        for network in networks:
            network.compile(**({} if options is True else options))
    passes = []  # clips, visible tokens and decoder
    online = {v for head in heads.values() if not head.masks for v in head.online_views}
    if online:
        passes.append((together(online), None, None))
    for head in heads.values():
        for view in head.online_views if head.masks else ():
            for visible in head.draw_visible(views[view]):
                passes.append((together([view]), visible.flatten(0, 1), head))
    context = build_optim_wrapper(model, deepcopy(cfg.optim_wrapper)).optim_context

    def encode(clips: Tensor, visible: Tensor | None, head: torch.nn.Module | None) -> Tensor:
        if head is None:
            return run_backbone(backbone, clips)
        masked = complement(visible, math.prod(head.grid(clips)))
        return head.decode(backbone(clips, visible), visible, masked)

    def floor() -> None:
        if target is not None:
            with context(model), torch.no_grad():
                run_backbone(networks[1], target)
        for one in passes:
            with context(model):
                output = encode(*one)
            output.float().mean().backward()
        for parameter in (*backbone.parameters(), *heads.parameters()):
            parameter.grad = None

    return floor


def peak_memory(run: Callable[[], None], device: str) -> float:
    """Return the peak memory of torch during a run, in MiB above its value before."""
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    return np.cumsum([e.nbytes() for e in events if e.name() == '[memory]']).max() / 2**20


def take_turn(run: Callable[[], None], args: argparse.Namespace, turn: int) -> float:
    """Return the milliseconds per sample."""
    on_gpu = args.device.startswith('cuda')
    clock = time.perf_counter if on_gpu else time.process_time
    start = clock()
    for _ in range(args.steps):
        run()
    if on_gpu:
        torch.cuda.synchronize()
    return 1e3 * (clock() - start) / (args.steps * args.batch)


def measure(path: str, args: argparse.Namespace) -> list[dict]:
    """Return one row for each contender of a config."""
    cfg = load_config(path, args)
    model = build_model(cfg, args)
    samples = pseudo_collate([make_sample(cfg) for _ in range(args.batch)])
    batch = model.data_preprocessor(samples, training=True)
    contenders = {STEP: make_step(model, cfg, batch), FLOOR: make_floor(model, cfg, batch)}
    short = shorten_queues(cfg, model, args.batch)
    if short:
        contenders[SHORT] = make_step(build_model(short, args), short, batch)
    memory = {}
    for name, run in contenders.items():
        run()  # compiles
        memory[name] = peak_memory(run, args.device)
    turns = {name: partial(take_turn, run, args) for name, run in contenders.items()}
    times = take_turns(turns, args.turns, Path(path).stem)
    return [
        dict(
            config=path,
            contender=name,
            shape=list(batch['inputs'].shape),
            ms_a_sample=summary(times[name]),
            times_floor=summary(np.divide(times[name], times[FLOOR])),
            mib_a_sample=memory[name] / args.batch,
        )
        for name in contenders
    ]


def make_table(rows: list[dict]) -> Table:
    """Make a table with a line for each config and contender."""
    table = Table('', '', 'ms a sample', '× floor', 'MiB a sample')
    for row in rows:
        ratio = row['times_floor']
        spread = f'{ratio["first_quartile"]:.3f} … {ratio["third_quartile"]:.3f}'
        table.add_row(
            Path(row['config']).stem.split('_')[0],
            row['contender'],
            f'{row["ms_a_sample"]["median"]:.3g}',
            f'{ratio["median"]:.3f} ({spread})',
            f'{row["mib_a_sample"]:.3g}',
        )
    return table


def set_device(name: str) -> None:
    """Make a GPU the current one, which torch measures.

    Raises:
        UserError: If torch has no such GPU.
    """
    device = torch.device(name)
    if device.type == 'cpu':
        return
    number, available = device.index or 0, torch.cuda.device_count()
    if number >= available:
        raise UserError(
            f'--device {name}: torch finds {available} GPUs here; name one of them, or cpu'
        )
    torch.cuda.set_device(number)


def run_benchmark(args: argparse.Namespace) -> None:
    """Measure, print the figures, and write them to a file if one is named."""
    torch.set_num_threads(1)
    set_device(args.device)
    MMLogger.get_instance('step', log_level='ERROR')  # the log of initial weights is long
    rows = [row for path in args.configs for row in measure(path, args)]
    Console(width=120).print(make_table(rows))
    if args.out:
        settings = {
            key: value for key, value in vars(args).items() if key not in ('configs', 'out')
        }
        settings['cfg_options'] = config_check.read_options(args.cfg_options) or None
        write_figures(args.out, settings, rows)
