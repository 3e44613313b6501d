"""Bad videos in real runs: the same replacements and one report, however the work is shared."""

import os
import re
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from number_videos import number_dataset
from processes import run_in_processes
from tiny_vclr import REPOSITORY, tiny_config, write_videos
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.engine.hooks.bad_videos import _order, _video_datasets
from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader

NUM_VIDEOS = 51
BATCH = 8  # of all processes
BAD = {3, 8, 9, 17, 20, 21, 33}


class Nothing(BaseModel):
    """A loss that depends on no video."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, inputs, data_samples, mode):
        return dict(loss=self.weight.sum())


class Watch(Hook):
    """Keeps what each iteration has read."""

    def before_train(self, runner):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        samples = zip(data_batch['inputs'], data_batch['data_samples'], strict=True)
        self.batches.append(
            [(values(inputs), sample.metainfo.get('bad_videos', [])) for inputs, sample in samples]
        )


def values(inputs):
    """The numbers themselves; of pictures, a number that changes with any pixel."""
    return inputs.tolist() if inputs.ndim == 1 else zlib.crc32(inputs.numpy().tobytes())


def train(work_dir, dataset, num_workers=0, epochs=2, batch=BATCH, shuffle=True, **kwargs):
    """Train nothing on a dataset; the runner, and what each iteration has read."""
    init_default_scope('mmaction')
    world_size = 2 if torch.distributed.is_initialized() else 1
    watch = Watch()
    options = dict(train_cfg=dict(by_epoch=True, max_epochs=epochs)) | kwargs
    runner = Runner(
        model=Nothing(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dataset,
            batch_size=batch // world_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            collate_fn=dict(type='pseudo_collate'),
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1), logger=None),
        custom_hooks=[dict(type='ReproducibleHook'), dict(type='BadVideosHook'), watch],
        randomness=dict(seed=3),
        default_scope='mmaction',
        experiment_name=str(work_dir),
        **options,
    )
    try:
        runner.train()
    finally:
        if num_workers and runner.train_dataloader._iterator:
            # Left to the garbage collector, each worker is waited for five seconds.
            runner.train_dataloader._iterator._shutdown_workers()
    return runner, watch.batches


def report_of(work_dir):
    return (Path(work_dir) / 'bad_videos.txt').read_text()


def summaries(runner):
    """What the log has of bad videos, without the times."""
    log = Path(f'{runner.log_dir}/{runner.timestamp}.log').read_text()
    blocks = re.findall(r'WARNING - (epoch \d+: .*(?:\n  .*)*)', log)
    return [block.replace(runner.work_dir, 'WORK') for block in blocks]


def paths_met(batches):
    return {path for batch in batches for _, bad in batch for path, _ in bad}


# One report, the same replacements --------------------------------------------------------------


def run_numbers(rank, folder):
    """Two epochs with workers; then why a run has stopped that is not to take so many."""
    runner, batches = train(folder / 'work', number_dataset(folder, NUM_VIDEOS, BAD), num_workers=2)
    found = dict(batches=batches, summaries=summaries(runner))
    dataset = number_dataset(folder, NUM_VIDEOS, {0, 1, 2, 3}, max_bad_share=0.05)
    try:
        train(folder / 'stopped', dataset, shuffle=False)
    except UserError as error:
        found['stopped'] = str(error)
    return found


@pytest.fixture(scope='module')
def single(tmp_path_factory):
    """The run of one process without workers."""
    folder = tmp_path_factory.mktemp('single')
    return train(folder / 'work', number_dataset(folder, NUM_VIDEOS, BAD))


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    """Folder, and what each of two processes has found."""
    folder = tmp_path_factory.mktemp('ranks')
    return folder, run_in_processes(run_numbers, folder, folder)


def test_replacements_report_and_log(single):
    """Twelve batches without a video twice; each bad one in the epoch that has found it."""
    runner, batches = single
    assert len(batches) == 2 * (NUM_VIDEOS // BATCH)
    for batch in batches:
        numbers = {int(values[0]) for values, _ in batch}
        assert len(numbers) == BATCH and not numbers & BAD
    # The three that are left over of an epoch may be bad ones.
    replaced = [bad for batch in batches for _, bad in batch if bad]
    assert len(replaced) >= 2 * (len(BAD) - NUM_VIDEOS % BATCH)

    reasons = {f'{number}.mp4': f'RuntimeError: broken {number}' for number in BAD}
    first, second = paths_met(batches[:6]), paths_met(batches[6:])
    assert report_of(runner.work_dir) == ''.join(
        f'{path}\t{reasons[path]}\n' for path in sorted(first | second)
    )
    told = iter(summaries(runner))
    for epoch, new, known in ((1, first, first), (2, second - first, first | second)):
        if new:
            head, *lines = next(told).splitlines()
            assert re.match(rf'epoch {epoch}: {len(new)} more videos .* {len(known)} of 51', head)
            assert 'WORK/bad_videos.txt' in head
            assert lines == [f'  {path}: {reasons[path]}' for path in sorted(new)]
    assert not list(told)


def test_two_processes_with_workers_do_as_one_without(single, ranks):
    """The same samples in each batch of both together, to the draws of their pixels."""
    runner, batches = single
    folder, found = ranks
    both = zip(*(rank['batches'] for rank in found), strict=True)
    assert [sorted(sum(parts, [])) for parts in both] == [sorted(batch) for batch in batches]
    assert report_of(folder / 'work') == report_of(runner.work_dir)
    assert found[0]['summaries'] == summaries(runner)


def test_resume_replaces_as_the_unbroken_run(single, tmp_path):
    """In the second epoch; and what the report has from before stays."""
    (tmp_path / 'bad_videos.txt').write_text('earlier.mp4\tempty\n')
    runner, batches = train(
        tmp_path,
        number_dataset(tmp_path, NUM_VIDEOS, BAD),
        load_from=f'{single[0].work_dir}/epoch_1.pth',
        resume=True,
    )
    assert batches == single[1][6:]
    lines = report_of(tmp_path).splitlines()
    assert {line.split('\t')[0] for line in lines} == paths_met(batches) | {'earlier.mp4'}


def test_left_out_at_the_start_is_in_the_report(tmp_path, write_numbered_video):
    """With one that vanishes later; the log has named it already."""
    for number in range(8):
        write_numbered_video(tmp_path / f'videos/{number}.mp4', 4)
    (tmp_path / 'videos/8.mp4').write_bytes(b'')
    init_default_scope('mmaction')
    options = dict(bad_videos='skip', max_bad_share=0.25)
    prefix = dict(video=str(tmp_path / 'videos'))
    dataset = UnlabeledVideoDataset([*DECODE, *PACK], data_prefix=prefix, **options)
    (tmp_path / 'videos/5.mp4').unlink()
    runner, batches = train(tmp_path / 'work', dataset, batch=2)
    assert len(batches) == 8
    assert report_of(tmp_path / 'work') == (
        f'{tmp_path}/videos/5.mp4\tdoes not exist\n{tmp_path}/videos/8.mp4\tis empty (0 bytes)\n'
    )
    (summary,) = summaries(runner)
    assert '2 of 9 so far' in summary and '5.mp4' in summary and '8.mp4' not in summary


def test_iteration_based_loop(tmp_path):
    """Nobody knows its batches; the report is there all the same."""
    dataset = number_dataset(tmp_path, NUM_VIDEOS, BAD)
    _, batches = train(tmp_path, dataset, train_cfg=dict(by_epoch=False, max_iters=6))
    for batch in batches:
        assert len({values[0] for values, _ in batch}) == BATCH
    lines = report_of(tmp_path).splitlines()
    assert {line.split('\t')[0] for line in lines} == paths_met(batches)


def test_other_datasets_are_left_alone(tmp_path):
    class Zeros(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return dict(inputs=torch.zeros(1), data_samples=SimpleNamespace(metainfo={}))

    train(tmp_path, Zeros(), epochs=1)
    assert not (tmp_path / 'bad_videos.txt').exists()


# The order of an epoch --------------------------------------------------------------------------


def test_datasets_in_wrappers(tmp_path):
    parts = [number_dataset(tmp_path, 4, ()) for _ in range(2)]
    assert list(_video_datasets(parts[0])) == parts[:1]
    assert list(_video_datasets(ConcatDataset(parts))) == parts
    assert list(_video_datasets(RepeatDataset(parts[1], 2))) == parts[1:]


def test_order_that_nobody_knows():
    """Of other samplers, batch samplers, and a share that is a part in a row."""
    videos = list(range(8))
    loader = DataLoader(videos, sampler=DefaultSampler(videos, seed=5), batch_size=2)
    assert sorted(_order(loader)) == videos
    assert _order(DataLoader(videos, sampler=RandomSampler(videos), batch_size=2)) is None
    batches = type('InBatchesOfOnesOwn', (BatchSampler,), {})(loader.sampler, 2, True)
    assert _order(DataLoader(videos, batch_sampler=batches)) is None

    class Halves(DefaultSampler):
        def __iter__(self):
            half = len(self.dataset) // self.world_size
            return iter(range(self.rank * half, self.rank * half + half))

    sampler = Halves(videos)
    sampler.rank, sampler.world_size = 1, 2
    assert _order(DataLoader(videos, sampler=sampler, batch_size=2)) is None


# Too many ---------------------------------------------------------------------------------------


def test_stops_before_training(tmp_path):
    dataset = number_dataset(tmp_path, 10, (), max_bad_share=0.1)
    dataset.left_out = {'a.mp4': 'does not exist', 'b.mp4': 'does not exist', 'c.mp4': 'is empty'}
    words = (
        r'^3 of 13 videos \(23.1%\) .* max_bad_share=0.1: 2 x does not exist, e.g. a.mp4; '
        rf'1 x is empty, e.g. c.mp4; {tmp_path}/bad_videos.txt lists them: remove them .*'
        'tools/check_videos.py .* or set train_dataloader.dataset.max_bad_share$'
    )
    with pytest.raises(UserError, match=words):
        train(tmp_path, dataset, batch=2)
    assert report_of(tmp_path).count('\n') == 3


def test_stops_at_one_too_many(tmp_path):
    """As soon as it is known, of several workers together."""
    dataset = number_dataset(tmp_path, NUM_VIDEOS, BAD, max_bad_share=0.05)  # three
    with pytest.raises(UserError, match=r'[4-7] of 51 videos .*, above max_bad_share=0.05'):
        train(tmp_path, dataset, num_workers=2, shuffle=False)
    # The fourth of 3, 8, 9, 17 is in the third batch, unless what was drawn for them is bad, too.
    assert 4 <= len(report_of(tmp_path).splitlines()) <= len(BAD)
    assert not list(tmp_path.glob('*.pth'))


def test_processes_stop_together_at_what_both_have_found(ranks):
    """Two bad videos in each are not too many of 51, four are; the epoch's checkpoint is there."""
    folder, found = ranks
    first, second = (rank['stopped'] for rank in found)
    assert first == second and first.startswith('4 of 51 videos (7.8%) cannot be read')
    assert report_of(folder / 'stopped').count('\n') == 4
    assert (folder / 'stopped/epoch_1.pth').exists()
    assert not (folder / 'stopped/epoch_2.pth').exists()


