"""Features of whole videos against the same frames, decoded and encoded one by one."""

import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from processes import run_in_processes
from tiny_vclr import CHANNELS, build_tiny, tiny_config, tiny_model, write_videos
from torch import nn

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet
from mmssl_video.evaluation.encoder import LayerOutput, build_encoder, encode_clips
from mmssl_video.evaluation.extract import encode_videos, extract_features, write_features
from mmssl_video.evaluation.loader import VideoLoader, feature_pipeline
from mmssl_video.evaluation.store import PartialFeatures, extraction_settings, remove_leftover
from mmssl_video.models.encoding import encode
from mmssl_video.video import VideoReader

NUM_VIDEOS = 5


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Five videos and a list with labels for the first three, in another order."""
    folder = write_videos(tmp_path_factory.mktemp('extract'), NUM_VIDEOS)
    (folder / 'list.txt').write_text('video_2.mp4 7\nvideo_0.mp4 1\nvideo_1.mp4\n')
    return folder


@pytest.fixture
def cfg(videos, tmp_path):
    return tiny_config(videos, tmp_path, 'extract')


def slow_feature(model, path, indices):
    """The mean feature of these frames, one forward each."""
    reader = VideoReader(path)
    features = []
    for index in indices:
        image = torch.from_numpy(reader.get_batch([index])[0]).permute(2, 0, 1).float()
        with torch.no_grad():
            features.append(model.backbone((image[None] - 127.5) / 64)[0].flatten(1).mean(1))
    return torch.stack(features).mean(0).numpy()


def test_features_are_the_mean_over_frames(cfg, videos):
    """Of a folder, one by one; of a list in its order, in batches that workers read."""
    model, pipeline = build_encoder(cfg, None), feature_pipeline(cfg)
    assert not model.training
    every = extract_features(model, pipeline, '', str(videos), batch_size=2, num_workers=0)
    assert every.names.tolist() == [f'video_{n}.mp4' for n in range(NUM_VIDEOS)]
    assert every.labels.tolist() == [-1] * NUM_VIDEOS
    assert every.features.shape == (NUM_VIDEOS, CHANNELS) and every.features.dtype == np.float32
    for number, feature in enumerate(every.features):
        # Six clips of 12 frames: the middle of each pair, as SampleFrames has it in test mode.
        expected = slow_feature(model, videos / f'video_{number}.mp4', range(1, 12, 2))
        np.testing.assert_allclose(feature, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(every.features, axis=0).max() > 1e-3
    listed = extract_features(model, pipeline, str(videos / 'list.txt'), str(videos), 4, 2)
    assert listed.names.tolist() == ['video_2.mp4', 'video_0.mp4', 'video_1.mp4']
    assert listed.labels.tolist() == [7, 1, -1]
    np.testing.assert_allclose(listed.features, every.features[[2, 0, 1]], rtol=1e-5)


def test_pipeline_is_the_feature_pipeline_or_the_test_pipeline():
    steps = [dict(type='SampleFrames', clip_len=1, num_clips=2)]
    both = Config(dict(feature_pipeline=steps, test_pipeline=[]))
    assert feature_pipeline(both) == feature_pipeline(Config(dict(test_pipeline=steps))) == steps
    assert feature_pipeline(both, 3) == [steps[0] | dict(num_clips=3)]
    assert both.feature_pipeline == steps  # the config is left alone
    with pytest.raises(UserError, match='has neither feature_pipeline nor test_pipeline'):
        feature_pipeline(Config(dict()))
    with pytest.raises(UserError, match='^`num_frames=.*`: the feature pipeline of .* has none of'):
        feature_pipeline(Config(dict(test_pipeline=[dict(type='VideoDecode')])), 4)


def test_random_weights_come_from_the_seed(cfg):
    one, same, other = (build_encoder(cfg, None, seed) for seed in (1, 1, 2))
    for key, value in one.backbone.state_dict().items():
        assert torch.equal(same.backbone.state_dict()[key], value)
    weights = [next(model.backbone.parameters()) for model in (one, other)]
    assert not torch.equal(*weights)


def test_keys_for_training_alone(cfg):
    """What makes it faster leaves features alone; the weights that it starts from are not read."""
    frames = torch.randn(4, 3, 32, 32)
    plain = build_encoder(cfg, None)
    cfg.model.update(channels_last=True, compile=dict(backend='unknown, so it cannot compile'))
    model = build_encoder(cfg, None)
    torch.testing.assert_close(model.backbone(frames), plain.backbone(frames))
    cfg.model.backbone = dict(
        type='ResNet3dSlowOnly', depth=18, base_channels=4, lateral=False, pretrained='no/such.pth'
    )
    build_encoder(cfg, None)
    assert cfg.model.backbone.pretrained == 'no/such.pth'  # the config stays as it was


def test_the_online_backbone_and_its_momentum_copy(cfg, tmp_path):
    source = build_tiny(5)
    with torch.no_grad():
        for parameter in source.target_backbone.parameters():
            parameter.fill_(7.0)
    torch.save({f'module.{key}': v for key, v in source.state_dict().items()}, tmp_path / 'c.pth')
    model = build_encoder(cfg, str(tmp_path / 'c.pth'))
    assert torch.equal(next(model.backbone.parameters()), next(source.backbone.parameters()))
    model = build_encoder(cfg, str(tmp_path / 'c.pth'), branch='target')
    assert all((parameter == 7).all() for parameter in model.backbone.parameters())
    torch.save(build_tiny(5).backbone.state_dict(prefix='backbone.'), tmp_path / 'c.pth')
    match = r'has no target_backbone.module.… \(found backbone\); .* use `branch=online`$'
    with pytest.raises(UserError, match=match):
        build_encoder(cfg, str(tmp_path / 'c.pth'), branch='target')


RESNETS = {
    'ResNet': dict(type='ResNet', depth=18),
    'blockres': dict(type='ResNetTSM', depth=18, pretrained2d=False, num_segments=4),
    'block': dict(
        type='ResNetTSM', depth=18, pretrained2d=False, num_segments=4, shift_place='block'
    ),
}


@pytest.mark.parametrize(('source', 'kind'), [('blockres', 'ResNet'), ('block', 'blockres')])
def test_plain_and_shifted_weights_are_the_same_weights(tmp_path, source, kind):
    """A checkpoint of either TSM, in a config of a plain ResNet or of the other TSM."""
    state = MODELS.build(RESNETS[source]).state_dict()
    torch.save({f'backbone.{key}': value for key, value in state.items()}, tmp_path / 'c.pth')
    cfg = Config(dict(model=tiny_model(heads=('intra',), backbone=RESNETS[kind])))
    loaded = build_encoder(cfg, str(tmp_path / 'c.pth')).backbone.state_dict()
    assert loaded.keys() != state.keys()
    # In the order of the layers, whatever their names.
    for value, expected in zip(loaded.values(), state.values(), strict=True):
        assert torch.equal(value, expected)


def test_a_file_with_other_objects_must_be_trusted(cfg, tmp_path):
    source = build_tiny(5)
    torch.save(dict(state_dict=source.state_dict(), other=print), tmp_path / 'c.pth')
    with pytest.raises(UserError, match='could run code on loading'):
        build_encoder(cfg, str(tmp_path / 'c.pth'))
    model = build_encoder(cfg, str(tmp_path / 'c.pth'), trust=True)
    assert torch.equal(next(model.backbone.parameters()), next(source.backbone.parameters()))


# Layers -------------------------------------------------------------------------------------


def test_a_layer_of_a_resnet():
    """Against a hook that copies: this batch norm is followed by an activation in place."""
    backbone, layer = MODELS.build(dict(type='ResNet', depth=18)), 'layer1.0.conv1.bn'
    backbone.eval()
    images, copies = torch.randn(2, 3, 32, 32), []
    handle = backbone.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: copies.append(output.clone())
    )
    with torch.no_grad():
        backbone(images)
        handle.remove()
        found = LayerOutput(backbone, layer)(images)
    torch.testing.assert_close(found, copies[0].mean(dim=(2, 3)))


def test_a_layer_of_a_tsm_is_of_the_frames_that_it_mixes():
    backbone = MODELS.build(dict(type='ResNetTSM', depth=18, num_segments=4, pretrained=None))
    encoder, images = LayerOutput(backbone, 'layer2'), torch.randn(2, 8, 3, 32, 32)
    encoder.eval()
    with torch.no_grad():
        alone = encode(encoder, images[1, 4:], 'NCHW')
        torch.testing.assert_close(encode(encoder, images, 'NCHW')[1, 4:], alone)
    with pytest.raises(UserError, match='num_segments is 4, but a view or video has 6 frames; set'):
        encode(encoder, images[:, :6], 'NCHW')


def test_layers_that_give_no_features():
    backbone = MODELS.build(dict(type='ResNet', depth=18))
    near = r'`: ResNet has no such layer; similar names are layer4\.\d\.conv\d, (\S+, ){3}\S+$'
    with pytest.raises(UserError, match=near):
        LayerOutput(backbone, 'layer4.1.conv3')

    class Odd(nn.Module):
        """A layer that is left out, and one that gives one vector for the whole batch."""

        def __init__(self):
            super().__init__()
            self.unused, self.summed = nn.Identity(), nn.Linear(2, 3)

        def forward(self, inputs):
            return inputs + self.summed(inputs.sum(dim=0, keepdim=True)).sum()

    for layer in ('unused', 'summed'):
        with pytest.raises(UserError, match=f'`layer={layer}` gives neither vectors'):
            LayerOutput(Odd(), layer)(torch.ones(4, 2))


class Shaped(nn.Module):
    """A layer whose output has the shape asked for; parts of it tell where its channels are."""

    def __init__(self, *shape, part=None):
        super().__init__()
        self.layer = nn.Sequential(nn.Identity(), *([part] if part else []))
        self.layer.forward = lambda inputs: torch.arange(float(np.prod(shape))).reshape(shape)

    def forward(self, inputs):
        return self.layer(inputs)


def test_shapes_of_layers():
    """Vectors and maps are averaged but for the channel, tokens are refused."""
    inputs = torch.ones(2, 3, 8, 8)
    for shape in ((2, 7), (2, 7, 3, 3), (2, 7, 4, 3, 3)):
        expected = torch.arange(float(np.prod(shape))).reshape(2, 7, -1).mean(-1)
        torch.testing.assert_close(LayerOutput(Shaped(*shape), 'layer')(inputs), expected)
    for shape in ((2, 9, 7), (2,), (2, 1, 1, 1, 1, 7)):
        with pytest.raises(UserError, match='gives neither vectors .* nor maps'):
            LayerOutput(Shaped(*shape), 'layer')(inputs)
    for part in (nn.LayerNorm(7), nn.Linear(5, 7)):
        LayerOutput(Shaped(2, 7, 4, 4, part=part), 'layer')(inputs)
        with pytest.raises(UserError, match='channels at the end are not supported'):
            LayerOutput(Shaped(2, 4, 4, 7, part=part), 'layer')(inputs)


@pytest.mark.parametrize('pooled', [False, True], ids=['pretraining', 'fine-tuning'])
def test_features_of_a_vision_transformer_are_the_mean_of_its_tokens(pooled):
    """MMAction2 gives the first token where there is no ``fc_norm``."""
    settings = dict(img_size=16, patch_size=8, num_frames=4, embed_dims=12, depth=2, num_heads=3)
    cfg = Config(dict(model=tiny_model(heads=('intra',), format_shape='NCTHW')))
    cfg.model.backbone = dict(type='VisionTransformer', use_mean_pooling=pooled, **settings)
    model, inputs = build_encoder(cfg, None), torch.rand(2, 3, 4, 16, 16)
    batch = dict(inputs=[inputs * 64 + 127.5], data_samples=[ActionDataSample()])
    features = encode_clips(model, batch, per_clip=True)
    assert features.shape == (1, 2, 12)
    with torch.no_grad():
        tokens = model.backbone.patch_embed(inputs)[0] + model.backbone.pos_embed
        for block in model.backbone.blocks:
            tokens = block(tokens)
        if pooled:
            expected = model.backbone.fc_norm(tokens.mean(dim=1))
        else:
            expected = model.backbone.norm(tokens).mean(dim=1)
        torch.testing.assert_close(features[0], expected, rtol=1e-5, atol=1e-5)
        last = build_encoder(cfg, None, layer='blocks.1').backbone(inputs)
        torch.testing.assert_close(last, tokens.mean(dim=1), rtol=1e-5, atol=1e-5)


def test_layers_of_a_video_swin():
    """Its stages and blocks have the channels at the end, its patches in front."""
    sizes = dict(embed_dims=12, depths=[1, 1], num_heads=[1, 2])
    windows = dict(window_size=(2, 2, 2), patch_size=(2, 4, 4), out_indices=(1,))
    backbone = MODELS.build(dict(type='SwinTransformer3D', arch=sizes, **windows))
    backbone.eval()
    clips = torch.randn(2, 3, 4, 16, 16)
    with torch.no_grad():
        patches = backbone.patch_embed(clips)
        found = LayerOutput(backbone, 'patch_embed')(clips)
        torch.testing.assert_close(found, patches.mean(dim=(2, 3, 4)))
        for layer in ('layers.0', 'layers.1', 'layers.0.blocks.0', 'norm1'):
            with pytest.raises(UserError, match=f'{layer}` gives .*channels at the end'):
                LayerOutput(backbone, layer)(clips)


# Context of a head --------------------------------------------------------------------------


@pytest.fixture
def dpc(videos, tmp_path):
    """The tiny config with MemDPC on clips of 2 frames, and a head without a context."""
    cfg = tiny_config(videos, tmp_path, 'context')
    cfg.model.backbone = dict(type='TinyBackbone', ndim=3)
    cfg.model.data_preprocessor.format_shape = 'NCTHW'
    sizes = dict(in_channels=CHANNELS, feature_channels=4, memory_size=5, init_gain=5)
    cfg.model.heads = dict(order=cfg.model.heads.order, memdpc=dict(type='MemDPCHead', **sizes))
    cfg.feature_pipeline[1].clip_len = 2
    cfg.feature_pipeline[4].input_format = 'NCTHW'
    cfg.feature_head = 'memdpc'
    return cfg


def test_features_are_the_context_of_a_head(dpc, videos, tmp_path):
    """Of random weights, then of a checkpoint: every block by itself, in order of time."""
    random = build_encoder(dpc, None, seed=1)
    trained = build_encoder(dpc, None, seed=2)
    torch.save(trained.state_dict(), tmp_path / 'c.pth')
    loaded = build_encoder(dpc, str(tmp_path / 'c.pth'), seed=3)
    reader = VideoReader(videos / 'video_1.mp4')
    for model, source in ((random, random), (loaded, trained)):
        rows = encode_all(dpc, videos, model)
        assert rows.features.shape == (NUM_VIDEOS, 8) and rows.clips is None
        maps = []
        for start in range(0, 12, 2):  # six clips of 12 frames
            clip = torch.from_numpy(reader.get_batch([start, start + 1])).float()
            with torch.no_grad():
                maps.append(source.backbone((clip.permute(3, 0, 1, 2)[None] - 127.5) / 64))
        head, maps = source.heads['memdpc'], torch.stack(maps, dim=1)
        with torch.no_grad():
            expected, reversed_order = head.context(maps)[0], head.context(maps.flip(1))[0]
        np.testing.assert_allclose(rows.features[1], expected, rtol=1e-4, atol=1e-5)
        assert (expected - reversed_order).abs().max() > 1e-3
        # l2 comes after the context.
        unit = encode_all(dpc, videos, model, l2=True).features
        np.testing.assert_allclose(unit[1], expected / expected.norm(), rtol=1e-4, atol=1e-5)
    assert not np.allclose(encode_all(dpc, videos, random).features, rows.features, atol=1e-3)


def test_without_a_feature_head_features_are_those_of_the_backbone(dpc, videos):
    context = build_encoder(dpc, None)
    layer = build_encoder(dpc, None, layer='layers.3')
    dpc.feature_head = None
    backbone = build_encoder(dpc, None)
    found = [encode_all(dpc, videos, model).features for model in (context, layer, backbone)]
    assert [rows.shape[1] for rows in found] == [8, CHANNELS, CHANNELS]
    np.testing.assert_allclose(found[1], found[2], rtol=1e-5, atol=1e-6)


def test_weights_of_the_feature_head_count_as_settings(dpc, videos):
    """Unfinished features of another head are not gone on with."""
    loader, pipeline = build_loader(feature_pipeline(dpc), videos), feature_pipeline(dpc)
    model = build_encoder(dpc, None)
    before = extraction_settings(dpc, None, model, loader, pipeline)
    with torch.no_grad():
        model.feature_head.aggregators[1].reset.bias += 1
    after = extraction_settings(dpc, None, model, loader, pipeline)
    assert before['weights'] != after['weights']
    assert before | dict(weights=None) == after | dict(weights=None)


def test_feature_heads_that_cannot_be_used(dpc, tmp_path):
    path = str(tmp_path / 'c.pth')
    source = build_encoder(dpc, None)
    torch.save(source.backbone.state_dict(prefix='backbone.'), path)
    match = r'c.pth: has no heads.memdpc.… \(found backbone\); .* `cfg.feature_head=None`$'
    with pytest.raises(UserError, match=match):
        build_encoder(dpc, path)
    with pytest.raises(UserError, match="^`branch=target`: feature_head 'memdpc' has no momentum"):
        build_encoder(dpc, path, branch='target')
    for name in ('order', 'dpc'):  # has no context; is not there
        dpc.feature_head = name
        with pytest.raises(
            UserError, match=f"^feature_head is '{name}', but .* are memdpc; .*feature_head=None`$"
        ):
            build_encoder(dpc, None)
    del dpc.model.heads['memdpc']
    with pytest.raises(UserError, match='that gather a context are none; name'):
        build_encoder(dpc, None)


# Rows ---------------------------------------------------------------------------------------


def build_loader(pipeline, videos, ann_file='', skip_bad=False):
    """Two videos at a time. Serialising a list is of no use here and takes half a second."""
    options = dict(serialize_data=False)
    return VideoLoader(pipeline, str(ann_file), str(videos), 2, 0, skip_bad, options)


def encode_all(cfg, videos, model=None, ann_file='', **options):
    loader = build_loader(feature_pipeline(cfg), videos, ann_file)
    return encode_videos(model or build_encoder(cfg, None), loader, '', **options)


def test_a_row_for_each_frame(cfg, videos):
    model, listed = build_encoder(cfg, None), videos / 'list.txt'
    whole = encode_all(cfg, videos, model, listed)
    single = encode_all(cfg, videos, model, listed, per_clip=True)
    assert whole.clips is None and single.clips.tolist() == list(range(6)) * 3
    assert single.names.tolist() == [name for name in whole.names for _ in range(6)]
    assert single.labels.tolist() == [7] * 6 + [1] * 6 + [-1] * 6
    rows = single.features.reshape(3, 6, CHANNELS)
    np.testing.assert_allclose(rows.mean(axis=1), whole.features, rtol=1e-5, atol=1e-6)
    expected = slow_feature(model, videos / 'video_2.mp4', [7])
    np.testing.assert_allclose(rows[0, 3], expected, rtol=1e-4, atol=1e-5)


def test_rows_of_norm_one(cfg, videos):
    """Rows of zeros stay so."""
    model = build_encoder(cfg, None)
    plain = encode_all(cfg, videos, model, per_clip=True).features
    found = encode_all(cfg, videos, model, per_clip=True, l2=True).features
    expected = plain / np.sqrt((plain.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for parameter in model.backbone.layers[2].parameters():
        nn.init.zeros_(parameter)
    assert not encode_all(cfg, videos, model, l2=True).features.any()


def test_mixed_precision_changes_the_last_bits_alone(cfg, videos):
    """bfloat16 has 8 bits, so that each rounding is off by 2^-9 at most."""
    exact, mixed = (encode_all(cfg, videos, per_clip=True, amp=amp) for amp in (None, 'bfloat16'))
    assert mixed.features.dtype == np.float32
    error = np.abs(mixed.features - exact.features)
    assert 1e-5 < error.max() < 0.02 and error.mean() < 0.004
    for amp, words in (('float16', 'a CPU does not support; use bfloat16'), ('fp8', 'or float16,')):
        with pytest.raises(UserError, match=words):
            encode_all(cfg, videos, amp=amp)


def test_half_precision_is_averaged_in_float32(cfg, videos):
    """Frames of 1000 and 1004 in bfloat16, whose steps there are 4, in turns."""
    model = build_encoder(cfg, None)
    model.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(1))

    def put_out(module, inputs, output):
        number = torch.arange(len(output)) % 6 % 5 % 2  # 0 1 0 1 0 0
        return (1000 + 4 * number).bfloat16().reshape(-1, 1, 1, 1)

    model.backbone.register_forward_hook(put_out)
    rows = encode_all(cfg, videos, model, per_clip=True).features.reshape(NUM_VIDEOS, 6)
    means = encode_all(cfg, videos, model).features[:, 0]
    np.testing.assert_allclose(means, rows.astype(np.float64).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(means, 1000 + 4 / 3, rtol=1e-6)


def test_backbone_that_does_not_fit(cfg, tmp_path):
    state, path = dict(build_tiny().state_dict()), tmp_path / 'c.pth'
    del state['backbone.layers.2.bias']
    for content, words in (
        (state, 'its backbone does not fit the Tiny.*; tensors: 1 missing .backbone.layers.2.bias'),
        ({}, 'has no backbone.… .found nothing'),
    ):
        torch.save(dict(state_dict=content), path)
        with pytest.raises(UserError, match=f'^{path}: {words}.*tools/convert_weights.py$'):
            build_encoder(cfg, str(path))


def test_clips_of_a_3d_backbone(cfg, videos):
    """Ten, from the first frame to the last, evenly, to the nearest frame."""
    cfg.model = tiny_model(backbone=dict(type='TinyBackbone', ndim=3), format_shape='NCTHW')
    cfg.feature_pipeline[1].update(clip_len=4, num_clips=2)
    cfg.feature_pipeline[4].input_format = 'NCTHW'
    model = build_encoder(cfg, None)
    loader = build_loader(feature_pipeline(cfg, 10), videos)
    rows = encode_videos(model, loader, '', per_clip=True).features
    assert len(rows) == 10 * NUM_VIDEOS
    reader = VideoReader(videos / 'video_1.mp4')
    for start, row in zip((0, 1, 2, 3, 4, 4, 5, 6, 7, 8), rows[10:20], strict=True):
        clip = torch.from_numpy(reader.get_batch(range(start, start + 4)))
        clip = (clip.permute(3, 0, 1, 2).float() - 127.5) / 64
        with torch.no_grad():
            expected = model.backbone(clip[None])[0].flatten(1).mean(1)
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


def test_bad_videos_are_left_out_together_with_name_and_label(cfg, spoilt):
    """Or named in an error."""
    model, pipeline = build_encoder(cfg, None), feature_pipeline(cfg)
    source = dict(ann_file=str(spoilt / 'list.txt'), data_root=str(spoilt), num_workers=0)
    with pytest.raises(UserError, match='b.mp4 is empty .* remove it from the list'):
        extract_features(model, pipeline, **source)
    kept = extract_features(model, pipeline, **source, batch_size=2, skip_bad=True)
    assert kept.names.tolist() == ['a.mp4', 'd.mp4', 'g.mp4'] and kept.labels.tolist() == [0, 3, 6]
    np.testing.assert_allclose(kept.features[1:], kept.features[:1].repeat(2, 0), rtol=1e-5)
    for name in 'adg':
        (spoilt / f'{name}.mp4').write_bytes(b'')
    with pytest.raises(UserError, match='none of its videos can be read'):
        extract_features(model, pipeline, **source, skip_bad=True)


# On disk ------------------------------------------------------------------------------------


class Decoded:
    """Stands for a loader's pipeline and counts the videos that go through it."""

    def __init__(self, loader):
        self.pipeline, self.names = loader.dataset.pipeline, Counter()
        loader.dataset.pipeline = self

    def __call__(self, info):
        sample = self.pipeline(info)
        path = info.get('filename') or info['frame_dir']
        self.names[path.split('/')[-1]] += 1
        return sample


