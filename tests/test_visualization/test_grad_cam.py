"""Grad-CAM against gradients written out, closed forms and frames that tell their number."""

import sys

import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from PIL import Image
from tiny_vclr import CHANNELS, TinyBackbone, build_tiny, tiny_config, write_videos
from torch import nn
from torch.nn import functional as F

from mmssl_video.errors import UserError
from mmssl_video.visualization.grad_cam import (
    build_model,
    class_score,
    feature_score,
    find_layer,
    grad_cam,
    grad_cam_sheet,
    look_at_video,
    overlay,
)

CLASSES = 5
SLOWONLY = dict(
    type='ResNet3dSlowOnly',
    depth=18,
    base_channels=4,
    pretrained=None,
    lateral=False,
    conv1_kernel=(1, 7, 7),
    conv1_stride_t=1,
    pool1_stride_t=1,
)
TSM = dict(type='ResNetTSM', depth=18, pretrained=None, pretrained2d=False, num_segments=4)


def recognizer_cfg(backbone, head='TSNHead', channels=CHANNELS, kind='Recognizer2D', **head_cfg):
    return dict(
        type=kind,
        backbone=backbone,
        cls_head=dict(
            type=head, num_classes=CLASSES, in_channels=channels, dropout_ratio=0.5, **head_cfg
        ),
        data_preprocessor=dict(
            type='ActionDataPreprocessor',
            mean=[127.5] * 3,
            std=[64.0] * 3,
            format_shape='NCHW' if kind.endswith('2D') else 'NCTHW',
        ),
    )


def build_recognizer(seed=0, **kwargs):
    torch.manual_seed(seed)
    model = MODELS.build(recognizer_cfg(**kwargs))
    model.init_weights()
    nn.init.normal_(model.cls_head.fc_cls.weight)
    return model.eval()


def tiny_of(ndim):
    shape = 'NCHW' if ndim == 2 else 'NCTHW'
    backbone = dict(type='TinyBackbone', ndim=ndim)
    return build_tiny(heads=('video',), backbone=backbone, format_shape=shape).eval()


class Pathways(nn.ModuleDict):
    """A backbone that gives the map of each of its parts, as SlowFast does."""

    def forward(self, images):
        return tuple(part(images) for part in self.values())


def inputs_of(ndim, count=3, side=16, seed=1):
    shape = (4, side, side) if ndim == 3 else (side, side)
    return torch.randn(count, 3, *shape, generator=torch.Generator().manual_seed(seed))


def scaled_up(cam, size):
    """A map [M, 1, ...] scaled to ``size``, as PyTorch does it."""
    return F.interpolate(cam, size=size, mode='bilinear' if len(size) == 2 else 'trilinear')[:, 0]


def written_out(activations, gradients, size, num_scores):
    """Equations 1 and 2 of the paper, location by location."""
    count, channels = activations.shape[:2]
    cam = torch.zeros(count, *activations.shape[2:])
    for m in range(count):
        for d in range(channels):
            cam[m] += gradients[m, d].sum() / gradients[m, d].numel() * activations[m, d]
    maps = scaled_up(cam.clamp(min=0)[:, None], size)
    for group in maps.chunk(num_scores):
        group /= group.max()
    return maps.numpy()


# ------------------------------------------------------------------------------------------ maps


@pytest.mark.parametrize('ndim', [2, 3])
@pytest.mark.parametrize('target', ['norm', 'similarity'])
def test_map_of_a_feature_is_that_of_the_gradient_written_out(ndim, target):
    model, inputs = tiny_of(ndim), inputs_of(ndim)
    reference = None if target == 'norm' else torch.randn(3, CHANNELS)
    layer = model.backbone.layers[1]
    maps, scores = grad_cam(feature_score(model, reference), inputs, layer)

    activations = model.backbone.layers[:2](inputs)
    features = model.backbone.layers[2:](activations).flatten(2).mean(dim=2)
    if target == 'norm':
        expected = (features**2).sum(dim=1).sqrt()
    else:
        product = (features * reference).sum(dim=1)
        expected = product / features.norm(dim=1) / reference.norm(dim=1)
    (gradients,) = torch.autograd.grad(expected.sum(), activations)
    by_hand = written_out(activations.detach(), gradients, inputs.shape[2:], num_scores=3)
    assert maps.dtype == np.float32 and maps.shape == (3, *inputs.shape[2:])
    np.testing.assert_allclose(maps, by_hand, atol=1e-5)
    np.testing.assert_allclose(scores, expected.detach(), rtol=1e-5)
    assert (maps.max(axis=tuple(range(1, maps.ndim))) == 1).all() and maps.min() >= 0