# Real files -------------------------------------------------------------------------------------

DECODE = [
    dict(type='VideoInit'),
    dict(type='SampleSegmentTuples', num_segments=3, views=(0, 1, 0)),
    dict(type='VideoDecode'),
]
PACK = [
    dict(type='Resize', scale=(32, 32), keep_ratio=False),
    dict(type='FormatViews', input_format='NCHW'),
    dict(type='PackActionInputs'),
]
FRAMES = [DECODE[1], dict(type='RawFrameDecode'), *PACK]
BROKEN = {
    *('corrupt_from_frame_28.mp4', 'cut.mkv', 'endless.mp4', 'folder.mp4', 'loop.mp4'),
    *('nowhere.mp4', 'pipe.mp4', 'text.mp4', 'zero_bytes.webm'),
}
CLIPS = ('again', 'bird', 'book', 'eat', 'h265_video', 'help', 'nasa_13013', 'no', 'test', 'yes')


class SlowFile:
    """Opens ``endless.*`` with next to no time, as if it never came back."""

    def __call__(self, results):
        if Path(results['filename']).stem == 'endless':
            VideoReader(results['filename'], timeout=1e-6)
        return results


@pytest.fixture(scope='module')
def collection(real_data, tmp_path_factory):
    """Real clips and broken files, with what else people have in a folder; a list; raw frames."""
    root = tmp_path_factory.mktemp('collection')
    videos, frames = root / 'videos', root / 'frames'
    (videos / 'broken').mkdir(parents=True)
    for path in [*(real_data / 'clips').iterdir(), *(real_data / 'broken').iterdir()]:
        if path.parent.name == 'broken' or path.stem in CLIPS:
            (videos / 'broken' / path.name).symlink_to(path)
    (videos / 'endless.mp4').symlink_to(real_data / 'clips/want.mkv')
    (videos / 'loop.mp4').symlink_to(videos / 'loop.mp4')
    (videos / 'nowhere.mp4').symlink_to(videos / 'gone.mp4')
    (videos / 'folder.mp4').mkdir()
    os.mkfifo(videos / 'pipe.mp4')
    (videos / 'cut.mkv').write_bytes((real_data / 'clips/walk.mkv').read_bytes()[:300])
    names = ['broken/' + path.name for path in (videos / 'broken').iterdir()]
    names += [path.name for path in videos.iterdir() if path.name != 'broken']
    (root / 'list.txt').write_text(''.join(f'{name}\n' for name in sorted(names)))
    for number in range(14):
        (frames / str(number)).mkdir(parents=True)
        picture = np.full((24, 32, 3), 17 * number, np.uint8)
        content = {4: b'no picture', 9: b''}.get(number, cv2.imencode('.jpg', picture)[1].tobytes())
        for frame in range(1, 7):
            (frames / f'{number}/img_{frame:05}.jpg').write_bytes(content)
    return root


