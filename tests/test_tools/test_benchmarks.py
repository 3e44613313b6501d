"""tools/benchmarks: what is compared does the same work, and each figure is of one thing."""

import json
import random

import numpy as np
import pytest
import torch
from measures import augment, decoding, features, loader, step
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from tiny_vclr import REPOSITORY, TinyBackbone, load_tool, tiny_config, write_videos
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

VCLR = REPOSITORY / 'configs/vclr/vclr_slowonly-r18_1x16-4x2x3-16e_generated-rgb.py'
ACCUMULATE = 'optim_wrapper.accumulative_counts'
VIDEOMAE = REPOSITORY / 'configs/videomae/videomae_vit-t_1x16-8x2x1-100e_generated-rgb.py'


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Three videos of which one lies deeper, and the tiny config beside them."""
    root = tmp_path_factory.mktemp('benchmarks')
    folder = write_videos(root / 'videos', 3)
    (folder / 'deeper').mkdir()
    (folder / 'video_1.mp4').rename(folder / 'deeper' / 'video_1.mp4')
    tiny_config(folder, root / 'work', 'benchmarks').dump(root / 'tiny.py')
    return folder


@pytest.fixture
def measure(tool_runner, tmp_path):
    """``measure(name, *arguments)`` -> the rows that a benchmark writes, and what it prints."""

    def measure(name, *arguments):
        out = tmp_path / 'figures.json'
        status, said = tool_runner(f'benchmarks/{name}')(*arguments, '--out', out)
        assert status == 0, said.err
        return json.loads(out.read_text()), said.out

    return measure


def parse(name, monkeypatch, *arguments):
    """The arguments of a benchmark."""
    tool = load_tool(f'benchmarks/{name}')
    monkeypatch.setattr('sys.argv', ['', *map(str, arguments)])
    return tool.parse_args()


# Augmentations ----------------------------------------------------------------------------------


def test_the_stacked_chain_makes_the_same_frames():
    """From the same seeds; 8 bit weights of the blur and a rounding of the mean grey apart."""
    steps, groups = augment.read_works()['CVRL']
    outs = []
    for make in (augment.make_own, augment.make_stacked):
        random.seed(2)
        np.random.seed(2)
        outs.append(np.stack(make(steps)(groups)).astype(int))
    error = np.abs(outs[0] - outs[1])
    assert error.max() <= 10 and error.mean() < 1


def test_figures_of_augmentations(measure, monkeypatch):
    works = {name: work for name, work in augment.read_works().items() if name in ('VCLR', 'grey')}
    monkeypatch.setattr(augment, 'read_works', lambda: works)
    figures, _ = measure('augment', '--turns', 1, '--samples', 1, '--busy', 0)
    rows = {(row['work'], row['contender']): row for row in figures['rows']}
    assert {work for work, _ in rows} == set(works)
    assert rows['VCLR', 'device']['frames'] == 9 and rows['grey', augment.OURS]['frames'] == 16
    for (work, _), row in rows.items():
        own = rows[work, augment.OURS]['ms_a_frame']['median']
        ratio = row['times_ours']['median']
        assert ratio == pytest.approx(row['ms_a_frame']['median'] / own) and ratio > 0


# Decoding ---------------------------------------------------------------------------------------


def test_figures_of_decoding(measure, tmp_path, monkeypatch):
    """Both readers read what is drawn."""
    pytest.importorskip('decord')
    path = write_videos(tmp_path, 1, num_frames=64) / 'video_0.mp4'
    drawn = {name: [] for name in decoding.READERS}
    for name, read in decoding.READERS.items():

        def noted(path, indices, name=name, read=read):
            drawn[name].append((path.name, *indices))
            read(path, indices)

        monkeypatch.setitem(decoding.READERS, name, noted)
    figures, printed = measure('decoding', path, '--turns', 1)
    # Four files and two patterns, in the turn that warms up and in the one that counts.
    assert sorted(drawn[decoding.OURS]) == sorted(drawn[decoding.BASELINE])
    assert len(drawn[decoding.OURS]) == len({*drawn[decoding.OURS]}) == 4 * 2 * 2
    rows = figures['rows']
    for row in rows:
        ours, theirs = (row['ms'][name]['median'] for name in (decoding.OURS, decoding.BASELINE))
        assert row['of_decord']['median'] == pytest.approx(ours / theirs)
        assert f'{ours:.1f}' in printed and f'{theirs:.1f}' in printed
    sizes = [row['size'] for row in rows if row['frames'] == '6 random']
    assert len(rows) == 8 and sizes[0] == path.stat().st_size and sizes[3] == max(sizes)


# Features ---------------------------------------------------------------------------------------


def test_figures_of_features(measure, videos, monkeypatch):
    """Five batches of two out of three videos, in a turn that warms up and in one that counts."""
    seen = []
    forward = TinyBackbone.forward

    def noted(self, images):
        maps = forward(self, images)
        seen.append((images.double().sum().item(), len(images), maps.dtype))
        return maps

    monkeypatch.setattr(TinyBackbone, 'forward', noted)
    options = '--batch-size 2 --batches 5 --workers 1 --turns 1 --num-frames 4 --amp bfloat16 '
    options += '--num-videos 3 --cfg-options feature_head=None'
    config = videos.parent / 'tiny.py'
    figures, printed = measure('features', '--config', config, '--videos', videos, *options.split())
    assert figures['num_videos'] == 3 and figures['cfg_options'] == {'feature_head': None}
    passes = [seen[first : first + 5] for first in range(0, len(seen), 5)]
    assert len(passes) == 4 * 2
    bare = passes[0]
    # Those of the bare forward are the first four and the first again; workers keep no order.
    assert bare[4] == bare[0] and len({*bare}) == 3
    assert all({*batches} == {*bare} for batches in passes)
    assert {*bare[0][1:]} == {8, torch.bfloat16}
    rows = {row['contender']: row for row in figures['rows']}
    assert list(rows) == [features.BARE, features.FEATURES, features.KEPT, features.ALONE]
    for row in rows.values():
        speed, share = row['videos_a_second']['median'], row['of_bare_forward']['median']
        assert share == pytest.approx(speed / rows[features.BARE]['videos_a_second']['median'])
        assert f'{speed:.2f}' in printed


# Loading ----------------------------------------------------------------------------------------


def of_loader(videos, *options):
    return '--config', videos.parent / 'tiny.py', '--videos', videos, '--turns', 1, *options


def test_parts_do_not_count_what_is_within_them(monkeypatch):
    """By a clock that goes on only when it is told."""
    now = [0.0]
    monkeypatch.setattr(loader.time, 'perf_counter', lambda: now[0])
    watch = loader.Stopwatch()

    def work(seconds, *inner):
        now[0] += seconds
        for function in inner:
            function()

    blur = watch.time(lambda: work(2), 'blur')
    colours = watch.time(lambda: work(5, blur), 'colours')
    watch.time(lambda: work(1, colours, blur, blur), 'other')()
    colours()
    assert watch.spent == {'blur': 8, 'colours': 10, 'other': 1}


def test_all_loaders_read_the_same_frames(videos, monkeypatch, tmp_path):
    """To the pixel with MMAction2's decoder, but for what JPEG loses with the storages."""
    pytest.importorskip('decord')
    options = of_loader(videos, '--workers', 0, '--storage', 'originals', 'mjpeg')
    args = parse('loader', monkeypatch, *options)
    args.storage.append('frames')
    decoded = {}
    for (storage, contender, _), source in loader.make_sources(args, tmp_path):
        steps = source.dataset.pipeline.transforms
        ends = [type(step).__name__.endswith('Decode') for step in steps].index(True) + 1
        del steps[ends:]
        source.dataset.set_epoch(0, 1)
        samples = [source.dataset[number] for number in range(3)]
        decoded[storage, contender] = (
            np.stack([sample['frame_inds'].ravel() for sample in samples]),
            np.stack([sample['imgs'] for sample in samples]).astype(int),
        )
    numbers, frames = decoded['originals', loader.OURS]
    assert len(decoded) == 7 and len({*map(tuple, numbers)}) > 1
    for (storage, contender), (others, pixels) in decoded.items():
        first = storage == 'frames'  # the number of the first one
        np.testing.assert_array_equal(others, numbers + first, str((storage, contender)))
        error = np.abs(pixels - frames)
        assert error.max() == 0 if storage == 'originals' else 0 < error.mean() < 12


