"""The label-free dataset: its three sources, bad input, reproducible draws."""

import itertools
import random

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS, TRANSFORMS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import FileClient, register_backend
from mmengine.fileio.backends import BaseStorageBackend
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from mmssl_video.errors import UserError, one_line_errors

DECODE = [
    dict(type='VideoInit'),
    dict(type='SampleSegmentTuples', num_segments=3, views=(0, 1, 0)),
    dict(type='VideoDecode'),
]
PACK = [dict(type='FormatViews', input_format='NCHW'), dict(type='PackActionInputs')]
AUGMENTED = [
    *DECODE,
    dict(
        type='SharedAugment',
        share='frame',
        transforms=[
            dict(type='RandomResizedCrop'),
            dict(type='Resize', scale=(20, 20), keep_ratio=False),
            dict(type='Flip'),
            dict(type='ClipColorJitter'),
            dict(type='ClipGrayscale'),
            dict(type='ClipGaussianBlur'),
        ],
    ),
    *PACK,
]


@pytest.fixture(autouse=True)
def mmaction_scope():
    """As the Runner does; stock transforms are looked up in MMAction2's registry."""
    init_default_scope('mmaction')


def build(pipeline=(), **kwargs):
    """The dataset as a config builds it."""
    cfg = Config(dict(type='UnlabeledVideoDataset', pipeline=list(pipeline), **kwargs))
    return DATASETS.build(cfg._cfg_dict)