def write(cfg, videos, out, *, stop_after=None, ann_file='', skip_bad=False, spoil=None, **options):
    """Extract to disk, three batches of two videos; what was decoded, and what is returned.

    ``stop_after``: number of batches after which it is interrupted. ``spoil``: hook of the
    backbone.
    """
    pipeline = feature_pipeline(cfg)
    loader = build_loader(pipeline, videos, ann_file, skip_bad)
    decoded = Decoded(loader)
    model = build_encoder(cfg, None)
    settings = extraction_settings(cfg, None, model, loader, pipeline, **options)
    calls = iter(range(100))

    def interrupt(module, inputs):
        if next(calls) == stop_after:
            raise KeyboardInterrupt

    model.backbone.register_forward_pre_hook(interrupt)
    if spoil is not None:
        model.backbone.register_forward_hook(spoil)
    if stop_after is not None:
        with pytest.raises(KeyboardInterrupt):
            write_features(out, model, loader, settings, **options)
        return decoded.names, None
    return decoded.names, write_features(out, model, loader, settings, **options)


def assert_same(found, expected):
    """To the bit."""
    for key in ('features', 'labels', 'names', 'clips'):
        np.testing.assert_array_equal(getattr(found, key), getattr(expected, key))


def test_file_and_folder_hold_what_is_made_in_memory(cfg, videos, tmp_path):
    source = dict(ann_file=videos / 'list.txt', per_clip=True)
    expected = encode_all(cfg, videos, **source)
    for name in ('x.npz', 'x'):
        _, result = write(cfg, videos, tmp_path / name, **source)
        assert result == ((3, 6, CHANNELS), {})
        assert_same(FeatureSet.load(tmp_path / name), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x', 'x.npz']
    assert isinstance(FeatureSet.load(tmp_path / 'x').features, np.memmap)


def test_an_interrupted_run_goes_on(cfg, videos, tmp_path):
    write(cfg, videos, tmp_path / 'whole.npz')
    first, _ = write(cfg, videos, tmp_path / 'x.npz', stop_after=1)
    assert first == Counter(f'video_{n}.mp4' for n in range(4))  # of the second batch, in vain
    assert not (tmp_path / 'x.npz').exists()
    second, _ = write(cfg, videos, tmp_path / 'x.npz', stop_after=1)
    assert second == Counter(f'video_{n}.mp4' for n in (2, 3, 4))
    third, _ = write(cfg, videos, tmp_path / 'x.npz')
    assert third == Counter(['video_4.mp4'])
    assert_same(FeatureSet.load(tmp_path / 'x.npz'), FeatureSet.load(tmp_path / 'whole.npz'))
    assert not (tmp_path / 'x.npz.partial').exists()


@pytest.mark.parametrize('change', ['weights', 'pipeline.1.num_clips', 'videos', 'per_clip', 'amp'])
def test_unfinished_features_of_other_settings(cfg, videos, tmp_path, change):
    write(cfg, videos, tmp_path / 'x.npz', stop_after=1)
    model = build_encoder(cfg, None, seed=change == 'weights')
    pipeline = feature_pipeline(cfg, 5 if change.startswith('pipeline') else None)
    loader = build_loader(pipeline, videos, videos / 'list.txt' if change == 'videos' else '')
    options = {'per_clip': dict(per_clip=True), 'amp': dict(amp='bfloat16')}.get(change, {})
    settings = extraction_settings(cfg, None, model, loader, pipeline, **options)
    match = rf'^[^\n]*x.npz.partial holds unfinished features of other .*\({change}: [^\n]*$'
    with pytest.raises(UserError, match=match):
        write_features(tmp_path / 'x.npz', model, loader, settings, **options)
    assert sum(write(cfg, videos, tmp_path / 'x.npz')[0].values()) == 3  # nothing was lost


def finish(rank, cfg, videos, folder):
    """The body of each process: a whole run, and the end of one that was interrupted."""
    found = [write(cfg, videos, f'{folder}/{name}')[1] for name in ('two.npz', 'x.npz')]
    return dict(found=found, features=torch.from_numpy(encode_all(cfg, videos).features))


def test_two_processes_write_what_one_does_to_the_bit(cfg, videos, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in each of the two
    write(cfg, videos, tmp_path / 'one.npz')
    torch.set_num_threads(threads)
    expected = FeatureSet.load(tmp_path / 'one.npz')
    write(cfg, videos, tmp_path / 'x.npz', stop_after=1)
    ranks = run_in_processes(finish, tmp_path, cfg, videos, tmp_path)
    for name in ('two.npz', 'x.npz'):
        assert_same(FeatureSet.load(tmp_path / name), expected)
    assert ranks[0]['found'] == [((NUM_VIDEOS, 1, CHANNELS), {})] * 2
    assert ranks[1]['found'] == [None] * 2
    for rank in ranks:
        np.testing.assert_array_equal(rank['features'], expected.features)


@pytest.fixture
def spoilt(videos, tmp_path):
    """A list of seven videos of which four cannot be read, each for another reason."""
    folder = tmp_path / 'spoilt'
    folder.mkdir()
    whole = (videos / 'video_0.mp4').read_bytes()
    contents = dict(a=whole, b=b'', c=b'no video', d=whole, e=whole[:300], g=whole)
    for name, content in contents.items():
        (folder / f'{name}.mp4').write_bytes(content)
    (folder / 'list.txt').write_text(''.join(f'{n}.mp4 {i}\n' for i, n in enumerate('abcdefg')))
    return folder


def test_videos_that_cannot_be_read_are_listed(cfg, spoilt, tmp_path, left_out):
    source, out = dict(ann_file=spoilt / 'list.txt', skip_bad=True), tmp_path / 'x'
    write(cfg, spoilt, out, stop_after=1, **source)
    left_out.clear()
    decoded, (shape, bad_videos) = write(cfg, spoilt, out, **source)
    assert decoded == Counter(['d.mp4', 'g.mp4']) and shape == (3, 1, CHANNELS)
    kept = FeatureSet.load(out)
    assert kept.names.tolist() == ['a.mp4', 'd.mp4', 'g.mp4'] and kept.labels.tolist() == [0, 3, 6]
    np.testing.assert_allclose(kept.features[1:], kept.features[:1].repeat(2, 0), rtol=1e-5)
    report = (tmp_path / 'x.bad_videos.txt').read_text().splitlines()
    assert dict(line.split('\t') for line in report) == bad_videos
    assert list(bad_videos) == ['b.mp4', 'c.mp4', 'e.mp4', 'f.mp4']
    assert bad_videos['f.mp4'] == 'does not exist'
    assert len(left_out) == 4
    assert left_out[0] == f'{spoilt}/b.mp4 cannot be read ({bad_videos["b.mp4"]})'

    for bad in 'bcef':
        (spoilt / f'{bad}.mp4').write_bytes((spoilt / 'a.mp4').read_bytes())
    write(cfg, spoilt, out, **source)
    assert len(FeatureSet.load(out)) == 7
    assert not (tmp_path / 'x.bad_videos.txt').exists()


def copy_videos(videos, folder, broken=None):
    """Copies of the five, one of them cut short."""
    folder.mkdir(exist_ok=True)
    for number in range(NUM_VIDEOS):
        content = (videos / f'video_{number}.mp4').read_bytes()
        content = content[:300] if number == broken else content
        (folder / f'video_{number}.mp4').write_bytes(content)


def test_a_video_that_is_replaced_meanwhile_is_encoded_again(cfg, videos, tmp_path):
    copy_videos(videos, tmp_path)
    source = dict(ann_file=tmp_path / 'all.txt', skip_bad=True)
    source['ann_file'].write_text(''.join(f'video_{n}.mp4 {n}\n' for n in range(NUM_VIDEOS)))
    write(cfg, tmp_path, tmp_path / 'x.npz', stop_after=2, **source)
    shutil.copy(videos / 'video_4.mp4', tmp_path / 'video_0.mp4')
    (tmp_path / 'video_1.mp4').unlink()  # its features are there
    decoded, _ = write(cfg, tmp_path, tmp_path / 'x.npz', **source)
    assert decoded == Counter(['video_0.mp4', 'video_4.mp4'])
    found = FeatureSet.load(tmp_path / 'x.npz').features
    expected = encode_all(cfg, videos).features[[4, 1, 2, 3, 4]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_run_that_has_stopped_at_a_video_goes_on(cfg, videos, tmp_path):
    """Once it is mended, or with leave to skip it."""
    copy_videos(videos, tmp_path, broken=3)
    for out in ('mended.npz', 'skipped.npz'):
        with pytest.raises(UserError, match='video_3.mp4 cannot be read .* with `skip_bad=True`$'):
            write(cfg, tmp_path, tmp_path / out)
    decoded, (_, bad_videos) = write(cfg, tmp_path, tmp_path / 'skipped.npz', skip_bad=True)
    assert decoded == Counter(['video_2.mp4', 'video_4.mp4'])
    assert list(bad_videos) == ['video_3.mp4']
    shutil.copy(videos / 'video_3.mp4', tmp_path)
    decoded, _ = write(cfg, tmp_path, tmp_path / 'mended.npz')
    assert decoded == Counter(f'video_{n}.mp4' for n in (2, 3, 4))
    assert_same(FeatureSet.load(tmp_path / 'mended.npz'), encode_all(cfg, videos))


def test_videos_whose_features_are_not_finite(cfg, videos, tmp_path, left_out):
    """One of the second batch; the other one of the batch is kept."""
    calls = []

    def spoil(module, inputs, output):
        calls.append(1)
        if len(calls) == 2:
            output[5] = float('inf')  # the last frame of the first video

    with pytest.raises(UserError, match='/video_2.mp4: .*not finite; .* out with `skip_bad=True`$'):
        write(cfg, videos, tmp_path / 'x.npz', spoil=spoil)
    calls.clear(), calls.append(1)  # the first batch is done
    decoded, (shape, bad_videos) = write(
        cfg, videos, tmp_path / 'x.npz', spoil=spoil, skip_bad=True
    )
    # What had been encoded before the error was told is there, also the last batch.
    assert decoded == Counter(['video_2.mp4', 'video_3.mp4']) and shape[0] == 4
    assert bad_videos == {'video_2.mp4': 'its features are not finite'}
    assert left_out == [f'{videos}/video_2.mp4: its features are not finite']
    report = (tmp_path / 'x.npz.bad_videos.txt').read_text()
    assert report == 'video_2.mp4\tits features are not finite\n'
    expected = encode_all(cfg, videos)
    kept = FeatureSet.load(tmp_path / 'x.npz')
    np.testing.assert_array_equal(kept.names, expected.names[[0, 1, 3, 4]])
    np.testing.assert_array_equal(kept.features, expected.features[[0, 1, 3, 4]])


def stop_in_one(rank, cfg, folder):
    """The body of each process; of three batches the first process has 0 and 2, the second 1."""
    said = []
    cases = [(f'{folder}/bad', 'x.npz', 0), (f'{folder}/good', 'y.npz', 0)]
    for source, out, seed in [*cases, (f'{folder}/good', 'y.npz', 1)]:
        pipeline = feature_pipeline(cfg)
        loader = build_loader(pipeline, source)
        model = build_encoder(cfg, None, seed)
        settings = extraction_settings(cfg, None, model, loader, pipeline)
        if source.endswith('good') and rank == 0:
            model.backbone.forward = None  # a mistake in the code
        try:
            write_features(f'{folder}/{out}', model, loader, settings)
        except Exception as error:
            said.append((type(error).__name__, str(error)))
    return said


def test_what_stops_one_process_stops_all(cfg, videos, tmp_path):
    """A video, an error of any kind, and unfinished features of other settings."""
    copy_videos(videos, tmp_path / 'good')
    copy_videos(videos, tmp_path / 'bad', broken=3)
    one, other = run_in_processes(stop_in_one, tmp_path, cfg, tmp_path)
    assert one[0] == other[0] and one[0][0] == 'UserError'
    assert 'bad/video_3.mp4 cannot be read (' in one[0][1] and '`skip_bad=True`' in one[0][1]
    assert one[1][0] == 'TypeError' and other[1] == ('UserError', f'TypeError: {one[1][1]}')
    assert one[2] == other[2] and 'holds unfinished features of other settings' in one[2][1]
    # What the others have done meanwhile is kept.
    done = [np.load(tmp_path / f'{name}.npz.partial/done/array.npy').tolist() for name in 'xy']
    assert done == [[True, True, False, False, True], [False, False, True, True, False]]


def test_a_file_system_that_refuses(cfg, videos, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, 'open_memmap', refuse)
        with pytest.raises(UserError, match=r'cannot be written \(No space left .* to continue$'):
            write(cfg, videos, tmp_path / 'x.npz')
    with monkeypatch.context() as patch:
        patch.setattr('pathlib.Path.rename', refuse)
        with pytest.raises(UserError, match=r'cannot be written \(No space left'):
            write(cfg, videos, tmp_path / 'x.npz')
    monkeypatch.setattr('os.link', refuse)  # never needed
    write(cfg, videos, tmp_path / 'x.npz')
    assert_same(FeatureSet.load(tmp_path / 'x.npz'), encode_all(cfg, videos))


def test_another_process_makes_the_array_first(cfg, videos, tmp_path, monkeypatch):
    """What it has written by then stays."""
    partial = PartialFeatures(tmp_path / 'p', {}, ['a', 'b', 'c'])
    open_memmap = np.lib.format.open_memmap

    def overtaken(path, mode, *args, **kwargs):
        if mode != 'w+':
            return open_memmap(path, mode, *args, **kwargs)
        dtype, shape = args
        (tmp_path / 'p' / 'features').mkdir()
        np.save(tmp_path / 'p' / 'features' / 'array.npy', np.full(shape, 7, dtype))
        return open_memmap(path, mode, dtype, shape)

    monkeypatch.setattr(np.lib.format, 'open_memmap', overtaken)
    partial.write([1], np.full((1, 2, 4), 3, np.float32))
    found = np.load(tmp_path / 'p' / 'features' / 'array.npy')
    np.testing.assert_array_equal(found[:, 0, 0], [7, 3, 7])
    names = {'done', 'features', 'settings.json', 'signatures'}
    assert {p.name for p in (tmp_path / 'p').iterdir()} == names


def test_unfinished_features_of_an_older_version_stay(tmp_path):
    """They have no signatures of the files."""
    (tmp_path / 'a').touch()
    paths = [str(tmp_path / 'a')]
    partial = PartialFeatures(tmp_path / 'p', {}, paths)
    partial.write([0], np.zeros((1, 2, 4), np.float32))
    shutil.rmtree(tmp_path / 'p/signatures')
    for _ in range(2):
        assert PartialFeatures(tmp_path / 'p', {}, paths).done.tolist() == [True]
    (tmp_path / 'a').write_text('another')
    assert PartialFeatures(tmp_path / 'p', {}, paths).done.tolist() == [False]


@pytest.mark.parametrize('name', ['x.npz', 'x'])
def test_leftover_of_a_finished_run(cfg, videos, tmp_path, monkeypatch, name):
    """It goes; what an unfinished run that is to replace the features has made stays."""
    out, partial = tmp_path / name, tmp_path / f'{name}.partial'
    with monkeypatch.context() as patch:
        patch.setattr('shutil.rmtree', lambda *args, **kwargs: None)
        write(cfg, videos, out)
    assert partial.is_dir()
    remove_leftover(out)
    assert not partial.exists() and len(FeatureSet.load(out)) == NUM_VIDEOS
    write(cfg, videos, out, stop_after=1)
    remove_leftover(out)
    assert partial.is_dir()
    remove_leftover(tmp_path / 'other')


def test_a_video_that_is_listed_twice(cfg, spoilt, tmp_path):
    """Each line has its row, and one that cannot be read stands in the report once."""
    (spoilt / 'list.txt').write_text('a.mp4 0\nb.mp4 1\nb.mp4 2\nd.mp4 3\na.mp4 4\n')
    source = dict(ann_file=spoilt / 'list.txt', skip_bad=True)
    _, (shape, bad_videos) = write(cfg, spoilt, tmp_path / 'x.npz', **source)
    assert shape[0] == 3 and bad_videos == {'b.mp4': 'is empty (0 bytes)'}
    assert FeatureSet.load(tmp_path / 'x.npz').labels.tolist() == [0, 3, 4]
    assert (tmp_path / 'x.npz.bad_videos.txt').read_text() == 'b.mp4\tis empty (0 bytes)\n'


def test_folders_of_frames_with_other_numbers(cfg, tmp_path, numbered_frames):
    """Refused, or left out with the reason; the frames that are sampled would all be there."""
    for folder, first in (('a', 1), ('b', 0)):
        (tmp_path / folder).mkdir()
        for number, frame in enumerate(numbered_frames(12), first):
            cv2.imwrite(str(tmp_path / folder / f'img_{number:05}.jpg'), frame)
    (tmp_path / 'list.txt').write_text('a 12 0\nb 12 1\n')
    cfg.feature_pipeline[2] = dict(type='RawFrameDecode')
    del cfg.feature_pipeline[0]
    with pytest.raises(UserError, match='b has frames 0 to 11, .* 1 to 12; set .*start_index=0'):
        write(cfg, tmp_path, tmp_path / 'x.npz', ann_file=tmp_path / 'list.txt')
    source = dict(ann_file=tmp_path / 'list.txt', skip_bad=True)
    _, (shape, bad_videos) = write(cfg, tmp_path, tmp_path / 'x.npz', **source)
    assert shape[0] == 1 and list(bad_videos) == ['b']
    assert bad_videos['b'].startswith('has frames 0 to 11, expected 1 to 12')


def test_none_can_be_read(cfg, spoilt, tmp_path):
    (spoilt / 'list.txt').write_text('b.mp4\nf.mp4\n')
    with pytest.raises(UserError, match='x.npz.bad_videos.txt: none of the videos can be read'):
        write(cfg, spoilt, tmp_path / 'x.npz', ann_file=spoilt / 'list.txt', skip_bad=True)
    assert (tmp_path / 'x.npz.bad_videos.txt').read_text().startswith('b.mp4\t')


def test_videos_of_different_numbers_of_clips(cfg, videos, tmp_path, write_numbered_video):
    cfg.feature_pipeline[1] = dict(type='UntrimmedSampleFrames', clip_len=1, clip_interval=4)
    for name, num_frames in (('a', 8), ('b', 8), ('c', 16)):
        write_numbered_video(tmp_path / f'{name}.mp4', num_frames)
    write(cfg, tmp_path, tmp_path / 'x.npz')
    with pytest.raises(UserError, match=r'has room for \[2, 12\] .*, not for \[4, 12\]'):
        write(cfg, tmp_path, tmp_path / 'y.npz', per_clip=True)
    with pytest.raises(UserError, match=r'has room for \[2, 12\] .*, not for \[4, 12\]'):
        encode_all(cfg, tmp_path, per_clip=True)
    (tmp_path / 'list.txt').write_text('a.mp4\nc.mp4\n')
    with pytest.raises(UserError, match=r'a.mp4 and others .*\(\[2, .*\[4, .*; set `batch_size=1`'):
        encode_all(cfg, tmp_path, ann_file=tmp_path / 'list.txt')