def test_figures_of_loaders(measure, videos):
    pytest.importorskip('decord')
    options = '--workers 0 0 --storage originals mjpeg originals --samples 4 --batch-size 2'
    options += ' --cfg-options train_dataloader.batch_size=2'
    figures, printed = measure('loader', *of_loader(videos, *options.split()))
    rows = {(row['storage'], row['contender']): row for row in figures['rows']}
    assert figures['num_videos'] == 8 and len(rows) == len(figures['rows']) == 5
    assert figures['cfg_options'] == {'train_dataloader.batch_size': 2}
    stock = rows['originals', loader.STOCK]['samples_a_second']['median']
    for (storage, contender), row in rows.items():
        speed = row['samples_a_second']['median']
        alone = rows[storage, loader.DECODING]['samples_a_second']['median']
        assert row['times_mmaction2']['median'] == pytest.approx(speed / stock)
        assert row['of_decoding']['median'] == pytest.approx(alone / speed)
        parts = {part: value['median'] for part, value in row['ms_a_sample'].items()}
        assert sum(parts.values()) == pytest.approx(1e3 / speed)  # of a single turn
        assert min(parts.values()) > 0
        known = {'open', 'decode', 'collate', 'other'}
        if contender != loader.DECODING:
            known |= {'crop, resize', 'colours', 'pack'}
        if contender == loader.OURS:
            known |= {'blur'}
        assert parts.keys() == known
        assert f'{speed:.1f}' in printed