def one_line_error(**kwargs):
    """The message of the error that building the dataset raises."""
    with pytest.raises(UserError) as error:
        build(**kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


def names(dataset):
    return [dataset.get_name(i) for i in range(len(dataset))]


def labels(dataset):
    return [dataset.get_data_info(i)['label'] for i in range(len(dataset))]


def shown(sample, frame_number):
    """Numbers that the frames of a packed sample show, [V][S]."""
    return [[frame_number(frame) for frame in view] for view in sample['inputs'].numpy()]


def assert_one_a_segment(frames, total):
    for segment, frame in enumerate(frames):
        assert segment * total // 3 <= frame < (segment + 1) * total // 3


# -- Sources ---------------------------------------------------------------------------------

ALL = ['UPPER.MP4', 'a.mkv', 'b/one.avi', 'b/with space/two words.mp4', 'z.mp4']


def test_folder(video_folder, frame_number):
    """Every video at any depth, sorted; other files are left alone; frames of the right video."""
    dataset = build([*DECODE, *PACK], data_prefix=dict(video=str(video_folder)))
    assert names(dataset) == ALL
    assert labels(dataset) == [-1] * 5
    for i in range(5):
        sample = dataset[i]
        assert sample['inputs'].shape == (3, 3, 3, 48, 64)
        assert sample['inputs'].dtype == torch.uint8
        assert 'gt_label' not in sample['data_samples']
        anchor, positive, again = shown(sample, frame_number)
        assert anchor == again
        assert i == 0 or all(a != p for a, p in zip(anchor, positive, strict=True))
        for frames in (anchor, positive):
            assert_one_a_segment([frame - 32 * i for frame in frames], 4 * (i + 1))
    assert names(build(data_prefix=dict(video=f'{video_folder}/'))) == ALL
    below = build(data_root=str(video_folder), data_prefix=dict(video='b'))
    assert names(below) == ['one.avi', 'with space/two words.mp4']


def test_list(video_folder, tmp_path, frame_number):
    """Paths with spaces, blank lines, any order; some labels may be missing, or all."""
    ann_file = tmp_path / 'list.txt'
    source = dict(ann_file=str(ann_file), data_prefix=dict(video=str(video_folder)))
    ann_file.write_text('\nz.mp4\n   \nb/with space/two words.mp4  \n\nb/one.avi')
    dataset = build([*DECODE, *PACK], **source)
    assert names(dataset) == ['z.mp4', 'b/with space/two words.mp4', 'b/one.avi']
    assert labels(dataset) == [-1, -1, -1]
    assert all(96 <= number < 112 for number in shown(dataset[1], frame_number)[0])
    assert 'gt_label' not in dataset[1]['data_samples']

    ann_file.write_text('a.mkv 0\nb/with space/two words.mp4 7\nz.mp4\nUPPER.MP4\t12\n')
    dataset = build([*DECODE, *PACK], **source)
    assert names(dataset) == ['a.mkv', 'b/with space/two words.mp4', 'z.mp4', 'UPPER.MP4']
    assert labels(dataset) == [0, 7, -1, 12]
    assert dataset[1]['data_samples'].gt_label.tolist() == [7]

    ann_file.write_text(f'{video_folder}/a.mkv 0\n')
    dataset = build(ann_file=str(ann_file))
    assert dataset.get_data_info(0)['filename'] == f'{video_folder}/a.mkv'
    assert len(dataset) == 1 and dataset.has_labels


@pytest.fixture(scope='module')
def frame_folders(tmp_path_factory, numbered_frames):
    """Raw frames ``x/first`` (6, numbers 10 …), ``x/second one`` (9, 50 …), counted from 1."""
    root = tmp_path_factory.mktemp('frames')
    for name, count, first in (('x/first', 6, 10), ('x/second one', 9, 50)):
        (root / name).mkdir(parents=True)
        for i, frame in enumerate(numbered_frames(count, first), 1):
            cv2.imwrite(str(root / name / f'img_{i:05}.jpg'), frame)
        (root / name / 'flow_x_00001.jpg').write_bytes(b'')
    (root / 'readme.txt').write_text('')
    return root


def frames_seen(dataset, i, frame_number):
    """Numbers of a video's frames in 25 draws."""
    return {n for _ in range(25) for view in shown(dataset[i], frame_number) for n in view}


def test_raw_frames(frame_folders, tmp_path, frame_number):
    """Every folder with frames, counted from 1; or a list, which may want fewer of them."""
    source = dict(data_prefix=dict(img=str(frame_folders)))
    dataset = build(FRAMES, **source)
    assert names(dataset) == ['x/first', 'x/second one']
    assert labels(dataset) == [-1, -1]
    for i, (first, total) in enumerate([(10, 6), (50, 9)]):
        assert dataset.get_data_info(i)['total_frames'] == total
        for frames in shown(dataset[i], frame_number):
            assert_one_a_segment([frame - first for frame in frames], total)
        assert frames_seen(dataset, i, frame_number) == set(range(first, first + total))

    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('x/second one 4 2\n\nx/first 6\n')
    dataset = build(FRAMES, ann_file=str(ann_file), **source)
    assert names(dataset) == ['x/second one', 'x/first']
    assert labels(dataset) == [2, -1]
    assert [dataset.get_data_info(i)['total_frames'] for i in range(2)] == [4, 6]
    assert frames_seen(dataset, 0, frame_number) == {50, 51, 52, 53}


FRAMES = [
    dict(type='SampleSegmentTuples', num_segments=3, views=(0, 1, 0)),
    dict(type='RawFrameDecode'),
    *PACK,
]


def test_raw_frames_of_another_name(tmp_path, numbered_frames, frame_number):
    """``filename_tmpl`` and ``start_index`` name the files; frames from 0 here, below the root."""
    for i, frame in enumerate(numbered_frames(4, 100)):
        cv2.imwrite(str(tmp_path / f'{i:03}.png'), frame)
    dataset = build(
        FRAMES, data_prefix=dict(img=str(tmp_path)), filename_tmpl='{:03}.png', start_index=0
    )
    assert len(dataset) == 1 and dataset.get_data_info(0)['total_frames'] == 4
    assert frames_seen(dataset, 0, frame_number) == {100, 101, 102, 103}


class MemoryBackend(BaseStorageBackend):
    """Files that exist nowhere but in a dict, under ``inmemory://``."""

    files: dict[str, bytes] = {}

    def get(self, filepath):
        if str(filepath) not in self.files:
            raise FileNotFoundError(filepath)
        return self.files[str(filepath)]

    def get_text(self, filepath, encoding='utf-8'):
        return self.get(filepath).decode(encoding)

    def isdir(self, filepath):
        return any(name.startswith(f'{filepath}/') for name in self.files)

    def exists(self, filepath):
        return filepath in self.files or self.isdir(filepath)

    def list_dir_or_file(self, dir_path, list_dir, list_file, suffix=None, recursive=False):
        assert recursive and list_file and not list_dir
        for name in self.files:
            if name.startswith(f'{dir_path}/'):
                yield name.removeprefix(f'{dir_path}/')


register_backend('inmemory', MemoryBackend, prefixes='inmemory', force=True)
FileClient.register_backend('inmemory', MemoryBackend, force=True)


@pytest.mark.parametrize('backend_args', [None, dict(backend='inmemory')])
def test_another_file_backend(video_folder, frame_number, monkeypatch, backend_args):
    """Folder and list in a store that is no disk, chosen by its prefix or by name."""
    files = {
        f'inmemory://bucket/videos/{name}': (video_folder / name).read_bytes()
        for name in ('z.mp4', 'b/with space/two words.mp4')
    }
    files['inmemory://bucket/videos/about.txt'] = b'text'
    files['inmemory://bucket/list.txt'] = b'z.mp4 4\n'
    monkeypatch.setattr(MemoryBackend, 'files', files)
    pipeline = [dict(type='VideoInit', io_backend='inmemory'), *DECODE[1:], *PACK]
    source = dict(data_prefix=dict(video='inmemory://bucket/videos'), backend_args=backend_args)

    dataset = build(pipeline, **source)
    assert names(dataset) == ['b/with space/two words.mp4', 'z.mp4']
    for i, first in enumerate([96, 128]):
        assert all(first <= n < first + 20 for n in shown(dataset[i], frame_number)[0])

    dataset = build(pipeline, ann_file='inmemory://bucket/list.txt', **source)
    assert names(dataset) == ['z.mp4'] and labels(dataset) == [4]
    assert dataset[0]['inputs'].shape == (3, 3, 3, 48, 64)

    message = one_line_error(ann_file='inmemory://bucket/no.txt', **source)
    assert message.startswith('inmemory://bucket/no.txt: no such annotation list')
    source['data_prefix'] = dict(video='inmemory://bucket/nothing')
    assert one_line_error(**source).startswith('inmemory://bucket/nothing: no such folder')


# -- Bad input -------------------------------------------------------------------------------

REMEDY = "remove it, or set train_dataloader.dataset.bad_videos='skip'"


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        (dict(ann_file='', data_prefix=dict(video='')), ['no data', 'data_prefix.video', 'ann_f']),
        (dict(data_prefix=dict(videos='a')), ["{'videos': 'a'}", 'dict(video=FOLDER)']),
        (dict(data_prefix=dict(video='a', img='b')), ["'img': 'b'}", 'dict(video=FOLDER)']),
        (dict(bad_videos='ignore'), ["dataset.bad_videos is 'ignore'", "'raise' or 'skip'"]),
        (dict(max_bad_share=2), ['dataset.max_bad_share is 2', '0 to 1']),
        (dict(check_files='all'), ["check_files is 'all'", "'full', 'existence', 'none'"]),
        (dict(ann_file='no.txt'), ['no.txt: no such annotation list; correct its path']),
        (dict(data_prefix=dict(video='no')), ['no: no such folder; give an existing']),
        (dict(data_prefix=dict(img='no')), ['no: no such folder; give an existing']),
        (dict(data_prefix=dict(video='file')), ['file: no such folder']),
        (dict(ann_file='file'), ['file: found no videos (.mp4, .avi']),
        (dict(data_prefix=dict(video='.')), ['.: found no videos (.mp4, .avi']),
        (dict(data_prefix=dict(img='.')), ['.: found no folders of frames', 'img_00001.jpg']),
    ],
)
@pytest.mark.parametrize('policy', ['raise', 'skip'])
def test_no_source(tmp_path, monkeypatch, settings, words, policy):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('\n  \n')
    message = one_line_error(**dict(bad_videos=policy) | settings)
    assert all(word in message for word in words)