@pytest.mark.parametrize('source', ['folder', 'list', 'frames'])
def test_real_collection(collection, source, tmp_path):
    """A folder is looked at before; what is bad of a list is found in training, by two workers."""
    init_default_scope('mmaction')
    options = dict(bad_videos='skip', max_bad_share=0.6)
    pipeline, prefix = [SlowFile(), *DECODE, *PACK], dict(video=f'{collection}/videos')
    if source == 'list':
        options |= dict(ann_file=f'{collection}/list.txt', check_files='none')
    elif source == 'frames':
        pipeline, prefix = FRAMES, dict(img=f'{collection}/frames')
    dataset = UnlabeledVideoDataset(pipeline, data_prefix=prefix, **options)
    _, batches = train(tmp_path, dataset, num_workers=2, batch=4)
    for batch in batches:
        assert len({pixels for pixels, _ in batch}) == len(batch)
    reasons = dict(line.split('\t') for line in report_of(tmp_path).splitlines())
    if source == 'frames':
        assert all(reason.startswith('error: OpenCV') for reason in reasons.values())
        assert set(reasons) == {f'{collection}/frames/{number}' for number in (4, 9)}
        return
    assert all(reasons.values())
    # The list names files of sound as well; everything else in it can be read.
    sound = {'audio_only.mp3', 'audio_only.wav'} if source == 'list' else set()
    assert {Path(path).name for path in reasons} == BROKEN | sound
    endless = reasons[f'{collection}/videos/endless.mp4']
    assert endless == 'reading it takes longer than 1e-06 seconds'