@pytest.mark.parametrize(
    ('tool', 'options', 'words'),
    [
        ('loader', '--videos {0}', '--videos {0}: has no video; name a folder of videos'),
        (
            'loader',
            '--cfg-options train_dataloader.dataset.pipeline.0.type=RawFrameDecode',
            'VideoInit',
        ),
        ('decoding', '{1}/video_0.mp4', 'has 12 frames; take one of 64 or more'),
    ],
)
def test_what_cannot_be_measured(videos, tmp_path, tool_runner, tool, options, words):
    pytest.importorskip('decord')
    options = options.format(tmp_path, videos).split()
    if tool == 'loader':
        options = of_loader(videos, *options)
    status, said = tool_runner(f'benchmarks/{tool}')(*options)
    assert status == 2 and words.format(tmp_path) in said.err


# A step of training -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('config', 'operations'),
    [(VCLR, ('convolution', 'convolution_backward')), (VIDEOMAE, None)],
)
def test_the_floor_computes_what_the_networks_of_the_step_do(monkeypatch, config, operations):
    args = parse('step', monkeypatch, config, '--batch', 2, '--side', 32)
    cfg = step.load_config(str(config), args)
    model = step.build_model(cfg, args)
    samples = pseudo_collate([step.make_sample(cfg) for _ in range(args.batch)])
    batch = model.data_preprocessor(samples, training=True)
    counts = []
    for run in (step.make_step(model, cfg, batch), step.make_floor(model, cfg, batch)):
        with FlopCounterMode(display=False) as counter:
            run()
        counts.append(
            {
                str(key): count
                for key, count in counter.get_flop_counts()['Global'].items()
                if operations is None or str(key).removeprefix('aten.') in operations
            }
        )
    assert counts[0] == counts[1]
    assert len(counts[0]) >= 2 and all(counts[0].values())


@pytest.mark.parametrize('config', [VCLR, VIDEOMAE])
def test_the_floor_has_the_precision_of_the_step(monkeypatch, config):
    """That of the optimiser wrapper: here float16, as with AmpOptimWrapper, which needs a GPU."""
    half = torch.autocast('cpu', torch.float16)
    monkeypatch.setattr(OptimWrapper, 'optim_context', lambda self, model: half)
    args = parse('step', monkeypatch, config, '--batch', 2, '--side', 32)
    cfg = step.load_config(str(config), args)
    model = step.build_model(cfg, args)
    samples = pseudo_collate([step.make_sample(cfg) for _ in range(args.batch)])
    batch = model.data_preprocessor(samples, training=True)
    seen = []
    for kind in (nn.Conv2d, nn.Conv3d, nn.Linear):
        forward = kind.forward

        def noted(self, *inputs, forward=forward):
            output = forward(self, *inputs)
            seen.append(output.dtype)
            return output

        monkeypatch.setattr(kind, 'forward', noted)
    step.make_floor(model, cfg, batch)()
    assert {*seen} == {torch.float16}