def test_list_line_without_its_file(video_folder, tmp_path, left_out):
    """The line's number counts blank lines; an error counts further faults, 'skip' names each."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('z.mp4 1\n\ngone.mp4 2\na.mkv 0\nalso gone.mp4\n')
    source = dict(ann_file=str(ann_file), data_prefix=dict(video=str(video_folder)))
    message = one_line_error(**source)
    assert message.startswith(f'{ann_file}, line 3: {video_folder}/gone.mp4 does not exist')
    assert '(1 more cannot be read)' in message and REMEDY in message
    dataset = build(bad_videos='skip', **source)
    assert names(dataset) == ['z.mp4', 'a.mkv'] and labels(dataset) == [1, 0]
    told = [message.split(': ')[0] for message in left_out]
    assert told == [f'{ann_file}, line 3', f'{ann_file}, line 5']


def test_file_that_cannot_be_a_video(tmp_path, write_numbered_video):
    """Seen before training, in a folder as in a list."""
    write_numbered_video(tmp_path / 'good.mp4', 3)
    (tmp_path / 'bad one.mp4').write_bytes(b'<html>404 Not Found</html>\n' * 99)
    (tmp_path / 'list.txt').write_text('good.mp4 0\nbad one.mp4 1\n')
    for ann_file, where in (
        ('', tmp_path),
        (f'{tmp_path}/list.txt', f'{tmp_path}/list.txt, line 2'),
    ):
        source = dict(ann_file=ann_file, data_prefix=dict(video=str(tmp_path)))
        message = one_line_error(**source)
        assert message.startswith(f'{where}: {tmp_path}/bad one.mp4 holds text, not a video; ')
        assert REMEDY in message
        assert names(build(bad_videos='skip', **source)) == ['good.mp4']


def test_many_files_left_out_are_counted(tmp_path, left_out, write_numbered_video):
    """A wrong folder under a long list is no flood."""
    write_numbered_video(tmp_path / 'a.mp4', 4)
    lines = ['a.mp4', *(f'gone{i}.mp4' for i in range(25))]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    source = dict(ann_file=str(tmp_path / 'list.txt'), data_prefix=dict(video=str(tmp_path)))
    assert names(build(bad_videos='skip', **source)) == ['a.mp4']
    assert len(left_out) == 21 and left_out[-1] == '5 more of 26 like these'


@pytest.mark.parametrize('line', ['x/first', 'x/first six', '6', 'x/first -6'])
def test_raw_frame_line_that_does_not_parse(tmp_path, line):
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text(f'x/first 6 0\n{line}\n')
    message = one_line_error(ann_file=str(ann_file), data_prefix=dict(img=str(tmp_path)))
    assert message.startswith(f'{ann_file}, line 2: {line!r} is not of the form')
    assert "'folder num_frames [label]'" in message


@pytest.fixture(scope='module')
def damaged_folder(tmp_path_factory, write_numbered_video):
    """Videos 0, 1, 2 and 4 are sound, 3 and 5 have had their middle overwritten."""
    root = tmp_path_factory.mktemp('damaged')
    for i in range(6):
        path = write_numbered_video(root / f'{i}.mp4', 30, 32 * i)
        if i in (3, 5):
            content = bytearray(path.read_bytes())
            start, end = content.find(b'mdat') + 200, content.find(b'moov') - 4
            assert end - start > 300
            content[start:end] = np.random.default_rng(i).bytes(end - start)
            path.write_bytes(content)
    return root


def test_damaged_video_is_replaced(damaged_folder, frame_number, left_out):
    """By another sound one; each is named once."""
    prefix = dict(video=str(damaged_folder))
    dataset = build([*DECODE, *PACK], data_prefix=prefix, bad_videos='skip', max_bad_share=0.4)
    for epoch in range(3):
        dataset.set_epoch(0, epoch)
        dataset.set_order([0, 3, 1, 2, 4, 5], 3)
        for i, video in enumerate([0, 1, 2, 4, 4, 1]):
            anchor = shown(dataset[i], frame_number)[0]
            assert {number // 32 for number in anchor} == {video}
    assert len(left_out) == 2
    for i, message in zip((3, 5), left_out, strict=True):
        assert message.startswith(f'{damaged_folder}/{i}.mp4 cannot be read')


def test_too_many_are_damaged(damaged_folder, left_out):
    """A second one of six is above the default of one in a hundred, rounded up."""
    prefix = dict(video=str(damaged_folder))
    dataset = build([*DECODE, *PACK], data_prefix=prefix, bad_videos='skip')
    dataset.set_epoch(0, 0)
    dataset.set_order([0, 3, 5, 1, 2, 4], 3)  # the two in one batch: neither replaces the other
    dataset[3]
    with pytest.raises(UserError, match=r'^2 of 6 videos \(33.3%\) cannot be read, above'):
        dataset[5]
    assert len(left_out) == 2


def test_error_of_a_worker_is_one_line(damaged_folder, capsys):
    """Of damage found while decoding, through a data loader's worker and a tool's entry point.

    It names the file, the decoder's word and the remedy.
    """
    dataset = build([*DECODE, *PACK], data_prefix=dict(video=str(damaged_folder)))
    assert len(dataset) == 6

    @one_line_errors
    def main():
        list(DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate))

    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if 'cannot be read' in line)
    assert line.startswith(f'error: {damaged_folder}/3.mp4 cannot be read (') and REMEDY in line


def test_mistake_in_the_pipeline_is_no_bad_video(video_folder):
    """A UserError of a transform is told as it is, not taken for a video's fault."""
    pipeline = [
        dict(type='VideoInit'),
        dict(type='SampleSegmentTuples', clip_len=2),
        dict(type='VideoDecode'),
        *PACK,
    ]
    dataset = build(pipeline, data_prefix=dict(video=str(video_folder)), bad_videos='skip')
    with pytest.raises(UserError, match='^FormatViews.* got clips of 2 frames'):
        dataset[0]