@pytest.mark.parametrize(
    'case',
    [
        dict(backbone=dict(type='TinyBackbone')),
        dict(backbone=dict(type='TinyBackbone', norm=True), kind='FrozenRecognizer2D'),
        dict(backbone=TSM, head='TSMHead', channels=512, num_segments=4),
        dict(backbone=SLOWONLY, head='I3DHead', channels=32, kind='Recognizer3D'),
        dict(backbone=SLOWONLY, head='I3DHead', channels=32, kind='FrozenRecognizer3D'),
    ],
    ids=['TSN', 'frozen TSN', 'TSM', 'SlowOnly', 'frozen SlowOnly'],
)
def test_map_of_a_class_is_that_of_the_gradient_written_out(case):
    model = build_recognizer(**case)
    tiny = case['backbone']['type'] == 'TinyBackbone'
    ndim = 3 if model.data_preprocessor.format_shape == 'NCTHW' else 2
    inputs = inputs_of(ndim, count=4, side=16 if tiny else 64)
    layer = model.backbone if tiny else model.backbone.layer4
    maps, scores = grad_cam(class_score(model, 2), inputs, layer)

    activations = model.backbone(inputs).detach().requires_grad_()
    clip_scores = activations.flatten(2).mean(dim=2) @ model.cls_head.fc_cls.weight[2]
    clip_scores = clip_scores + model.cls_head.fc_cls.bias[2]
    # The segments of a 2D recognizer vote for one score; each clip has its own.
    expected = clip_scores.mean(dim=0, keepdim=True) if ndim == 2 else clip_scores
    (gradients,) = torch.autograd.grad(expected.sum(), activations)
    by_hand = written_out(activations.detach(), gradients, inputs.shape[2:], len(expected))
    np.testing.assert_allclose(scores, expected.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(maps, by_hand, atol=1e-4)


class RedBackbone(nn.Module):
    """Channel 0 is 1 where an image is red, channel 1 where it is not, and counts for nothing."""

    def __init__(self):
        super().__init__()
        self.see = nn.Conv2d(3, 1, 1, bias=False)
        self.see.weight.data = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)

    def forward(self, images):
        red = self.see(images).relu()
        return torch.cat([red, torch.zeros_like(red)], dim=1)


def test_map_of_a_red_detector_is_the_red_patch():
    images = torch.ones(2, 3, 12, 16) * torch.tensor([0.0, 1.0, 0.3]).view(3, 1, 1)
    patch = torch.zeros(2, 12, 16)
    patch[0, 2:5, 3:9] = 1
    images = torch.where(patch[:, None].bool(), torch.tensor([1.0, 0, 0]).view(3, 1, 1), images)
    model = nn.Module()
    model.backbone = RedBackbone()
    model.data_preprocessor = MODELS.build(dict(type='ActionDataPreprocessor', format_shape='NCHW'))
    maps, scores = grad_cam(feature_score(model), images, model.backbone)
    np.testing.assert_array_equal(maps, patch)  # and nothing in the image without red
    np.testing.assert_allclose(scores, [18 / 192, 0], rtol=1e-6)
    assert find_layer(model.backbone, images) == ''


def test_maps_of_frames_do_not_depend_on_the_rest_of_the_batch():
    model, inputs = tiny_of(2), inputs_of(2)
    score = feature_score(model)
    together = grad_cam(score, inputs, model.backbone)[0]
    for row in range(3):
        alone = grad_cam(score, inputs[row : row + 1], model.backbone)[0]
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


def test_layer_is_the_last_stage_or_the_last_map():
    frames, clips = inputs_of(2, count=4, side=64), inputs_of(3, side=64)
    tsm, slowonly = MODELS.build(TSM), MODELS.build(SLOWONLY)
    assert find_layer(tsm, frames) == 'layer4'
    assert find_layer(slowonly, clips) == 'layer4'
    assert find_layer(slowonly, clips, 'layer2') == 'layer2'
    # Of two pathways, the one with more channels, though the other one runs last.
    slowfast = Pathways(dict(wide=TinyBackbone(), narrow=nn.Conv2d(3, 4, 3)))
    assert find_layer(slowfast, inputs_of(2)) == 'wide'
    # A transformer of vectors behind a convolution: the last map has other channels.
    vectors = nn.Sequential(TinyBackbone(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 7))
    assert find_layer(vectors, inputs_of(2)) == '0'
    with pytest.raises(UserError, match='`layer=layer9`: ResNet3dSlowOnly has no such layer; it'):
        find_layer(slowonly, clips, 'layer9')
    with pytest.raises(UserError, match='`layer=3`: this layer of Sequential outputs'):
        find_layer(vectors, inputs_of(2), '3')
    with pytest.raises(UserError, match='no layer of Sequential outputs a map'):
        find_layer(nn.Sequential(nn.Flatten()), inputs_of(2))


