"""Features of whole videos against the same frames, decoded and encoded one by one."""

import decord
import numpy as np
import pytest
import torch
from mmengine.config import Config
from tiny_vclr import CHANNELS, build_tiny, tiny_config, tiny_model, write_videos

from mmssl_video.errors import UserError
from mmssl_video.evaluation.extract import build_encoder, extract_features, feature_pipeline

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
    reader = decord.VideoReader(str(path))
    features = []
    for index in indices:
        image = torch.from_numpy(reader[index].asnumpy()).permute(2, 0, 1).float()
        with torch.no_grad():
            features.append(model.backbone((image[None] - 127.5) / 64)[0].flatten(1).mean(1))
    return torch.stack(features).mean(0).numpy()


@pytest.mark.parametrize(('batch_size', 'num_workers'), [(2, 0), (4, 2)])
def test_features_are_the_mean_over_frames(cfg, videos, batch_size, num_workers):
    model = build_encoder(cfg, None)
    assert not model.training
    pipeline = feature_pipeline(cfg)
    features = extract_features(model, pipeline, '', str(videos), batch_size, num_workers)
    assert features.names.tolist() == [f'video_{n}.mp4' for n in range(NUM_VIDEOS)]
    assert features.labels.tolist() == [-1] * NUM_VIDEOS
    assert features.features.shape == (NUM_VIDEOS, CHANNELS)
    assert features.features.dtype == np.float32
    for number, feature in enumerate(features.features):
        # Six clips of 12 frames: the middle of each pair, as SampleFrames has it in test mode.
        expected = slow_feature(model, videos / f'video_{number}.mp4', range(1, 12, 2))
        np.testing.assert_allclose(feature, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(features.features, axis=0).max() > 1e-3


def test_list_gives_names_and_labels_in_its_order(cfg, videos):
    model = build_encoder(cfg, None)
    pipeline = feature_pipeline(cfg)
    listed = extract_features(model, pipeline, str(videos / 'list.txt'), str(videos), num_workers=0)
    assert listed.names.tolist() == ['video_2.mp4', 'video_0.mp4', 'video_1.mp4']
    assert listed.labels.tolist() == [7, 1, -1]
    every = extract_features(model, pipeline, '', str(videos), num_workers=0)
    np.testing.assert_allclose(listed.features, every.features[[2, 0, 1]], rtol=1e-5)


def test_num_frames_overrides_the_pipeline(cfg, videos):
    pipeline = feature_pipeline(cfg, 3)
    assert cfg.feature_pipeline[1].num_clips == 6  # the config is left alone
    assert [step['num_clips'] for step in pipeline if 'num_clips' in step] == [3]
    model = build_encoder(cfg, None)
    features = extract_features(model, pipeline, '', str(videos), num_workers=0)
    expected = slow_feature(model, videos / 'video_0.mp4', [2, 6, 10])
    np.testing.assert_allclose(features.features[0], expected, rtol=1e-4, atol=1e-5)


def test_pipeline_is_the_feature_pipeline_or_the_test_pipeline():
    steps = [dict(type='SampleFrames', clip_len=1, num_clips=2)]
    both = Config(dict(feature_pipeline=steps, test_pipeline=[]))
    assert feature_pipeline(both) == steps
    assert feature_pipeline(Config(dict(test_pipeline=steps))) == steps
    with pytest.raises(UserError, match='has neither feature_pipeline nor test_pipeline'):
        feature_pipeline(Config(dict()))
    with pytest.raises(UserError, match='^--num-frames: the feature pipeline of .* has none of'):
        feature_pipeline(Config(dict(test_pipeline=[dict(type='DecordDecode')])), 4)


def test_random_weights_come_from_the_seed(cfg):
    one, same, other = (build_encoder(cfg, None, seed) for seed in (1, 1, 2))
    for key, value in one.backbone.state_dict().items():
        assert torch.equal(same.backbone.state_dict()[key], value)
    weights = [next(model.backbone.parameters()) for model in (one, other)]
    assert not torch.equal(*weights)


@pytest.mark.parametrize('form', ['checkpoint', 'state dict', 'of DDP', 'backbone alone'])
def test_backbone_of_a_checkpoint(cfg, tmp_path, form):
    source = build_tiny(5)
    state = source.state_dict()
    if form == 'backbone alone':
        state = {key: value for key, value in state.items() if key.startswith('backbone.')}
    if form == 'of DDP':
        state = {f'module.{key}': value for key, value in state.items()}
    torch.save(dict(state_dict=state) if form == 'checkpoint' else state, tmp_path / 'c.pth')
    model = build_encoder(cfg, str(tmp_path / 'c.pth'))
    for key, value in source.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value)


