"""The comparison: its rows, what its tables say, and one run of a method and of a baseline."""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from comparison import page, runner, settings
from mmengine.config import Config
from tiny_vclr import load_tool

from mmssl_video.errors import UserError

CVRL = 'Augmentation of CVRL'
DEMO = 'vclr/vclr_r18_demo.py'


def test_every_small_recipe_has_a_row():
    """Those for folders of real videos are a choice."""
    configs = runner.ROOT / 'configs'
    generated, folder = (
        {str(path.relative_to(configs)) for path in configs.glob(f'*/*_{data}-rgb*.py')}
        for data in ('generated', 'folder')
    )
    assert {row.config for row in settings.settings_by_slug().values()} == generated
    assert {row.config for row in settings.on_folder('dance')} - {DEMO} <= folder


def test_rows_of_one_slug_are_one_run():
    by_slug = {}
    for title, rows in settings.tables(['/data/dance']).items():
        for row in rows:
            assert (row.videos == 'objects') == (title == settings.OBJECTS)
            assert row.real == (title in ('dance', 'Losses of VCLR, dance', CVRL + ', dance'))
            same = by_slug.setdefault(row.slug, row)
            assert (same.config, same.options) == (row.config, row.options)
            assert (same.videos, same.finetune) == (row.videos, row.finetune)
    losses = [row.slug for row in settings.losses('fixed')]
    assert len(set(losses)) == 8


@pytest.mark.parametrize('folders', [('/a/videos', '/b/videos'), ('/a/scenes',), ('/a/Methods',)])
def test_folders_need_names_of_their_own(folders):
    name = Path(folders[-1]).name
    with pytest.raises(UserError, match=f'--videos {folders[-1]}: the name {name} is taken'):
        settings.settings_by_slug(folders)


def test_loss_ablation_keeps_the_named_heads(tmp_path):
    for row in settings.losses('fixed'):
        heads = runner.load_config(row, 0, tmp_path, amp=False).model.heads
        kept = {name for name, head in heads.items() if head is not None}
        assert kept == set(row.title.split(' + '))


def arguments(tmp_path, **changes):
    defaults = dict(seeds=[0, 1], out=tmp_path, amp=False, table=tmp_path / 'results.md', videos=[])
    return argparse.Namespace(**{**defaults, **changes})


