"""Frames of all kinds of files in features, BMN features, the motion index and the browser.

An encoder that reads the barcode of a frame stands for a backbone. The reader itself is tested in
``test_video``; here, that these passes take their frames from it and from nowhere else.
"""

import json
from itertools import chain

import numpy as np
import pytest
import torch
from barcodes import read_barcodes
from mmaction.datasets.transforms import SampleFrames
from mmaction.models import ActionDataPreprocessor
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from video_kinds import KINDS

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.motion import index_motion, measure_motion, read_grey
from mmssl_video.evaluation.bmn_features import extract_bmn_features, rescale
from mmssl_video.evaluation.extract import encode_videos
from mmssl_video.evaluation.loader import VideoLoader, feature_pipeline
from mmssl_video.video import VideoReader, is_video
from mmssl_video.visualization.browse import read_sample

NUM_KINDS, NUM_CLIPS, INTERVAL, BINS = 17, 10, 3, 7
CFG = Config(
    dict(
        model=dict(backbone=dict(type='BarcodeReader')),
        feature_pipeline=[
            dict(type='VideoInit'),
            dict(type='SampleFrames', clip_len=1, num_clips=NUM_CLIPS, test_mode=True),
            dict(type='VideoDecode'),
            dict(type='FormatShape', input_format='NCHW'),
            dict(type='PackActionInputs'),
        ],
    )
)


init_default_scope('mmaction')


class BarcodeReader(nn.Module):
    """The number n that a frame shows, in place of a backbone: maps of (n, 1)."""

    def forward(self, images):
        numbers = read_barcodes(images.permute(0, 2, 3, 1).numpy())
        return torch.tensor([[number, 1.0] for number in numbers])[..., None, None]


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Files of 17 kinds by the names ``v_<n>``, and the numbers that each shows."""
    folder = tmp_path_factory.mktemp('kinds')
    names = [name for name in KINDS if is_video(name) and None not in KINDS[name].numbers]
    found = {}
    for place in np.linspace(0, len(names) - 1, NUM_KINDS).astype(int):
        path = folder / f'v_{place:03}{names[place][names[place].rindex(".") :]}'
        found[path.name] = KINDS[names[place]].write(path).numbers
    (folder / 'list.txt').write_text(''.join(f'{name}\n' for name in found))
    return folder, found


@pytest.fixture
def encoder():
    model = nn.Module()
    model.data_preprocessor = ActionDataPreprocessor(format_shape='NCHW')
    model.backbone = BarcodeReader()
    return model


def test_features(videos, encoder):
    folder, shown = videos
    pipeline = feature_pipeline(CFG)
    loader = VideoLoader(pipeline, str(folder / 'list.txt'), str(folder), 1, num_workers=0)
    rows = encode_videos(encoder, loader, '', per_clip=True)
    sample = SampleFrames(clip_len=1, num_clips=NUM_CLIPS, test_mode=True)
    for name, numbers in shown.items():
        inds = sample(dict(total_frames=len(numbers), start_index=0))['frame_inds']
        found = rows.features[rows.names == name][:, 0]
        assert found.tolist() == [numbers[index] for index in inds], name


def test_bmn_features(videos, encoder, tmp_path):
    """Also of what a small part of a video needs: a clip at a time."""
    folder, shown = videos
    stems = {name.rsplit('.', 1)[0]: numbers for name, numbers in shown.items()}
    annotations = {}
    for name in shown:
        with VideoReader(str(folder / name)) as reader:
            seconds = float(reader.times[-1] + 1 / reader.avg_fps)
        annotations[name.rsplit('.', 1)[0]] = dict(duration_second=seconds, annotations=[])
    (tmp_path / 'anno.json').write_text(json.dumps(annotations))
    extract_bmn_features(
        CFG,
        encoder,
        [str(tmp_path / 'anno.json')],
        str(folder),
        str(tmp_path / 'out'),
        interval=INTERVAL,
        clip_len=1,
        bins=BINS,
        batch_size=4,
        num_workers=0,
    )
    for name, numbers in stems.items():
        length = len(numbers)
        clips = np.arange(max(1, length // INTERVAL)) * INTERVAL + min(INTERVAL, length) // 2
        expected = rescale(np.array(numbers)[clips][:, None], BINS)
        found = np.loadtxt(tmp_path / 'out' / 'csv' / f'{name}.csv', delimiter=',', skiprows=1)
        np.testing.assert_allclose(found[:, :1], expected, rtol=1e-5, err_msg=name)


def test_motion(videos):
    """All frames, in order, and of these the motion."""
    folder, shown = videos
    dataset = UnlabeledVideoDataset(
        [], str(folder / 'list.txt'), dict(video=str(folder)), bad_videos='skip'
    )
    assert index_motion(dataset, size=16, grid=4) == {}
    for number, (name, numbers) in enumerate(shown.items()):
        info = dataset.get_data_info(number)
        frames = list(read_grey(info, 48))
        assert read_barcodes(frame[..., None].repeat(3, 2) for frame in frames) == numbers, name
        np.testing.assert_array_equal(
            np.load(info['motion_path']), measure_motion(read_grey(info, 16), grid=4)
        )


def test_browser(videos):
    """What a training sample is fed with, under its frame numbers."""
    folder, shown = videos
    pipeline = [
        dict(type='VideoInit'),
        dict(type='SampleClips', num_views=3, clip_len=2, frame_interval=3),
        dict(type='VideoDecode'),
        dict(type='FormatViews', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    dataset = UnlabeledVideoDataset(
        pipeline, str(folder / 'list.txt'), dict(video=str(folder)), bad_videos='raise'
    )
    for number, (name, numbers) in enumerate(shown.items()):
        for clip in chain(*read_sample(dataset, number).views):
            expected = [numbers[index] for index in clip.frame_numbers]
            assert read_barcodes(clip.sources) == expected, name
            assert read_barcodes(clip.fed) == expected, name
