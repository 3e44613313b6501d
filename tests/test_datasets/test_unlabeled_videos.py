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

from mmssl_video.datasets import UnlabeledVideoDataset
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


def numbers(sample, frame_number):
    """Numbers that the frames of a packed sample show, [V][S]."""
    return [[frame_number(frame) for frame in view] for view in sample['inputs'].numpy()]


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
        anchor, positive, again = numbers(sample, frame_number)
        assert (
            anchor == again and all(a != p for a, p in zip(anchor, positive, strict=True)) or i == 0
        )
        total = 4 * (i + 1)
        for frames in (anchor, positive):
            for segment, frame in enumerate(frames):
                assert segment * total // 3 <= frame - 32 * i < (segment + 1) * total // 3


@pytest.mark.parametrize('trailing', ['', '/'])
def test_folder_with_and_without_slash(video_folder, trailing):
    assert names(build(data_prefix=dict(video=f'{video_folder}{trailing}'))) == ALL


def test_folder_relative_to_data_root(video_folder):
    """MMEngine's data_root is joined to the prefix and to the list."""
    dataset = build(data_root=str(video_folder), data_prefix=dict(video='b'))
    assert names(dataset) == ['one.avi', 'with space/two words.mp4']


def test_list_without_labels(video_folder, tmp_path, frame_number):
    """Paths with spaces, blank lines, any order; the label becomes -1."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('\nz.mp4\n   \nb/with space/two words.mp4  \n\nb/one.avi')
    dataset = build(
        [*DECODE, *PACK], ann_file=str(ann_file), data_prefix=dict(video=str(video_folder))
    )
    assert names(dataset) == ['z.mp4', 'b/with space/two words.mp4', 'b/one.avi']
    assert labels(dataset) == [-1, -1, -1]
    shown = numbers(dataset[1], frame_number)[0]
    assert all(96 <= number < 112 for number in shown)


def test_list_with_labels(video_folder, tmp_path):
    """MMAction2's own list; some labels may be missing."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text(
        'a.mkv 0\nb/with space/two words.mp4 7\nz.mp4\nUPPER.MP4\t12\nb/one.avi -1\n'
    )
    dataset = build(
        [*DECODE, *PACK], ann_file=str(ann_file), data_prefix=dict(video=str(video_folder))
    )
    assert names(dataset) == [
        'a.mkv',
        'b/with space/two words.mp4',
        'z.mp4',
        'UPPER.MP4',
        'b/one.avi',
    ]
    assert labels(dataset) == [0, 7, -1, 12, -1]
    assert dataset[1]['data_samples'].gt_label.tolist() == [7]


def test_list_of_absolute_paths(video_folder, tmp_path):
    """Without a prefix the paths stand as they are."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text(f'{video_folder}/a.mkv 3\n')
    dataset = build(ann_file=str(ann_file))
    assert dataset.get_data_info(0)['filename'] == f'{video_folder}/a.mkv'
    assert len(dataset) == 1


@pytest.fixture(scope='session')
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


FRAMES = [
    dict(type='SampleSegmentTuples', num_segments=3, views=(0, 1, 0)),
    dict(type='RawFrameDecode'),
    *PACK,
]


def test_folder_of_raw_frames(frame_folders, frame_number):
    """Every folder with frames, counted; the first frame is number 1, the last one is reached."""
    dataset = build(FRAMES, data_prefix=dict(img=str(frame_folders)))
    assert names(dataset) == ['x/first', 'x/second one']
    assert labels(dataset) == [-1, -1]
    assert [dataset.get_data_info(i)['total_frames'] for i in range(2)] == [6, 9]
    for i, (first, total) in enumerate([(10, 6), (50, 9)]):
        seen = set()
        for _ in range(25):
            for frames in numbers(dataset[i], frame_number):
                for segment, frame in enumerate(frames):
                    assert segment * total // 3 <= frame - first < (segment + 1) * total // 3
                seen.update(frames)
        assert seen == set(range(first, first + total))


def test_list_of_raw_frames(frame_folders, tmp_path, frame_number):
    """``folder num_frames [label]``; the folder may hold spaces, num_frames be fewer than all."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('x/second one 4 2\n\nx/first 6\n')
    dataset = build(FRAMES, ann_file=str(ann_file), data_prefix=dict(img=str(frame_folders)))
    assert names(dataset) == ['x/second one', 'x/first']
    assert labels(dataset) == [2, -1]
    assert [dataset.get_data_info(i)['total_frames'] for i in range(2)] == [4, 6]
    seen = {n for _ in range(25) for view in numbers(dataset[0], frame_number) for n in view}
    assert seen == {50, 51, 52, 53}