# -- Access ----------------------------------------------------------------------------------


def test_iteration_ends(video_folder):
    """After the last video; negative indices count from the end, with the draws of that video."""
    dataset = build([*DECODE, *PACK], data_prefix=dict(video=str(video_folder)))
    dataset.set_epoch(seed=0, epoch=0)
    assert len(list(itertools.islice(dataset, 9))) == 5
    for index in (5, 99, -6):
        with pytest.raises(IndexError):
            dataset[index]
    assert torch.equal(dataset[-1]['inputs'], dataset[4]['inputs'])


# -- Reproducible draws ----------------------------------------------------------------------


def load_epochs(dataset, num_workers, epochs, seed=7):
    """Inputs of every sample, [E][N], through a data loader as the Runner makes it."""
    loader = DataLoader(
        dataset,
        batch_size=2,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=pseudo_collate,
    )
    samples = []
    for epoch in epochs:
        dataset.set_epoch(seed, epoch)
        samples.append([inputs for batch in loader for inputs in batch['inputs']])
    return samples


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def augmented(video_folder):
    return build(AUGMENTED, data_prefix=dict(video=str(video_folder)))


def test_draws_do_not_depend_on_workers(augmented, video_folder):
    """0, 1 and 2 workers, which persist from epoch to epoch, a resume and any order of access."""
    expected = load_epochs(augmented, 0, [0, 1, 2])
    for number in (1, 2):
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        for epoch, wanted in zip(load_epochs(augmented, number, [0, 1, 2]), expected, strict=True):
            assert_same(epoch, wanted)
    resumed = build(AUGMENTED, data_prefix=dict(video=str(video_folder)))
    resumed.set_epoch(7, 2)
    backward = [resumed[i]['inputs'] for i in reversed(range(5))]
    assert_same(backward[::-1], expected[2])