def write_result(row, seed, out, svm_top1, amp=False, **changes):
    path = runner.result_path(row, seed, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    config = runner.fingerprint(row, seed, out, amp)
    result = {'R@1': svm_top1 / 2, 'svm_top1': svm_top1, 'seconds': 90, 'config': config}
    path.write_text(json.dumps(result | changes))


@pytest.mark.parametrize(
    ('options', 'out', 'table'),
    [
        ('', 'ROOT/work_dirs/compare', 'ROOT/work_dirs/compare/results.md'),
        ('--seeds 0', 'ROOT/work_dirs/compare', 'ROOT/work_dirs/compare/results.md'),
        ('--videos . --out runs', 'HERE/runs', 'HERE/runs/results.md'),
        ('--only vince --out runs --table mine.md', 'HERE/runs', 'mine.md'),
        ('--table mine.md', 'ROOT/work_dirs/compare', 'mine.md'),
    ],
)
def test_paths_are_relative_to_the_working_directory(options, out, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('train.txt', 'test.txt'):
        (tmp_path / name).touch()
    monkeypatch.setattr('sys.argv', ['compare_methods.py', *options.split()])
    args = load_tool('compare_methods').parse_args()
    found = [str(path).replace(str(runner.ROOT), 'ROOT') for path in (args.out, args.table)]
    assert [path.replace(str(tmp_path.resolve()), 'HERE') for path in found] == [out, table]


def test_a_linked_folder_keeps_the_name_of_the_link(tmp_path, monkeypatch):
    (tmp_path / 'a/videos').mkdir(parents=True)
    for name in ('train.txt', 'test.txt'):
        (tmp_path / 'a/videos' / name).touch()
    (tmp_path / 'ucf').symlink_to(tmp_path / 'a/videos')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', ['compare_methods.py', '--videos', 'ucf/'])
    assert load_tool('compare_methods').parse_args().videos == [str(tmp_path / 'ucf')]


def test_tables(tmp_path):
    _, ta, sa, both, _ = settings.augmentations('fixed')
    for seed, value in enumerate((40.0, 50.0)):
        write_result(ta, seed, tmp_path, value)
    write_result(sa, 0, tmp_path, 30.0)
    write_result(sa, 1, tmp_path, 36.0)
    write_result(both, 0, tmp_path, 60.0, config=0)  # of another config: not counted
    page.write_tables(arguments(tmp_path))
    text = (tmp_path / 'results.md').read_text()
    deviation = statistics.stdev((40.0, 50.0))
    assert (
        f'| 22.5 ± {deviation / 2:.1f} (20.0, 25.0) | 45.0 ± {deviation:.1f} (40.0, 50.0) |' in text
    )
    assert '](../configs/cvrl/cvrl-ta_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py)' in text
    assert '| 33.0 ± 4.2 (30.0, 36.0) | not run | not run | 1.5 | 40.4 |' in text
    scenes = text[: text.index(f'## {settings.OBJECTS}')]
    tables = [rows for rows in settings.tables().values() if rows[0].videos != 'objects']
    cells = sum(len(rows) * len(page.metrics_of(rows)) for rows in tables)
    assert scenes.count(' not run |') == cells - 4  # R@1 and SVM of two rows
    assert text.count(': not run.') == 3
    assert 'TA (24.8) < SA (40.4). Pairs of this order' in text
    # Gains of -10 and -14.
    assert '- **not reproduced**: TA → SA -12.0 ± 2.0\n' in text
    for link in [part.split(')')[0] for part in text.split('](../')[1:]]:
        assert (runner.ROOT / link).is_file()


def test_columns_of_fine_tuning_only_where_a_row_is_fine_tuned():
    found = settings.tables(['some/mine'])
    columns = {title: 'finetune_few' in page.metrics_of(rows) for title, rows in found.items()}
    assert columns.pop('mine')
    assert any('mine' in title for title in columns) and not any(columns.values())


def test_table_of_moving_objects(tmp_path):
    """A method's own task with its chance; both sets of classes; a baseline has no task."""
    rows = {row.title: row for row in settings.OBJECT_ROWS}
    random, mean_frame, vcop = (
        rows[title] for title in ('random weights, clips', 'mean frame', 'VCOP')
    )
    found = {'motion_R@1': 10, 'motion_svm_top1': 20}
    found |= {'appearance_R@1': 30, 'appearance_svm_top1': 40}
    write_result(random, 0, tmp_path, 0, **found)
    for seed in (0, 1):
        write_result(vcop, seed, tmp_path, 0, **found, task=50.0 + seed, task_chance=100 / 6)
    page.write_tables(arguments(tmp_path))
    text = (tmp_path / 'results.md').read_text()
    assert '\n| random weights, clips |  | 10.0 (10.0) | 20.0 (20.0) | 30.0 (30.0) | 40.0' in text
    assert '_generated-rgb.py) | 50.5 ± 0.7 (50.0, 51.0); 16.7 | 10.0 ± 0.0 (10.0, 10.0) | ' in text
    assert '\n| mean frame |  | not run | not run | not run | not run |  |\n' in text
    assert f'[DPC](../configs/{rows["DPC"].config}) | not run | not run |' in text
    assert {row.slug for row in (random, mean_frame, vcop)} == {
        'objects/random-vcop_r3d-r18_1x16-4x2x3-16e',
        'objects/mean_frame',
        f'objects/{Path(vcop.config).stem}',
    }


def test_order_of_pairs():
    """On the seeds that both have; undecided with one seed, or within the standard error."""
    _, ta, sa, both, full = rows = settings.augmentations('fixed')
    rows = rows[1:]
    results = {
        ta.slug: {0: 10, 1: 20},
        sa.slug: {0: 15, 1: 24, 2: 90},
        both.slug: {0: 12, 1: 30},
        full.slug: {0: 40},
    }
    results = {
        slug: {seed: {'svm_top1': value} for seed, value in values.items()}
        for slug, values in results.items()
    }
    said = page.order([(row, row.paper) for row in rows], results)
    assert said.startswith('TA (24.8) < SA (40.4) < TA + SA (49.2) < TA + SA + TC (58.8). ')
    assert said.splitlines()[2:] == [
        '- reproduced: TA → SA +4.5 ± 0.5; TA → TA + SA +6.0 ± 4.0',
        '- **not reproduced**: none',
        '- undecided: TA → TA + SA + TC +30.0 (one seed); SA → TA + SA +1.5 ± 4.5; '
        'SA → TA + SA + TC +25.0 (one seed); TA + SA → TA + SA + TC +28.0 (one seed)',
    ]
    results[full.slug] = {5: {'svm_top1': 40}}  # on a seed of its own, not compared
    said = page.order([(row, row.paper) for row in rows], results)
    assert said.splitlines()[4] == '- undecided: SA → TA + SA +1.5 ± 4.5'


def test_a_result_counts_for_its_config_alone(tmp_path):
    (row,) = (row for row in settings.METHODS if row.title == 'SimCLR')
    write_result(row, 0, tmp_path, 50.0)
    assert runner.read_result(row, 0, tmp_path, amp=False)['svm_top1'] == 50.0
    assert runner.read_result(row, 0, tmp_path, amp=True) is None
    assert runner.read_result(row, 1, tmp_path, amp=False) is None


@pytest.mark.parametrize('changed', ['train.txt', 'test.txt'])
def test_a_result_counts_for_its_lists_alone(changed, tmp_path):
    for name in ('train.txt', 'test.txt'):
        (tmp_path / name).write_text('a.mp4 0\n')
    row = settings.on_folder(str(tmp_path))[0]
    write_result(row, 0, tmp_path, 50.0)
    assert runner.read_result(row, 0, tmp_path, amp=False)['svm_top1'] == 50.0
    (tmp_path / changed).write_text('b.mp4 0\n')
    assert runner.read_result(row, 0, tmp_path, amp=False) is None


def test_few_labels_are_those_that_the_smallest_class_has(tmp_path, monkeypatch):
    """7 and 3 videos: 3 of each."""
    monkeypatch.setattr(runner, 'is_transformer', lambda cfg: False)
    monkeypatch.setattr(runner, 'finetune_config', lambda base, cfg, encoder: base)
    run = SimpleNamespace(train=lambda: None, test=lambda: {'acc/top1': 0.5})
    monkeypatch.setattr(runner, 'Runner', SimpleNamespace(from_cfg=lambda cfg: run))
    gallery = tmp_path / 'train.txt'
    gallery.write_text(''.join(f'{number}.mp4 {int(number > 6)}\n' for number in range(10)))
    optimizer = dict(type='OptimWrapper')
    cfg = Config(dict(work_dir=str(tmp_path), experiment_name='a', optim_wrapper=optimizer))
    lists = runner.Lists(tmp_path, gallery, gallery, gallery)
    found = runner.finetune(cfg, None, lists, None, seed=0)
    assert found == {'finetune_few': 50.0, 'finetune_all': 50.0}
    labels = [line[-1] for line in (tmp_path / 'few.txt').read_text().splitlines()]
    assert labels == ['0'] * 3 + ['1'] * 3


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """A folder with small sets of scenes and of moving objects."""
    out = tmp_path_factory.mktemp('sets')
    with pytest.MonkeyPatch.context() as patch:
        write = partial(runner.write_splits, size=(64, 48), num_frames=16)
        patch.setattr(runner, 'write_splits', write)
        patch.setattr(settings, 'SIZES', (1, 1, 1))
        patch.setattr(settings, 'OBJECT_SIZES', (2, 2, 1))
        runner.generate_videos(settings.OBJECT_ROWS, [0], out)
    return out


@pytest.fixture
def short(sets, tmp_path):
    """``short(title, **changes)`` -> that row with one epoch and one clip a video, on ``sets``."""
    for path in sets.iterdir():
        (tmp_path / path.name).symlink_to(path)

    def make(title, **changes):
        (row,) = (row for row in settings.METHODS + settings.OBJECT_ROWS if row.title == title)
        cfg = runner.read_config(runner.ROOT / 'configs' / row.config).copy()
        cfg.train_cfg.max_epochs = 1
        cfg.param_scheduler = [dict(type='ConstantLR', factor=1.0)]
        cfg.train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
        (sampler,) = (step for step in cfg.feature_pipeline if step.type == 'SampleFrames')
        sampler.num_clips = 1
        cfg.dump(tmp_path / 'short.py')
        return replace(row, config=str(tmp_path / 'short.py'), **changes)

    return make


def run_one(row, out, amp):
    runner.run_one(row, 0, out, amp)
    return runner.read_result(row, 0, out, amp)


def test_one_run(short, tmp_path):
    """A baseline, and a method for an epoch; the second time with the same figures."""
    lists = [(tmp_path / f'scenes-seed0/{name}.txt').read_text() for name in runner.SPLITS]
    assert [text.count('\n') for text in lists] == [12, 12, 12]
    results = []
    for baseline in ('random', None, None):
        result = run_one(short('SimCLR', baseline=baseline), tmp_path, amp=True)
        results.append({key: result[key] for key in ('R@1', 'R@5', 'svm_top1')})
    random, trained, again = results
    assert trained == again != random
    assert (tmp_path / 'scenes/short/seed0/epoch_1.pth').is_file()


def test_a_run_is_done_by_one_process_at_a_time(short, tmp_path):
    row = short('SimCLR', baseline='random')
    folder = tmp_path / row.slug / 'seed0'
    folder.mkdir(parents=True)
    command = 'import sys; from mmssl_video.files import reserve_folder as reserve; '
    command += 'lock = reserve(sys.argv[1]); print("reserved", flush=True); input()'
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen([sys.executable, '-c', command, folder], **pipes) as other:
        assert other.stdout.readline() == 'reserved\n'
        with pytest.raises(UserError, match=f'seed0: process {other.pid} on .* is running there'):
            runner.run_one(row, 0, tmp_path, amp=False)
        assert [path.name for path in folder.iterdir()] == ['.lock']
        other.stdin.write('\n')
    assert 0 < run_one(row, tmp_path, amp=False)['R@1'] <= 100


def test_frozen_figures_outlive_a_failure_of_fine_tuning(short, tmp_path, monkeypatch):
    """They are in the table, and the run is repeated until it is complete."""
    row = short('SimCLR', baseline='random', finetune=True)
    tuned = dict(finetune_few=30.0, finetune_all=40.0)
    with monkeypatch.context() as patch:
        patch.setattr(runner, 'finetune', lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runner.run_one(row, 0, tmp_path, amp=False)
    frozen = runner.read_result(row, 0, tmp_path, amp=False)
    assert 0 < frozen['R@1'] <= 100 and not tuned.keys() & frozen.keys()
    cells = page.table([row], {row.slug: {0: frozen}}).splitlines()[2].split(' | ')
    assert cells[1:5] == [page.spread([frozen[key]]) for key in page.METRICS] + ['not run'] * 2

    monkeypatch.setattr(runner, 'finetune', lambda *args: tuned)

    def run(children, command, **kwargs):
        runs.append(command[command.index('--one') + 1])
        runner.run_one(row, 0, tmp_path, amp=False)
        return 0

    runs = []
    monkeypatch.setattr(runner.Children, 'run', run)
    for _ in range(2):
        assert runner.run_all(arguments(tmp_path, seeds=[0], jobs=1), [row], lambda: None) == []
    assert runs == [row.slug]
    complete = runner.read_result(row, 0, tmp_path, amp=False)
    assert {key: complete[key] for key in (*page.METRICS, *tuned)} == {
        **{key: frozen[key] for key in page.METRICS},
        **tuned,
    }


def test_one_run_on_moving_objects(short, tmp_path):
    """Shuffle & Learn for an epoch: motion is indexed, all three columns are judged."""
    root = tmp_path / 'objects-seed0'
    lists = [(root / f'{name}.txt').read_text().splitlines() for name in runner.SPLITS]
    assert [len(lines) for lines in lists] == [16, 16, 8]
    assert len(list((root / 'query.motion').rglob('*.npy'))) == 8
    result = run_one(short('Shuffle & Learn'), tmp_path, amp=False)
    assert 20 < result['task'] < 80 and result['task_chance'] == 50
    for kind, queries in (('motion', 8), ('appearance', 12)):
        right = result[f'{kind}_svm_top1'] / 100 * queries
        assert right == pytest.approx(round(right), abs=0.01)