def test_raw_frames_of_another_name(tmp_path, numbered_frames, frame_number):
    """``filename_tmpl`` and ``start_index`` name the files; frames from 0 here, below the root."""
    for i, frame in enumerate(numbered_frames(4, 100)):
        cv2.imwrite(str(tmp_path / f'{i:03}.png'), frame)
    dataset = build(
        FRAMES, data_prefix=dict(img=str(tmp_path)), filename_tmpl='{:03}.png', start_index=0
    )
    assert len(dataset) == 1 and dataset.get_data_info(0)['total_frames'] == 4
    seen = {n for _ in range(25) for view in numbers(dataset[0], frame_number) for n in view}
    assert seen == {100, 101, 102, 103}


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
        shown = numbers(dataset[i], frame_number)[0]
        assert all(first <= number < first + 20 for number in shown)

    dataset = build(pipeline, ann_file='inmemory://bucket/list.txt', **source)
    assert names(dataset) == ['z.mp4'] and labels(dataset) == [4]
    assert dataset[0]['inputs'].shape == (3, 3, 3, 48, 64)

    message = one_line_error(ann_file='inmemory://bucket/no.txt', **source)
    assert message.startswith('inmemory://bucket/no.txt: no such annotation list')
    source['data_prefix'] = dict(video='inmemory://bucket/nothing')
    assert one_line_error(**source).startswith('inmemory://bucket/nothing: no such folder')


# -- Bad input -------------------------------------------------------------------------------

REMEDY = "remove it, or set train_dataloader.dataset.bad_videos='skip'"


def test_no_source():
    message = one_line_error(ann_file='', data_prefix=dict(video=''))
    assert 'no data' in message and 'data_prefix.video' in message and 'ann_file' in message


@pytest.mark.parametrize('prefix', [dict(videos='a'), dict(video='a', img='b')])
def test_unknown_prefix(prefix):
    message = one_line_error(data_prefix=prefix)
    assert str(prefix) in message and 'dict(video=FOLDER)' in message


def test_unknown_policy(video_folder):
    message = one_line_error(data_prefix=dict(video=str(video_folder)), bad_videos='ignore')
    assert message == "dataset.bad_videos is 'ignore'; use 'raise' or 'skip'"


@pytest.mark.parametrize('policy', ['raise', 'skip'])
@pytest.mark.parametrize('key', ['video', 'img'])
def test_empty_folder(tmp_path, policy, key):
    (tmp_path / 'notes.txt').write_text('')
    message = one_line_error(data_prefix={key: str(tmp_path)}, bad_videos=policy)
    wanted = 'videos (.mp4, .avi' if key == 'video' else 'frames named like img_00001.jpg'
    assert message.startswith(f'{tmp_path}: found no ') and wanted in message


@pytest.mark.parametrize('key', ['video', 'img'])
def test_missing_folder(tmp_path, key):
    message = one_line_error(data_prefix={key: str(tmp_path / 'no')})
    assert message.startswith(f'{tmp_path}/no: no such folder') and 'data_prefix' in message


def test_a_file_for_a_folder(video_folder):
    message = one_line_error(data_prefix=dict(video=f'{video_folder}/z.mp4'))
    assert message.startswith(f'{video_folder}/z.mp4: no such folder')


def test_missing_list(tmp_path):
    message = one_line_error(ann_file=str(tmp_path / 'no.txt'))
    assert (
        message.startswith(f'{tmp_path}/no.txt: no such annotation list') and 'ann_file' in message
    )


def test_empty_list(tmp_path):
    (tmp_path / 'list.txt').write_text('\n  \n')
    assert one_line_error(ann_file=f'{tmp_path}/list.txt').startswith(
        f'{tmp_path}/list.txt: found no'
    )