def test_figures_of_a_step(measure):
    options = '--batch 2 --side 32 --turns 2 --amp --channels-last'.split()
    figures, _ = measure('step', VCLR, *options, '--cfg-options', 'model.heads.order=None')
    assert figures['amp'] and figures['batch'] == 2
    assert figures['cfg_options'] == {'model.heads.order': None}
    rows = {row['contender']: row for row in figures['rows']}
    assert set(rows) == {step.STEP, step.FLOOR, step.SHORT}
    for row in rows.values():
        assert row['shape'] == [2, 3, 3, 3, 4, 32, 32]
        assert row['ms_a_sample']['median'] > 0 and row['mib_a_sample'] > 0
    assert rows[step.FLOOR]['times_floor']['median'] == 1
    assert rows[step.STEP]['mib_a_sample'] >= rows[step.FLOOR]['mib_a_sample']


def test_the_current_gpu_is_the_one_that_is_measured(monkeypatch):
    current = []
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'set_device', current.append)
    for device in ('cpu', 'cuda', 'cuda:1'):
        step.set_device(parse('step', monkeypatch, VCLR, '--device', device).device)
    assert current == [0, 1]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ('--device cuda', '--device cuda: torch finds 0 GPUs here; name one of them, or cpu'),
        ('--device cuda:1', '--device cuda:1: torch finds 0 GPUs here'),
        ('--device gpu', 'gpu is not cpu, cuda or cuda:NUMBER'),
        (
            f'--cfg-options {ACCUMULATE}=4',
            f'{ACCUMULATE} is 4, so most iterations',
        ),
    ],
)
def test_steps_that_cannot_be_measured(tool_runner, monkeypatch, options, words):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    status, said = tool_runner('benchmarks/step')(VCLR, *options.split())
    assert status == 2 and words in said.err


def test_queues_are_full_or_hold_a_batch(monkeypatch):
    args = parse('step', monkeypatch, VCLR, '--batch', 3)
    cfg = step.load_config(str(VCLR), args)
    model = step.build_model(cfg, args)
    short = step.build_model(step.shorten_queues(cfg, model, args.batch), args)
    for name in ('inter', 'video'):
        queue = model.heads[name].queue
        assert len(queue.entries) == queue.size == cfg.model.heads[name].queue_size > 3
        torch.testing.assert_close(queue.entries.norm(dim=1), torch.ones(queue.size))
        assert len(short.heads[name].queue.entries) == 3


# Retrieval --------------------------------------------------------------------------------------


def test_figures_of_retrieval(measure, tmp_path, monkeypatch):
    pytest.importorskip('faiss')
    monkeypatch.chdir(tmp_path)
    options = '--sizes 300x16 --queries 20 --turns 1 --nlist 1 --candidates 300 --folder .'
    figures, printed = measure('retrieval', *options.split())
    rows = {row['search']: row for row in figures['rows']}
    # One list, all of whose videos are candidates: nothing can be missed.
    assert [row['found'] for row in rows.values() if 'found' in row] == [1, 1, 1]
    times = {name: row['seconds']['median'] for name, row in rows.items()}
    for name, row in rows.items():
        ratio = times[name] / times['scikit-learn, exact']
        assert row['of_sklearn']['median'] == pytest.approx(ratio)
    assert printed.count('100.0 %') == 3
    assert 'learned from 10000 videos (78 MiB)' in printed  # 10000 * 8192 bytes
    assert list(tmp_path.iterdir()) == [tmp_path / 'figures.json']


def test_a_folder_for_galleries_that_is_missing(tool_runner, tmp_path):
    status, said = tool_runner('benchmarks/retrieval')('--folder', tmp_path / 'missing')
    assert status == 2 and f'--folder {tmp_path}/missing: no such folder' in said.err
