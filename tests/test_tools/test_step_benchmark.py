"""tools/benchmarks/step.py: the floor is the networks of the step, no more and no less."""

import json
import sys

import pytest
import torch
from measures import step
from mmengine.dataset import pseudo_collate
from tiny_vclr import REPOSITORY, load_tool
from torch.utils.flop_counter import FlopCounterMode

VCLR = str(REPOSITORY / 'configs/vclr/vclr_slowonly-r18_1x16-4x2x3-16e_generated-rgb.py')
VIDEOMAE = str(REPOSITORY / 'configs/videomae/videomae_vit-t_1x16-8x2x1-100e_generated-rgb.py')


@pytest.fixture
def tool():
    return load_tool('benchmarks/step')


def parse(tool, monkeypatch, *options):
    monkeypatch.setattr(sys, 'argv', ['', *map(str, options)])
    return tool.parse_args()


@pytest.mark.parametrize(
    ('config', 'operations'),
    [(VCLR, ('convolution', 'convolution_backward')), (VIDEOMAE, None)],
)
def test_the_floor_computes_what_the_networks_of_the_step_do(tool, monkeypatch, config, operations):
    args = parse(tool, monkeypatch, config, '--batch', 2, '--side', 32)
    cfg = step.load_config(config, args)
    model = step.build_model(cfg, args)
    samples = pseudo_collate([step.make_sample(cfg) for _ in range(args.batch)])
    batch = model.data_preprocessor(samples, training=True)
    counts = []
    for run in (step.make_step(model, cfg, batch), step.make_floor(model, cfg, batch)):
        with FlopCounterMode(display=False) as counter:
            run()
        by_operation = counter.get_flop_counts()['Global']
        counts.append(
            {
                str(key): count
                for key, count in by_operation.items()
                if operations is None or str(key).removeprefix('aten.') in operations
            }
        )
    assert counts[0] == counts[1]
    assert len(counts[0]) >= 2 and all(counts[0].values())


def test_figures(tool, monkeypatch, tmp_path):
    out = tmp_path / 'step.json'
    parse(
        tool,
        monkeypatch,
        VCLR,
        '--batch',
        2,
        '--side',
        32,
        '--turns',
        2,
        '--out',
        out,
        '--cfg-options',
        'model.heads.order=None',
        '--amp',
        '--channels-last',
    )
    tool.main()
    figures = json.loads(out.read_text())
    assert figures['amp'] and figures['batch'] == 2
    assert figures['cfg_options'] == {'model.heads.order': None}
    rows = {row['contender']: row for row in figures['rows']}
    assert set(rows) == {step.STEP, step.FLOOR, step.SHORT}
    for row in rows.values():
        assert row['shape'] == [2, 3, 3, 3, 4, 32, 32]
        assert row['ms_a_sample']['median'] > 0 and row['mib_a_sample'] > 0
    assert rows[step.FLOOR]['times_floor']['median'] == 1
    assert rows[step.STEP]['mib_a_sample'] >= rows[step.FLOOR]['mib_a_sample']


def test_queues_are_full_or_hold_a_batch(tool, monkeypatch):
    args = parse(tool, monkeypatch, VCLR, '--batch', 3)
    cfg = step.load_config(VCLR, args)
    model = step.build_model(cfg, args)
    short = step.build_model(step.shorten_queues(cfg, model, args.batch), args)
    for name in ('inter', 'video'):
        queue = model.heads[name].queue
        assert len(queue.entries) == queue.size == cfg.model.heads[name].queue_size > 3
        torch.testing.assert_close(queue.entries.norm(dim=1), torch.ones(queue.size))
        assert len(short.heads[name].queue.entries) == 3