def test_list_line_without_its_file(video_folder, tmp_path):
    """The line's number counts blank lines; further faults are counted, not listed."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('z.mp4 1\n\ngone.mp4 2\na.mkv 0\nalso gone.mp4\n')
    kwargs = dict(ann_file=str(ann_file), data_prefix=dict(video=str(video_folder)))
    message = one_line_error(**kwargs)
    assert message.startswith(f'{ann_file}, line 3: {video_folder}/gone.mp4 does not exist')
    assert '(1 more cannot be read)' in message and REMEDY in message


def test_list_lines_left_out(video_folder, tmp_path, left_out):
    """With 'skip' each is named in a warning and the rest is kept."""
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text('z.mp4 1\n\ngone.mp4 2\na.mkv 0\nalso gone.mp4\n')
    source = dict(ann_file=str(ann_file), data_prefix=dict(video=str(video_folder)))
    dataset = build(bad_videos='skip', **source)
    assert names(dataset) == ['z.mp4', 'a.mkv'] and labels(dataset) == [1, 0]
    assert [message.split(': ')[0] for message in left_out] == [
        f'{ann_file}, line 3',
        f'{ann_file}, line 5',
    ]


@pytest.mark.parametrize(
    'content, fault',
    [
        (b'', 'is empty (0 bytes)'),
        (b'<html>404 Not Found</html>\n' * 99, 'holds text, not a video'),
    ],
    ids=['zero bytes', 'text'],
)
@pytest.mark.parametrize('by_list', [False, True])
def test_file_that_cannot_be_a_video(tmp_path, content, fault, by_list, write_numbered_video):
    """Seen before training, in a folder as in a list."""
    folder = tmp_path / 'videos'
    write_numbered_video(folder / 'good.mp4', 3)
    (folder / 'bad one.mp4').write_bytes(content)
    kwargs = dict(data_prefix=dict(video=str(folder)))
    where = str(folder)
    if by_list:
        (tmp_path / 'list.txt').write_text('good.mp4 0\nbad one.mp4 1\n')
        kwargs['ann_file'] = f'{tmp_path}/list.txt'
        where = f'{tmp_path}/list.txt, line 2'
    message = one_line_error(**kwargs)
    assert message.startswith(f'{where}: {folder}/bad one.mp4 {fault}; ')
    assert REMEDY in message
    assert names(build(bad_videos='skip', **kwargs)) == ['good.mp4']


def test_all_files_bad(tmp_path):
    """There is nothing to go on with, whatever the policy."""
    for name in ('a.mp4', 'b.mp4'):
        (tmp_path / name).write_bytes(b'')
    message = one_line_error(data_prefix=dict(video=str(tmp_path)), bad_videos='skip')
    assert message == (
        f'{tmp_path}: {tmp_path}/a.mp4 is empty (0 bytes) (1 more cannot be read), so no '
        'video is left; check dataset.data_prefix and ann_file'
    )


def test_many_files_left_out_are_counted(tmp_path, left_out, write_numbered_video):
    """A wrong folder under a long list is no flood."""
    write_numbered_video(tmp_path / 'a.mp4', 4)
    lines = ['a.mp4', *(f'gone{i}.mp4' for i in range(25))]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    source = dict(ann_file=str(tmp_path / 'list.txt'), data_prefix=dict(video=str(tmp_path)))
    assert names(build(bad_videos='skip', **source)) == ['a.mp4']
    assert len(left_out) == 21 and left_out[-1] == '5 more of 26 like these'


@pytest.mark.parametrize('line', ['x/first', 'x/first six', '6', 'x/first -6'])
def test_raw_frame_line_that_does_not_parse(frame_folders, tmp_path, line):
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text(f'x/first 6 0\n{line}\n')
    message = one_line_error(ann_file=str(ann_file), data_prefix=dict(img=str(frame_folders)))
    assert message.startswith(f'{ann_file}, line 2: {line!r} is not of the form')
    assert "'folder num_frames [label]'" in message


@pytest.mark.parametrize(
    'line, fault', [('x/gone 6 0', 'x/gone does not exist'), ('x/first 0', 'x/first has no frames')]
)
def test_raw_frames_that_are_not_there(frame_folders, tmp_path, line, fault):
    ann_file = tmp_path / 'list.txt'
    ann_file.write_text(f'{line}\nx/first 6\n')
    kwargs = dict(ann_file=str(ann_file), data_prefix=dict(img=str(frame_folders)))
    message = one_line_error(**kwargs)
    assert message.startswith(f'{ann_file}, line 1: {frame_folders}/{fault}; ')
    assert names(build(bad_videos='skip', **kwargs)) == ['x/first']


@pytest.fixture(scope='session')
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


def test_damage_found_while_decoding(damaged_folder):
    """Nothing to see at start; then one line names the file, the decoder's word and the remedy."""
    dataset = build([*DECODE, *PACK], data_prefix=dict(video=str(damaged_folder)))
    assert len(dataset) == 6
    for i in (3, 5):
        with pytest.raises(UserError) as error:
            dataset[i]
        message = str(error.value)
        assert message.startswith(f'{damaged_folder}/{i}.mp4 cannot be read (')
        assert '\n' not in message and REMEDY in message


