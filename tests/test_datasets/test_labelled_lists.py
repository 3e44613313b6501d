"""Lists of recognizers: what MMAction2 cannot read, classify or find is told before the run."""

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmssl_video.datasets.labelled_lists import check_labelled_lists
from mmssl_video.errors import UserError

init_default_scope('mmaction')


@pytest.fixture
def folder(tmp_path):
    """Videos ``a.mp4`` to ``d.mp4``, which nobody opens, and a folder of frames ``e``."""
    (tmp_path / 'videos/e').mkdir(parents=True)
    for name in 'abcd':
        (tmp_path / f'videos/{name}.mp4').write_bytes(b'x')
    return tmp_path


def config(folder, content, **dataset):
    """A recognizer of three classes, whose list has this content."""
    content = content if isinstance(content, bytes) else content.encode()
    (folder / 'list.txt').write_bytes(content)
    dataset = (
        dict(
            type='VideoDataset',
            ann_file=str(folder / 'list.txt'),
            data_prefix=dict(video=str(folder / 'videos')),
            pipeline=[dict(type='VideoInit')],
        )
        | dataset
    )
    if dataset['type'] == 'RawframeDataset':
        dataset['data_prefix'] = dict(img=str(folder / 'videos'))
    return Config(
        dict(
            model=dict(cls_head=dict(type='TSNHead', num_classes=3)),
            **{f'{part}_dataloader': dict(dataset=dataset) for part in ('train', 'val', 'test')},
            val_evaluator=dict(type='AccMetric'),
            test_evaluator=[dict(type='AccMetric'), dict(type='DumpResults')],
        )
    )


FRAMES = dict(type='RawframeDataset')
OURS = dict(type='UnlabeledVideoDataset')
MANY = dict(multi_class=True, num_classes=3)
CLASSES = 'but model.cls_head.num_classes is 3, for labels 0 to 2'


def complaint(cfg, folder, part='train'):
    """What is wrong, without the folder."""
    with pytest.raises(UserError) as error:
        check_labelled_lists(cfg, part)
    return str(error.value).replace(f'{folder}/', '')


# For each fault: the beginning of the message, and the remedy at its end.
WRONG = [
    ({}, 'a.mp4 1\nb.mp4 3\nc.mp4 2\nd.mp4 3\n', 'line 2: videos/b.mp4 has label 3 (1 more', '=4'),
    ({}, 'a.mp4 0\nb.mp4 1\nc.mp4 7\n', f'line 3: videos/c.mp4 has label 7, {CLASSES}', '=8'),
    (
        {},
        'a.mp4 0\nb.mp4\nc.mp4 -1\nd.mp4 2\n\n',
        'line 2: videos/b.mp4 has no label (2 m',
        'class',
    ),
    ({}, 'a.mp4 0\nmy video.mp4 2\nc.mp4 x\n', "line 2: 'my video.mp4 2' is not of", 'the line'),
    ({}, 'a.mp4 0\nb.mp4 Archery\n', "line 2: 'b.mp4 Archery' is not of the form", 'the line'),
    ({}, 'a.mp4 0\nx.mp4 1\ny.mp4 2\n', 'line 2: videos/x.mp4 does not exist (1 more', ''),
    (MANY, 'a.mp4 0 2\nb.mp4 1 3\n', 'line 2: videos/b.mp4 has label 3, but', ''),
    (MANY, 'a.mp4 0 2\nb.mp4\n', 'line 2: videos/b.mp4 has no label, but', ''),
    (FRAMES, 'e 8 3\n', 'line 1: videos/e has label 3, but', ''),
    (FRAMES, 'e 8 2\nf 8 1\n', 'line 2: videos/f does not exist', ''),
    (FRAMES, 'e 8 0\ne 1\n\n', "line 3: '' is not of the form 'folder num_frames label'", ''),
    (dict(type='RepeatedVideoDataset'), 'b.mp4 3\n', 'line 1: videos/b.mp4 has label 3, ', ''),
    (OURS, 'a.mp4 0\nmy video.mp4 3\n', 'line 2: videos/my video.mp4 has label 3, ', ''),
    (OURS, 'a.mp4 0\nb.mp4 Archery\n', 'line 2: videos/b.mp4 has no label, but', ''),
]