def test_it_takes_the_online_backbone(cfg, tmp_path):
    source = build_tiny(5)
    with torch.no_grad():
        for parameter in source.target_backbone.parameters():
            parameter.fill_(7.0)
    torch.save(source.state_dict(), tmp_path / 'c.pth')
    model = build_encoder(cfg, str(tmp_path / 'c.pth'))
    assert torch.equal(next(model.backbone.parameters()), next(source.backbone.parameters()))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            lambda s: s.pop('backbone.layers.2.bias'),
            '(1 keys, first: backbone.layers.2.bias is mis',
        ),
        (
            lambda s: s.update({'backbone.extra': torch.zeros(1)}),
            '(1 keys, first: backbone.extra is not in the config)',
        ),
        (
            lambda s: s.update({'backbone.layers.0.bias': torch.zeros(3)}),
            '(1 keys, first: backbone.layers.0.bias is (3,), not (8,))',
        ),
        (lambda s: s.clear(), '(4 keys, first: backbone.layers.0.weight is missing)'),
    ],
)
def test_backbone_that_does_not_fit(cfg, tmp_path, change, words):
    state = dict(build_tiny().state_dict())
    change(state)
    torch.save(dict(state_dict=state), tmp_path / 'c.pth')
    with pytest.raises(UserError) as error:
        build_encoder(cfg, str(tmp_path / 'c.pth'))
    message = str(error.value)
    assert message.startswith(f'{tmp_path / "c.pth"}: its backbone does not fit')
    assert words in message
    assert 'tools/convert_weights.py' in message
    assert '\n' not in message


def test_clips_of_a_3d_backbone(cfg, videos):
    cfg.model = tiny_model(backbone=dict(type='TinyBackbone', ndim=3), format_shape='NCTHW')
    cfg.feature_pipeline[1].update(clip_len=4, num_clips=2)
    cfg.feature_pipeline[4].input_format = 'NCTHW'
    model = build_encoder(cfg, None)
    features = extract_features(model, feature_pipeline(cfg), '', str(videos), num_workers=0)
    reader = decord.VideoReader(str(videos / 'video_1.mp4'))
    expected = []
    for start in (0, 8):  # clips of a 3D backbone reach from the first frame to the last
        clip = torch.from_numpy(reader.get_batch(range(start, start + 4)).asnumpy())
        clip = (clip.permute(3, 0, 1, 2).float() - 127.5) / 64
        with torch.no_grad():
            expected.append(model.backbone(clip[None])[0].flatten(1).mean(1))
    np.testing.assert_allclose(
        features.features[1], torch.stack(expected).mean(0), rtol=1e-4, atol=1e-5
    )


def test_a_video_that_cannot_be_read_is_named(cfg, videos, tmp_path):
    broken = tmp_path / 'broken.mp4'
    broken.write_bytes((videos / 'video_0.mp4').read_bytes()[:200])
    model = build_encoder(cfg, None)
    with pytest.raises(UserError, match='broken.mp4 cannot be read'):
        extract_features(model, feature_pipeline(cfg), '', str(tmp_path), num_workers=0)


def test_bad_videos_are_left_out_together_with_name_and_label(cfg, videos, tmp_path):
    whole = (videos / 'video_0.mp4').read_bytes()
    for name in ('a', 'c', 'e'):
        (tmp_path / f'{name}.mp4').write_bytes(whole)
    (tmp_path / 'b.mp4').write_bytes(whole[:200])
    (tmp_path / 'd.mp4').write_bytes(b'')
    (tmp_path / 'list.txt').write_text(''.join(f'{n}.mp4 {i}\n' for i, n in enumerate('abcde')))
    model, source = build_encoder(cfg, None), (str(tmp_path / 'list.txt'), str(tmp_path))
    kept = extract_features(
        model, feature_pipeline(cfg), *source, batch_size=2, num_workers=0, skip_bad=True
    )
    assert kept.names.tolist() == ['a.mp4', 'c.mp4', 'e.mp4'] and kept.labels.tolist() == [0, 2, 4]
    np.testing.assert_array_equal(kept.features[0], kept.features[1])
    for name in 'ace':
        (tmp_path / f'{name}.mp4').write_bytes(whole[:200])
    with pytest.raises(UserError, match='none of its videos can be read'):
        extract_features(model, feature_pipeline(cfg), *source, num_workers=0, skip_bad=True)


def test_pretrained_weights_of_a_config_are_not_loaded():
    cfg = Config(tiny_model())
    cfg = Config(dict(model=cfg._cfg_dict, default_scope='mmaction'))
    cfg.model.backbone = dict(type='ResNet', depth=18, pretrained='no/such/file.pth')
    cfg.model.heads = {
        name: dict(head, projector=dict(head.projector, in_channels=512))
        for name, head in cfg.model.heads.items()
    }
    build_encoder(cfg, None)
    assert cfg.model.backbone.pretrained == 'no/such/file.pth'  # the config stays as it was


def test_weights_without_batch_counters_fit(tmp_path):
    model = dict(tiny_model(), backbone=dict(type='TinyBackbone', norm=True))
    cfg = Config(dict(model=model))
    source = build_encoder(cfg, None, seed=3)
    state = {
        key: value
        for key, value in source.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    torch.save(state, tmp_path / 'c.pth')
    loaded = build_encoder(cfg, str(tmp_path / 'c.pth'), seed=4)
    for one, other in zip(loaded.backbone.parameters(), source.backbone.parameters(), strict=True):
        assert torch.equal(one, other)