def test_damaged_video_is_replaced(damaged_folder, frame_number, left_out):
    """By another sound one; each is named once."""
    prefix = dict(video=str(damaged_folder))
    dataset = build([*DECODE, *PACK], data_prefix=prefix, bad_videos='skip', max_bad_share=0.4)
    for epoch in range(3):
        dataset.set_epoch(0, epoch)
        dataset.set_order([0, 3, 1, 2, 4, 5], 3)
        for i, shown in enumerate([{0}, {1}, {2}, {4}, {4}, {1}]):
            anchor = numbers(dataset[i], frame_number)[0]
            assert {number // 32 for number in anchor} == shown
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
    """Through a data loader's worker process and a tool's entry point."""
    dataset = build([*DECODE, *PACK], data_prefix=dict(video=str(damaged_folder)))

    @one_line_errors
    def main():
        list(DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=pseudo_collate))

    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if 'cannot be read' in line]
    assert len(lines) == 1 and lines[0].startswith(f'error: {damaged_folder}/3.mp4 cannot be read')


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


def test_real_broken_files(real_data, left_out):
    """A collection as it is found: what can be read is kept, the rest replaced or left out."""
    dataset = build(
        [*DECODE, *AUGMENTED[3:]],
        data_prefix=dict(video=str(real_data / 'broken')),
        bad_videos='skip',
        max_bad_share=0.4,
    )
    assert set(dataset.left_out) == {
        f'{real_data}/broken/{name}' for name in ('text.mp4', 'zero_bytes.webm')
    }
    for i in range(len(dataset)):
        assert dataset[i]['inputs'].shape == (3, 3, 3, 20, 20)
    named = ' '.join(left_out)
    for name in ('text.mp4', 'zero_bytes.webm', 'corrupt_from_frame_28.mp4'):
        assert name in named
    for name in ('rotated_90.mov', 'tiny_4_frames.mov', 'decord_never_returns.mp4'):
        assert name not in named


# -- Access ----------------------------------------------------------------------------------


def test_iteration_ends(video_folder):
    """A for loop over the dataset ends after its last video; an index beyond it is an error."""
    dataset = build(data_prefix=dict(video=str(video_folder)))
    found = [sample['filename'] for sample in itertools.islice(dataset, 9)]
    assert found == [f'{video_folder}/{name}' for name in ALL]
    for index in (5, 99, -6):
        with pytest.raises(IndexError):
            dataset[index]


def test_negative_index(video_folder):
    """Counts from the end, with the draws of that video."""
    dataset = build([*DECODE, *PACK], data_prefix=dict(video=str(video_folder)))
    dataset.set_epoch(seed=0, epoch=0)
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


def test_draws_do_not_depend_on_workers(augmented):
    """0, 1 and 2 workers, which persist from epoch to epoch, give the same samples."""
    expected = load_epochs(augmented, 0, [0, 1, 2])
    for number in (1, 2):
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
        for epoch, wanted in zip(load_epochs(augmented, number, [0, 1, 2]), expected, strict=True):
            assert_same(epoch, wanted)


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


def test_draws_after_a_resume(augmented, video_folder):
    """A new process that starts at epoch 2 draws what the unbroken run draws there."""
    unbroken = load_epochs(augmented, 0, [0, 1, 2])
    resumed = build(AUGMENTED, data_prefix=dict(video=str(video_folder)))
    assert_same(load_epochs(resumed, 0, [2])[0], unbroken[2])


def test_order_of_access_does_not_matter(augmented):
    """A sample is a function of its index, as a shuffling sampler needs."""
    augmented.set_epoch(0, 3)
    forward = [augmented[i]['inputs'] for i in range(5)]
    backward = [augmented[i]['inputs'] for i in reversed(range(5))]
    assert_same(forward, backward[::-1])


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
    """All 27 real clips through the recipe's own pipeline."""
    cfg = Config.fromfile('configs/_base_/datasets/frames.py').train_dataloader.dataset
    cfg.data_prefix.video = str(real_data / 'clips')
    cfg.bad_videos = 'raise'
    dataset = DATASETS.build(cfg)
    assert isinstance(dataset, UnlabeledVideoDataset)
    files = [path for path in (real_data / 'clips').iterdir() if path.is_file()]
    assert len(dataset) == len(files) >= 20
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


def test_real_list(real_data):
    """MMAction2's list of the labelled set: the labels are there for monitors."""
    root = real_data / 'actions4'
    dataset = build(
        [*DECODE, *PACK], ann_file=str(root / 'train.txt'), data_prefix=dict(video=str(root))
    )
    lines = [line.split() for line in (root / 'train.txt').read_text().splitlines()]
    assert names(dataset) == [name for name, _ in lines]
    assert labels(dataset) == [int(label) for _, label in lines]
    assert dataset[0]['inputs'].shape == (3, 3, 3, 64, 64)