# --------------------------------------------------------------------------------------- a video

NUM_FRAMES = 24


def pipeline_of(clip_len=1, num_clips=4, crop='CenterCrop'):
    return [
        dict(type='VideoInit'),
        dict(type='SampleFrames', clip_len=clip_len, frame_interval=2, num_clips=num_clips)
        | dict(test_mode=True),
        dict(type='VideoDecode'),
        dict(type='Resize', scale=(64, 48), keep_ratio=False),
        dict(type=crop, crop_size=(64, 48) if crop == 'CenterCrop' else (48, 48)),
        dict(type='FormatShape', input_format='NCHW' if clip_len == 1 else 'NCTHW'),
        dict(type='PackActionInputs'),
    ]


@pytest.fixture(scope='module')
def video(tmp_path_factory, write_numbered_video):
    return write_numbered_video(tmp_path_factory.mktemp('cam') / 'v.mp4', NUM_FRAMES)


def numbers_of(row, frame_number):
    """What the shown frames say, and what their captions say."""
    assert [caption.split(':')[0].split()[1] for caption in row.captions] == [
        str(frame_number(image)) for image in row.images
    ]
    return [frame_number(image) for image in row.images]


@pytest.mark.parametrize(
    ('clip_len', 'num_clips', 'expected'),
    [
        (1, 4, [3, 9, 15, 21]),
        (1, 12, [1, 5, 7, 11, 13, 17, 19, 23]),  # 8 of 1, 3, 5, …
        (3, 1, [9, 11, 13]),
        # Clips of 4, 2 apart; room for two frames of each.
        (4, 3, None),
        (5, 8, None),
    ],
)
def test_frames_that_are_shown_have_the_numbers_of_their_captions(
    video, frame_number, clip_len, num_clips, expected
):
    model = tiny_of(2 if clip_len == 1 else 3)
    row = look_at_video(model, pipeline_of(clip_len, num_clips), video)
    numbers = numbers_of(row, frame_number)
    if expected is None:
        assert len(numbers) == (8 if num_clips == 8 else 6) and numbers == sorted(numbers)
    else:
        assert numbers == expected
    assert row.maps.shape == row.images.shape[:3] == (len(numbers), 48, 64)
    assert row.title == 'v.mp4'


def test_maps_of_a_video_are_those_of_its_frames(video, numbered_frames):
    model = tiny_of(3)
    row = look_at_video(model, pipeline_of(3, 1), video, layer='layers')
    clip = torch.from_numpy(row.images).permute(3, 0, 1, 2)[None].float()
    maps = grad_cam(feature_score(model), (clip - 127.5) / 64, model.backbone.layers)[0]
    np.testing.assert_allclose(row.maps, maps[0], atol=1e-5)
    assert np.abs(row.images.astype(int) - numbered_frames(NUM_FRAMES)[9:14:2]).mean() < 8


def test_similarity_is_with_half_the_video_away_or_with_another_video(
    video, tmp_path, write_numbered_video
):
    model = tiny_of(2)
    row = look_at_video(model, pipeline_of(), video, 'similarity')
    frames = torch.from_numpy(row.images).permute(0, 3, 1, 2).float()

    def features_of(images):
        with torch.no_grad():
            return model.backbone((images - 127.5) / 64).flatten(2).mean(2)

    features = features_of(frames)
    expected = F.cosine_similarity(features, features[[2, 3, 0, 1]])
    pairs = [(3, 15), (9, 21), (15, 3), (21, 9)]
    assert row.captions == [
        f'frame {a} ~ {b}: {s:.2f}' for (a, b), s in zip(pairs, expected, strict=True)
    ]
    other = write_numbered_video(tmp_path / 'other.mp4', 8, first=90)
    row = look_at_video(model, pipeline_of(), video, 'similarity', other=other)
    others = look_at_video(model, pipeline_of(), other).images
    mean = features_of(torch.from_numpy(others).permute(0, 3, 1, 2).float()).mean(0)
    expected = F.cosine_similarity(features, mean[None])
    assert row.captions == [
        f'frame {a}: {s:.2f}' for (a, _), s in zip(pairs, expected, strict=True)
    ]
    assert row.title == 'v.mp4 · similar to other.mp4'
    with pytest.raises(UserError, match='set `num_frames=2` or more, or `other=VIDEO`'):
        look_at_video(model, pipeline_of(num_clips=1), video, 'similarity')