# The tools --------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def half_bad(tmp_path_factory):
    """Eight videos and eight that are cut short, which shows when they are opened."""
    folder = write_videos(tmp_path_factory.mktemp('half') / 'videos', 16)
    for number in range(1, 16, 2):
        path = folder / f'video_{number}.mp4'
        path.write_bytes(path.read_bytes()[:400])
    return folder


def reading_config(videos, work_dir, **dataset):
    cfg = tiny_config(videos, work_dir, str(work_dir))
    for pipeline in (cfg.train_pipeline, cfg.train_dataloader.dataset.pipeline):
        pipeline[0], pipeline[2] = dict(type='VideoInit'), dict(type='VideoDecode')
    cfg.train_dataloader.dataset.update(dataset)
    cfg.train_dataloader.num_workers = 1
    cfg.custom_hooks.append(dict(type='BadVideosHook'))
    return cfg


def test_half_a_folder_stops_the_run(half_bad, forks, tmp_path):
    """Through workers of two processes, which both end; the list is there."""
    cfg = reading_config(half_bad, tmp_path / 'work', bad_videos='skip')
    cfg.train_dataloader.batch_size = 2
    cfg.dump(tmp_path / 'config.py')
    ranks = forks.start_ranks('train.py', tmp_path / 'config.py', log=tmp_path / 'log', world=2)
    assert forks.wait(*ranks) == [2, 2]
    (error,) = re.findall('^error: .*', (tmp_path / 'log.0').read_text(), re.MULTILINE)
    assert re.match(r'error: \d+ of 16 videos .*, above max_bad_share=0.01: ', error)
    assert f'; {tmp_path}/work/bad_videos.txt lists them: remove them' in error
    listed = [line.split('\t')[0] for line in report_of(tmp_path / 'work').splitlines()]
    assert len(listed) >= 2
    assert set(listed) <= {f'{half_bad}/video_{number}.mp4' for number in range(1, 16, 2)}