@pytest.mark.parametrize(('dataset', 'content', 'message', 'remedy'), WRONG)
def test_what_is_wrong_with_a_line(folder, dataset, content, message, remedy):
    found = complaint(config(folder, content, **dataset), folder)
    assert found.startswith(f'list.txt, {message}') and found.endswith(remedy)
    assert ('the labels start at 1: subtract 1 from each, or set' in found) == (remedy == '=4')


def test_what_is_wrong_with_a_list(folder):
    for content, message in (
        ('', 'list.txt: the list is empty; set train_dataloader.dataset.ann_file'),
        ('a.mp4 0\n'.encode('utf-16'), 'list.txt: is not UTF-8, which MMAction2 expects'),
        ('a.mp4 0\n'.encode('utf-8-sig'), 'list.txt: begins with a byte order mark'),
    ):
        assert complaint(config(folder, content), folder).startswith(message)
    message = complaint(config(folder, 'a.mp4 0\nx.mp4 1\n'), folder)
    assert (
        'check train_dataloader.dataset.data_prefix, or leave such lines out (tools/check_videos.py'
        in message
    )


@pytest.mark.parametrize(
    ('dataset', 'content'),
    [
        ({}, 'a.mp4 1\nb.mp4 2\n'),  # not every class is in every list
        (dict(delimiter=','), 'a.mp4,0\nb.mp4,2'),
        (MANY, 'a.mp4 0 2\nb.mp4 1\n'),
        (FRAMES, 'e 8 2\n'),
        (dict(**FRAMES, with_offset=True), 'e 90 8 2\n'),
        (OURS, '\nmy video.mp4 2\n'),  # that it is not there, the data set says itself
        # In other stores, and read by other data sets.
        (dict(data_prefix=dict(video='s3://bucket')), 'a.mp4 0\n'),
        (dict(pipeline=[dict(type='DecordInit', io_backend='petrel')]), 'x.mp4 0\n'),
        (dict(type='VideoTextDataset'), '{"x.mp4": ["one", "two"]}'),
    ],
)
def test_sound_lists(folder, dataset, content):
    check_labelled_lists(config(folder, content, **dataset), 'train', 'val', 'test')


def test_a_missing_list_and_a_folder(folder):
    absent = str(folder / 'no.txt')
    assert complaint(config(folder, '', ann_file=absent), folder) == (
        'no.txt: cannot be read as a list (No such file or directory); set '
        'train_dataloader.dataset.ann_file'
    )
    message = complaint(config(folder, '', **OURS, ann_file=''), folder)
    assert message.startswith('train_dataloader.dataset.ann_file is empty, and the folder ')


def test_data_sets_in_wrappers_and_in_their_root(folder):
    cfg = config(folder, 'a.mp4 0\nb.mp4 9\n', data_root=str(folder))
    single = cfg.train_dataloader.dataset
    single.update(ann_file='list.txt', data_prefix=dict(video='videos'))
    both = dict(type='ConcatDataset', datasets=[single])
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=both)
    assert complaint(cfg, folder).startswith('list.txt, line 2: videos/b.mp4 has label 9')
    single.ann_file = 'no.txt'
    remedy = 'set train_dataloader.dataset.dataset.datasets.0.ann_file'
    assert complaint(cfg, folder).endswith(remedy)


def test_predictions_alone_need_no_labels(folder):
    cfg = config(folder, 'a.mp4\nb.mp4\n')
    assert 'no label' in complaint(cfg, folder, 'test')
    cfg.test_evaluator = [dict(type='DumpResults')]
    check_labelled_lists(cfg, 'test')
    assert 'no label' in complaint(cfg, folder, 'val')
    cfg.model = dict(type='SSLRecognizer')  # nor does what has no classes
    check_labelled_lists(cfg, 'train', 'val')
    (folder / 'list.txt').write_text('a.mp4\nx.mp4\n')
    assert complaint(cfg, folder).startswith('list.txt, line 2: videos/x.mp4 does not exist')