def test_class_is_the_predicted_one_or_the_given_one(video):
    model = build_recognizer(backbone=dict(type='TinyBackbone'))
    row = look_at_video(model, pipeline_of(), video, 'class', class_names=list('abcde'))
    frames = torch.from_numpy(row.images).permute(0, 3, 1, 2)[None]
    sample = ActionDataSample().set_gt_label(0)
    (sample,) = model.test_step(dict(inputs=list(frames), data_samples=[sample]))
    label, share = int(sample.pred_label), float(sample.pred_score.detach().softmax(-1).max())
    assert row.title == f'v.mp4 · {"abcde"[label]}, {100 * share:.0f} %'
    given = look_at_video(model, pipeline_of(), video, 'class', label=(label + 1) % CLASSES)
    assert given.title.startswith(f'v.mp4 · class {(label + 1) % CLASSES}, ')
    assert np.abs(given.maps - row.maps).max() > 0.1
    with pytest.raises(UserError, match='there is no class 5; classes are 0 … 4'):
        look_at_video(model, pipeline_of(), video, 'class', label=5)


def test_crops_show_the_frames_again(video, frame_number):
    model = tiny_of(2)
    row = look_at_video(model, pipeline_of(num_clips=2, crop='ThreeCrop'), video)
    assert row.captions == ['frame 6', 'frame 18'] * 3


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('target', ['norm', 'similarity', 'class'])
def test_model_is_left_as_it_was(video, target, training):
    model = build_recognizer(backbone=dict(type='TinyBackbone', norm=True)).train(training)
    model.backbone.layers[1].eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    look_at_video(model, pipeline_of(), video, target)
    assert [module.training for module in model.modules()] == modes
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_unreadable_videos_and_unfit_numbers_are_named(video, tmp_path):
    with pytest.raises(UserError, match='absent.mp4: no such video file'):
        look_at_video(tiny_of(2), pipeline_of(), tmp_path / 'absent.mp4')
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(UserError, match='text.mp4 cannot be read'):
        look_at_video(tiny_of(2), pipeline_of(), tmp_path / 'text.mp4')
    tsm = build_recognizer(backbone=TSM, head='TSMHead', channels=512, num_segments=4)
    with pytest.raises(UserError, match='6 frames are not a multiple of the 4 segments'):
        look_at_video(tsm, pipeline_of(num_clips=6), video, 'class')


# -------------------------------------------------------------------------------------- pictures


def test_overlay_is_half_the_frame_in_grey_and_half_the_map():
    images = np.array([[[[200, 200, 200], [255, 0, 0]]]], np.uint8)
    laid = overlay(images, np.array([[[0.0, 1.0]]]))
    # The ends of matplotlib's plasma: #0d0887 and #f0f921.
    np.testing.assert_array_equal(laid[0, 0, 0], [106, 104, 167])
    np.testing.assert_allclose(
        laid[0, 0, 1], [(c + 0.299 * 255) / 2 for c in (240, 249, 33)], atol=1
    )


def test_sheet_shows_frames_above_their_overlays(tmp_path, video):
    row = look_at_video(tiny_of(2), pipeline_of(), video)
    row.images[:] = 255
    row.maps[:] = 0
    grad_cam_sheet(tmp_path / 'new' / 'cam.png', [row, row], 'A title', dpi=100)
    picture = np.asarray(Image.open(tmp_path / 'new' / 'cam.png').convert('RGB'))
    blue = (picture == overlay(row.images[:1], row.maps[:1])[0, 0, 0]).all(axis=-1)
    # Two rows of four blue tiles, each 1.4 inches wide but for the gaps.
    columns = np.flatnonzero(np.diff(blue[:, :565].any(axis=0).astype(int), prepend=0) == 1)
    lines = np.flatnonzero(np.diff(blue[:, :565].any(axis=1).astype(int), prepend=0) == 1)
    assert len(columns) == 4 and len(lines) == 2
    assert 4 * 125 * 2 * 93 < blue[:, :565].sum() < 4 * 140 * 2 * 106


# ------------------------------------------------------------------------------------------ tool


@pytest.fixture
def run_tool(tool_runner):
    return tool_runner('grad_cam')