@pytest.fixture
def train_tool(tool_runner, tmp_path):
    """``train_tool(cfg)``: exit status and line of the error of tools/train.py in this process."""

    def run(cfg):
        cfg.dump(tmp_path / 'config.py')
        status, output = tool_runner('train')(tmp_path / 'config.py', '--no-validate')
        errors = [line for line in output.err.splitlines() if line.startswith('error: ')]
        return status, '\n'.join(errors)

    return run


def test_first_bad_video_stops_the_run(half_bad, tmp_path, train_tool):
    """With 'raise': file, reason, remedy; through a worker."""
    status, error = train_tool(reading_config(half_bad, tmp_path / 'work', bad_videos='raise'))
    assert status == 2
    assert re.fullmatch(
        rf'error: {half_bad}/video_\d+.mp4 cannot be read \(.+\); remove it, or set '
        "train_dataloader.dataset.bad_videos='skip' to train without it",
        error,
    )


@pytest.fixture
def finetuning(tmp_path):
    """``finetuning(**dataset)``: a recipe on twelve videos of three classes, two of them bad."""
    videos = write_videos(tmp_path / 'videos', 12)
    for number in (1, 6):
        path = videos / f'video_{number}.mp4'
        path.write_bytes(path.read_bytes()[:400])
    lines = (f'video_{number}.mp4 {number % 3}\n' for number in range(12))
    (tmp_path / 'list.txt').write_text(''.join(lines))
    recipe = 'configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py'
    cfg = Config.fromfile(REPOSITORY / recipe)
    cfg.work_dir = cfg.experiment_name = str(tmp_path / 'work')
    cfg.train_cfg.max_epochs = 1
    cfg.train_dataloader.update(batch_size=3, num_workers=1)
    source = dict(ann_file=f'{tmp_path}/list.txt', data_prefix=dict(video=str(videos)))

    def make(**dataset):
        cfg.train_dataloader.dataset.update(source, **dataset)
        return cfg

    return make


def test_fine_tuning_names_the_file(finetuning, tmp_path, train_tool):
    """MMAction2's dataset with our transforms."""
    status, error = train_tool(finetuning())
    assert status == 2
    file = rf'{tmp_path}/videos/video_[16].mp4'
    assert re.fullmatch(rf'error: {file} cannot be read \(.+\); replace it, or remove it .*', error)


def test_fine_tuning_without_bad_videos(finetuning, tmp_path, train_tool):
    """Our dataset in place of MMAction2's replaces them, with the label of what is shown."""
    cfg = finetuning(type='UnlabeledVideoDataset', bad_videos='skip', max_bad_share=0.2)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    dataset.set_order([0, 1, 2, 3, 5, 4, 8, 6, 7, 9, 11, 10], 3)
    labels = set()
    for epoch in range(8):
        dataset.set_epoch(0, epoch)
        labels.add(int(dataset[1]['data_samples'].gt_label))
    assert labels == {2}  # of 5 and 11; 6 is bad, too
    assert train_tool(cfg) == (0, '')
    listed = [line.split('\t')[0] for line in report_of(tmp_path / 'work').splitlines()]
    assert listed == [f'{tmp_path}/videos/video_{number}.mp4' for number in (1, 6)]