def test_epochs_seeds_and_indices_differ(video_folder, tmp_path):
    """No two of them share a draw; the same video under two indices neither."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('z.mp4\nz.mp4\n')
    dataset = build(AUGMENTED, ann_file=str(ann_file), data_prefix=dict(video=str(video_folder)))
    samples = [
        sample.numpy().tobytes()
        for seed in (0, 1)
        for epoch in load_epochs(dataset, 0, [0, 1], seed)
        for sample in epoch
    ]
    assert len(set(samples)) == len(samples) == 8


def test_without_set_epoch_the_global_state_rules(augmented):
    """As any MMAction2 dataset: seeded from outside, two reads differ."""
    random.seed(0), np.random.seed(0)
    first, second = augmented[4]['inputs'], augmented[4]['inputs']
    assert not torch.equal(first, second)
    random.seed(0), np.random.seed(0)
    assert torch.equal(augmented[4]['inputs'], first)


@TRANSFORMS.register_module()
class DrawAndFail:
    """Draws from both generators, then fails as a decoder does."""

    def __call__(self, results):
        random.random(), np.random.rand()
        raise RuntimeError('broken')


@pytest.mark.parametrize('fails', [False, True])
def test_global_state_is_restored(video_folder, fails):
    """A sample leaves `random` and `numpy.random` as it found them, also after an error."""
    pipeline = [dict(type='DrawAndFail')] if fails else AUGMENTED
    dataset = build(pipeline, data_prefix=dict(video=str(video_folder)))
    dataset.set_epoch(0, 0)
    random.seed(11), np.random.seed(11)
    expected = random.random(), np.random.rand()
    random.seed(11), np.random.seed(11)
    if fails:
        with pytest.raises(UserError, match='RuntimeError: broken'):
            dataset[0]
    else:
        dataset[0]
    assert (random.random(), np.random.rand()) == expected


# -- Real videos -----------------------------------------------------------------------------


def test_real_clips_through_the_config(real_data):
    """All real clips through the recipe's own pipeline."""
    cfg = Config.fromfile('configs/_base_/datasets/frames.py').train_dataloader.dataset
    cfg.data_prefix.video = str(real_data / 'clips')
    cfg.bad_videos = 'raise'
    dataset = DATASETS.build(cfg)
    assert len(dataset) == len([path for path in (real_data / 'clips').iterdir() if path.is_file()])
    dataset.set_epoch(0, 0)
    for i in range(len(dataset)):
        sample = dataset[i]
        assert sample['inputs'].shape == (3, 3, 3, 224, 224), dataset.get_name(i)
        assert sample['inputs'].dtype == torch.uint8
        assert sample['data_samples'].img_shape == (224, 224)
        # The views hold pictures, no two of them the same.
        views = sample['inputs'].flatten(1)
        assert all(len(view.unique()) > 20 for view in views)
        assert not torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