@pytest.fixture
def pretrained(tmp_path):
    """Config, checkpoint and two videos."""
    folder = write_videos(tmp_path / 'videos', 2)
    cfg = tiny_config(folder, tmp_path / 'work', 'grad_cam', heads=('video',))
    cfg.dump(tmp_path / 'config.py')
    torch.save(dict(state_dict=build_tiny(heads=('video',)).state_dict()), tmp_path / 'c.pth')
    return tmp_path / 'config.py', tmp_path / 'c.pth', *sorted(folder.iterdir())


def test_tool_writes_one_picture_or_a_folder(pretrained, run_tool, tmp_path):
    config, checkpoint, *videos = pretrained
    same_name = tmp_path / 'more' / videos[0].name
    same_name.parent.mkdir()
    same_name.write_bytes(videos[1].read_bytes())
    code, output = run_tool(config, checkpoint, *videos, '--out', tmp_path / 'all.png')
    assert code == 0, output.err
    assert '2 videos, layer the last' in output.out
    # Eight frames of each by default.
    assert Image.open(tmp_path / 'all.png').width == round((8 * 1.4 + 0.7) * 150)
    similar = ('--target', 'similarity', '--other', videos[1], '--layer', 'layers.2')
    each = ('--out', tmp_path / 'each', '--num-frames', 2)
    code, output = run_tool(config, 'none', *videos, same_name, *each, *similar)
    assert code == 0, output.err
    assert sorted(path.name for path in (tmp_path / 'each').iterdir()) == [
        '000000_video_0.png',
        '000001_video_1.png',
        '000002_video_0.png',
    ]


def test_tool_shows_the_class_of_a_recognizer_with_its_validation_pipeline(
    pretrained, run_tool, tmp_path, monkeypatch
):
    config, _, video, _ = pretrained
    model = recognizer_cfg(dict(type='TinyBackbone'))
    val_pipeline = pipeline_of(num_clips=3)
    test_pipeline = pipeline_of(num_clips=5, crop='ThreeCrop')
    cfg = dict(model=model, val_pipeline=val_pipeline, test_pipeline=test_pipeline)
    cfg = Config(dict(default_scope='mmaction', **cfg))
    cfg.dump(config)
    trained = build_recognizer(3, backbone=dict(type='TinyBackbone'))
    torch.save(trained.state_dict(), tmp_path / 'tuned.pth')
    loaded = build_model(Config.fromfile(config), str(tmp_path / 'tuned.pth'), with_head=True)
    torch.testing.assert_close(
        dict(loaded.state_dict()), dict(trained.state_dict()), rtol=0, atol=0
    )
    out = tmp_path / 'class.png'
    code, output = run_tool(config, tmp_path / 'tuned.pth', video, '--out', out)
    assert code == 0, output.err
    assert Image.open(out).width == round((3 * 1.4 + 0.7) * 150)
    (tmp_path / 'names.txt').write_text('a\nb\n')
    names = ('--class-names', tmp_path / 'names.txt')
    code, output = run_tool(config, tmp_path / 'tuned.pth', video, '--out', out, *names)
    assert code == 2 and 'names.txt: 2 names, but there is a label 4' in output.err
    torch.save({k: v for k, v in trained.state_dict().items() if 'fc_cls' not in k}, out)
    code, output = run_tool(config, out, video, '--out', tmp_path / 'x.png')
    assert code == 2 and 'has no cls_head.… (found backbone); use the config' in output.err
    assert output.err.count('\n') == 1


def test_tool_says_in_one_line_what_is_wrong(pretrained, run_tool, monkeypatch):
    config, checkpoint, video, _ = pretrained
    out = ('--out', 'x.png')
    for arguments, message in (
        (('absent.py', checkpoint, video), 'absent.py: no such config file'),
        (('absent.py', 'x', 'y', '--out', 'x.gif'), 'x.gif: pictures end in .png'),
        ((config, 'absent.pth', video), 'absent.pth: no such checkpoint'),
        ((config, checkpoint, video, '--target', 'class'), 'needs a config with a cls_head'),
        ((config, checkpoint, video, '--class', 1), '--class is for --target class'),
        ((config, checkpoint, video, '--other', video), '--other is for --target similarity'),
    ):
        code, output = run_tool(*out, *arguments)
        assert code == 2 and message in output.err and output.err.count('\n') == 1
    monkeypatch.setitem(sys.modules, 'captum.attr', None)
    code, output = run_tool(config, checkpoint, video, *out)
    assert code == 2
    assert output.err == "error: Grad-CAM needs captum; run: pip install 'mmssl_video[look]'\n"
