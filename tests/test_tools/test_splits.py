"""Splits chosen by the environment variable SPLIT: no run goes on from, or tests, another one."""

import pytest
from tiny_vclr import REPOSITORY, write_videos

BASE = REPOSITORY / 'configs/downstream/finetune/tsn_r18_1x8-1x1x3-20e_generated-rgb.py'
CONFIG = """
_base_ = {base!r}
model = dict(backbone=dict(num_stages=1, out_indices=(0,), strides=(1,), dilations=(1,)))
model['cls_head'] = dict(num_classes=2, in_channels=64)
loader = dict(num_workers=0, persistent_workers=False)
videos = dict(video={videos!r})
train = dict(ann_file='train_split_{{{{$SPLIT:1}}}}.txt', data_prefix=videos)
val = dict(ann_file='val_split_{{{{$SPLIT:1}}}}.txt', data_prefix=videos)
train_dataloader = dict(**loader, batch_size=2, dataset=train)
val_dataloader = dict(**loader, dataset=val)
test_dataloader = dict(**loader, dataset=val)
train_cfg = dict(max_epochs=1, val_interval=1)
default_hooks = dict(checkpoint=dict(interval=1))
"""


@pytest.fixture
def run(tmp_path, monkeypatch, tool_runner):
    """``run(split, tool, *arguments)`` in a folder with a config of two splits: status, stderr."""
    videos = write_videos(tmp_path / 'videos', 4)
    for split, (train, val) in {1: ('01', '23'), 2: ('23', '01')}.items():
        for part, numbers in (('train', train), ('val', val)):
            lines = [f'video_{number}.mp4 {int(number) % 2}\n' for number in numbers]
            (tmp_path / f'{part}_split_{split}.txt').write_text(''.join(lines))
    (tmp_path / 'tsn.py').write_text(CONFIG.format(base=str(BASE), videos=str(videos)))
    monkeypatch.chdir(tmp_path)
    calls = iter(range(9))

    def run(split, tool, *arguments, options=()):
        monkeypatch.setenv('SPLIT', str(split))
        # A logger of its own for each run.
        options = ['--cfg-options', f'experiment_name={tmp_path.name}{next(calls)}', *options]
        status, said = tool_runner(tool)('tsn.py', *arguments, *options)
        return status, said.err

    return run


def test_a_split_is_neither_resumed_nor_tested_as_another(tmp_path, run):
    assert run(1, 'train')[0] == 0
    first = tmp_path / 'work_dirs/tsn_split1/epoch_1.pth'
    assert first.is_file()
    assert run(1, 'test', first)[0] == 0

    status, error = run(2, 'test', first)
    assert status == 2
    assert (
        f'error: {first}: was trained on train_split_1.txt, but the train_dataloader of the '
        'config names train_split_2.txt' in error
    )
    said = [f'train_dataloader.dataset.ann_file={tmp_path}/train_split_1.txt']
    assert run(2, 'test', first, options=said)[0] == 0  # knowingly

    assert run(2, 'train', '--resume')[0] == 0  # from the start, in a folder of its own
    assert (tmp_path / 'work_dirs/tsn_split2/epoch_1.pth').is_file()
    status, error = run(2, 'train', '--resume', first, '--work-dir', 'other')
    assert status == 2 and 'train_split_1.txt -> train_split_2.txt; it was trained on' in error
