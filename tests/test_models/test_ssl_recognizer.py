"""The recognizer: which images each encoder sees, what it logs, where gradients go."""

import itertools
import math

import pytest
import torch
from head_helpers import example
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.analysis import get_model_complexity_info
from mmengine.optim import OptimWrapper
from tiny_vclr import CHANNELS, SEGMENTS, build_tiny, tiny_model

from mmssl_video.errors import UserError

HEADS = ('inter', 'intra', 'video', 'order')
ONLINE = dict(inter={0}, intra={0}, video={0}, order={0})
TARGET = dict(inter={2}, intra={2}, video={1}, order={1})
RESNET18 = dict(type='ResNet', depth=18, pretrained=None, norm_eval=False)


def images(num=4, views=3, size=(16, 16), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, views, SEGMENTS, 3, *size, generator=generator)


def count_images(model):
    """Numbers of images that each forward of the two encoders gets, as they run."""
    seen = dict(online=[], target=[])
    model.backbone.register_forward_hook(lambda m, args, out: seen['online'].append(len(args[0])))
    model.target_backbone.module.register_forward_hook(
        lambda m, args, out: seen['target'].append(len(args[0]))
    )
    return seen


def total(outputs):
    return sum(value for key, value in outputs.items() if key.startswith('loss_'))


def test_three_online_and_six_target_images_a_sample():
    model = build_tiny()
    seen = count_images(model)
    for step in range(2):
        model.loss(images(num=5, seed=step), [])
    assert seen == dict(online=[5 * 3] * 2, target=[5 * 6] * 2)


@pytest.mark.parametrize(
    'heads', [c for n in (1, 2, 3, 4) for c in itertools.combinations(HEADS, n)], ids='+'.join
)
def test_only_the_views_that_the_heads_read_are_encoded(heads):
    model = build_tiny(heads=heads)
    seen = count_images(model)
    outputs = model.loss(images(num=2), [])
    online = set().union(*(ONLINE[head] for head in heads))
    target = set().union(*(TARGET[head] for head in heads))
    assert seen == dict(online=[2 * 3 * len(online)], target=[2 * 3 * len(target)])
    assert set(outputs) == {f'loss_{h}' for h in heads} | {f'{h}_acc' for h in heads}


@pytest.mark.parametrize('ndim', [2, 3])
def test_maps_for_the_heads_that_read_them(ndim, monkeypatch):
    """One forward serves both kinds; features are the means of the maps; T is 1 in 2D."""
    shape = dict(format_shape='NCHW') if ndim == 2 else dict(format_shape='NCTHW')
    backbone = dict(type='TinyBackbone', ndim=ndim)
    model = build_tiny(heads=('video', 'order'), backbone=backbone, **shape)
    got = {}
    for name, head in model.heads.items():
        loss = head.loss
        monkeypatch.setattr(
            head,
            'loss',
            lambda *branches, name=name, loss=loss: (
                got.update({name: branches})
                or loss(*({v: x.flatten(3).mean(3) if x.ndim == 6 else x for v, x in views.items()}
                          for views in branches))
            ),
        )  # fmt: skip
    monkeypatch.setattr(model.heads['order'], 'reads_maps', True)
    seen = count_images(model)
    clips = torch.randn(2, 3, SEGMENTS, 3, *((5,) if ndim == 3 else ()), 16, 16)
    model.loss(clips, [])
    assert seen['online'] == [2 * SEGMENTS]
    (maps,), (features,) = got['order'][0].values(), got['video'][0].values()
    assert maps.shape == (2, SEGMENTS, CHANNELS, 5 if ndim == 3 else 1, 4, 4)
    torch.testing.assert_close(maps.mean(dim=(3, 4, 5)), features)
    alone = model.backbone(clips[1, 0, 2:3])
    torch.testing.assert_close(maps[1, 2], alone[0] if ndim == 3 else alone[0][:, None])
    # The same of the target branch.
    ((of_maps, maps),) = got['order'][1].items()
    ((of_means, means),) = got['video'][1].items()
    assert (maps.ndim, means.ndim) == (6, 3)
    for view, found in ((of_maps, maps.flatten(3).mean(dim=3)), (of_means, means)):
        alone = model.target_backbone.module(clips[1, view, 2:3])[0].flatten(1).mean(dim=1)
        torch.testing.assert_close(found[1, 2], alone)


def test_backbones_without_maps_are_refused_by_heads_that_read_them(monkeypatch):
    model = build_tiny(heads=('video', 'order'))
    monkeypatch.setattr(model.backbone, 'forward', lambda x: x.mean(dim=(2, 3)).repeat(1, 4))
    monkeypatch.setattr(
        model.target_backbone.module, 'forward', lambda x: x.mean(dim=(2, 3)).repeat(1, 4)
    )
    assert model.loss(images(), [])['loss_order'] > 0  # vectors are features
    monkeypatch.setattr(model.heads['order'], 'reads_maps', True)
    with pytest.raises(UserError, match='model.heads.order reads maps, but a TinyBackbone gives'):
        model.loss(images(), [])


def test_each_head_gets_its_views():
    """Every view is a constant of its own, told again by the features that reach the heads."""
    model = build_tiny()
    with torch.no_grad():
        for encoder in (model.backbone, model.target_backbone.module):
            for parameter in encoder.parameters():
                parameter.fill_(0.01)
    inputs = torch.arange(3.0).view(1, 3, 1, 1, 1, 1).expand(2, 3, SEGMENTS, 3, 16, 16) * 10
    expected = model.extract_feat(inputs)
    assert len(expected[0, :, 0, 0].unique()) == 3
    for name, head in model.heads.items():
        got = []
        head.loss = lambda online, target, got=got: got.extend((online, target)) or {'loss': 0}
        model.loss(inputs, [])
        assert set(got[0]) == ONLINE[name]
        assert set(got[1]) == TARGET[name]
        for view, value in (got[0] | got[1]).items():
            torch.testing.assert_close(value, expected[:, view])


def test_none_switches_a_head_off():
    cfg = tiny_model()
    cfg['heads']['order'] = cfg['heads']['video'] = None
    model = MODELS.build(cfg)
    assert list(model.heads) == ['inter', 'intra']
    assert model.target_views == [2]


@pytest.mark.parametrize('heads', [dict(), dict(inter=None, order=None)])
def test_no_head_is_an_error(heads):
    with pytest.raises(UserError, match='^model.heads is empty; keep at least one'):
        MODELS.build(tiny_model(heads=()) | dict(heads=heads))


@pytest.mark.parametrize(
    ('cfg', 'words'),
    [
        (dict(type='InterFrameHaed'), "unknown head 'InterFrameHaed'; did you mean InterFrameHead"),
        (dict(type='TSNHead', num_classes=4), "unknown head 'TSNHead'"),  # a head, but not of ours
        (dict(type='ResNet'), "unknown head 'ResNet'"),
        (dict(temperature=0.1), 'unknown head None'),
    ],
)
def test_unknown_head_is_one_line_with_the_known_ones(cfg, words):
    with pytest.raises(UserError) as error:
        MODELS.build(tiny_model() | dict(heads=dict(mine=cfg)))
    message = str(error.value)
    assert message.startswith(f'model.heads.mine: {words}')
    assert 'InterFrameHead, IntraFrameHead, MemDPCHead, MoCoHead' in message
    assert '\n' not in message


@pytest.mark.parametrize(
    ('setting', 'words'),
    [
        (dict(temperature=0), 'temperature is 0; set it above 0'),
        (dict(temperature=-0.1), 'temperature is -0.1; set it above 0'),
        (dict(temperature=math.nan), 'temperature is nan; set it above 0'),
        (dict(loss_weight=-1), 'loss_weight is -1; set it to 0 or more'),
        (dict(query_view=-1), 'reads view -1; views are counted from 0'),
        (dict(key_view=-2), 'reads view -2; views are counted from 0'),
    ],
)
def test_values_that_can_only_be_mistakes(setting, words):
    cfg = tiny_model(heads=('inter',))
    cfg['heads']['inter'] |= setting
    with pytest.raises(UserError, match='^model.heads.inter') as error:
        MODELS.build(cfg)
    assert words in str(error.value)


def test_epsilon_of_zero():
    projector = tiny_model()['heads']['inter']['projector']
    with pytest.raises(UserError, match='^model.heads.swav.epsilon is 0.0; set it above 0'):
        MODELS.build(
            tiny_model()
            | dict(heads=dict(swav=dict(type='SwAVHead', projector=projector, epsilon=0.0)))
        )


@pytest.mark.parametrize(
    'head',
    [
        dict(type='MoCoHead', projector=dict(type='ProjectionMLP', in_channels=7)),
        dict(type='PermutationHead', in_channels=7),
    ],
    ids=lambda head: head['type'],
)
def test_features_of_another_length_than_the_head_takes(head):
    model = MODELS.build(tiny_model() | dict(heads=dict(mine=head)))
    with pytest.raises(UserError) as error:
        model.loss(images(), [])
    assert str(error.value) == (
        f'model.heads.mine takes features of 7, but the TinyBackbone gives {CHANNELS}; set '
        f'in_channels of the head or of its projector to {CHANNELS}'
    )


@pytest.mark.parametrize('key', ['in_channels', 'out_channels'])
@pytest.mark.parametrize('head', ['BYOLHead', 'NNCLRHead'])
def test_a_predictor_of_another_length_than_the_projector(head, key):
    predictor = dict(type='ProjectionMLP', in_channels=6, out_channels=6) | {key: 5}
    cfg = dict(
        type=head, projector=tiny_model()['heads']['inter']['projector'], predictor=predictor
    )
    with pytest.raises(UserError, match=f'predictor.{key} of a head is 5, .* set it to 6'):
        MODELS.build(cfg)


def test_a_name_that_would_add_the_accuracy_to_the_loss():
    cfg = tiny_model(heads=('intra',))
    cfg['heads'] = dict(my_loss=cfg['heads']['intra'])
    with pytest.raises(UserError, match="^model.heads.my_loss: choose a name without 'loss' in it"):
        MODELS.build(cfg)


def test_a_view_that_the_pipeline_does_not_make():
    model = build_tiny()
    with pytest.raises(UserError) as error:
        model.loss(images(views=2), [])
    assert 'read view 2, but the pipeline makes views 0 to 1' in str(error.value)
    assert '\n' not in str(error.value)
    build_tiny(heads=('video', 'order')).loss(images(views=2), [])  # these read views 0 and 1


def test_gradients_reach_the_online_network_alone():
    model = build_tiny(backbone=dict(type='TinyBackbone', norm=True))
    model.loss(images(seed=1), [])  # fills the queues, without which two objectives are 0
    total(model.loss(images(), [])).backward()
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any('target' in name for name in trainable)
    for name, parameter in model.named_parameters():
        if 'target' in name:
            assert not parameter.requires_grad and parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_every_parameter_of_a_resnet_gets_a_gradient():
    projector = dict(type='ProjectionMLP', in_channels=512, hidden_channels=64, out_channels=8)
    cfg = tiny_model(backbone=RESNET18)
    for head in cfg['heads'].values():
        head['projector'] = projector
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    model.train()
    seen = count_images(model)
    model.loss(images(num=2, size=(32, 32), seed=1), [])
    total(model.loss(images(num=2, size=(32, 32)), [])).backward()
    assert seen == dict(online=[6, 6], target=[12, 12])
    for name, parameter in model.named_parameters():
        if 'target' in name:
            assert parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_target_follows_before_it_is_used():
    """One step of the average per loss, on the weights that the optimiser has made."""
    model = build_tiny(momentum=0.75)
    pairs = [(copy, list(copy.module.parameters())) for copy in model.momentum_copies]
    assert len(pairs) == 5
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    expected = [0.75 * p + 0.25 * (p + 1) for _, copies in pairs for p in copies]
    during = []
    model.target_backbone.module.register_forward_pre_hook(
        lambda module, _: during.extend(p.clone() for p in module.parameters())
    )
    model.loss(images(), [])
    after = [p for _, copies in pairs for p in copies]
    torch.testing.assert_close(after, expected)
    torch.testing.assert_close(during, list(model.target_backbone.module.parameters()))


def test_the_target_is_done_before_anything_is_kept_for_the_backward_pass():
    model = build_tiny()
    order = []
    model.backbone.register_forward_pre_hook(lambda *args: order.append('online'))
    model.target_backbone.module.register_forward_hook(lambda *args: order.append('target'))
    model.loss(images(), [])
    assert order == ['target', 'online']


@pytest.mark.parametrize('ndim', [2, 3])
def test_channels_last_changes_the_order_in_memory_alone(ndim):
    """From a seed, the same weights, losses and gradients."""
    order = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    results = []
    for channels_last in (False, True):
        backbone = dict(type='TinyBackbone', ndim=ndim, norm=True)
        format_shape = {2: 'NCHW', 3: 'NCTHW'}[ndim]
        model = build_tiny(
            backbone=backbone, format_shape=format_shape, channels_last=channels_last
        ).double()
        model.momentum = 0.5
        stored = []
        for network in (model.backbone, model.target_backbone.module):
            network.layers.register_forward_pre_hook(lambda m, args, to=stored: to.append(args[0]))
        for step in range(2):
            inputs = images(seed=step).double()
            if ndim == 3:
                inputs = inputs.unsqueeze(4).expand(-1, -1, -1, -1, 2, -1, -1)
            torch.manual_seed(step)
            loss = total(model.loss(inputs, []))
            loss.backward()
        stored += [p for p in model.parameters() if p.ndim > 2]
        assert len(stored) == 8  # inputs of two steps, kernels of two layers, and of their copies
        for tensor in stored:
            assert tensor.is_contiguous(memory_format=order) == channels_last
        gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        results.append((loss, gradients, model.state_dict()))
    torch.testing.assert_close(*results)


def test_channels_last_starts_from_the_weights_of_the_seed():
    plain, last = (build_tiny(backbone=RESNET18, channels_last=last) for last in (False, True))
    assert last.backbone.layer1[0].conv1.conv.weight.stride()[1] == 1
    torch.testing.assert_close(last.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_compile_takes_both_backbones():
    """As one graph each; keys, losses and gradients are those of before."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(len(inputs))
        return graph.forward

    results = []
    for options in (False, dict(backend=backend, fullgraph=True)):
        model = build_tiny(compile=options)
        torch.manual_seed(1)
        loss = total(model.loss(images(), []))
        loss.backward()
        gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
        results.append((loss, gradients, model.state_dict()))
    assert len(graphs) == 2
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_total_loss_is_the_sum():
    model = build_tiny()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    data = dict(inputs=list((images() * 64).round().to(torch.uint8)), data_samples=None)
    for _ in range(2):
        log = model.train_step(data, optimizer)
    parts = [log[f'loss_{name}'] for name in HEADS]
    assert min(parts) > 0
    assert log['loss'].item() == pytest.approx(sum(p.item() for p in parts), rel=1e-6)


def test_preprocessor_normalises_uint8_views_once():
    model = build_tiny()
    got = []
    model.backbone.register_forward_pre_hook(lambda m, args: got.append(args[0]))
    views = [torch.randint(256, (3, SEGMENTS, 3, 8, 8), dtype=torch.uint8) for _ in range(2)]
    data = model.data_preprocessor(dict(inputs=views, data_samples=None), training=True)
    model.loss(**data)
    expected = (torch.stack(views)[:, 0].float() - 127.5) / 64
    torch.testing.assert_close(got[0], expected.flatten(0, 1))


def test_three_dimensional_backbone():
    model = build_tiny(backbone=dict(type='TinyBackbone', ndim=3), format_shape='NCTHW')
    clips = torch.randn(2, 3, SEGMENTS, 3, 4, 16, 16)
    seen = count_images(model)
    model.loss(clips, [])
    outputs = model.loss(clips, [])
    total(outputs).backward()
    assert seen == dict(online=[6, 6], target=[12, 12])
    assert all(torch.isfinite(value) for value in outputs.values())
    assert all(p.grad.abs().sum() > 0 for p in model.backbone.parameters())


@pytest.mark.parametrize('ndim', [2, 3])
def test_predict_gives_the_mean_feature(ndim):
    shape = {2: (5, 3, 16, 16), 3: (5, 3, 4, 16, 16)}[ndim]
    model = build_tiny(
        backbone=dict(type='TinyBackbone', ndim=ndim), format_shape={2: 'NCHW', 3: 'NCTHW'}[ndim]
    ).eval()
    inputs = torch.randn(2, *shape)
    samples = model(inputs, [ActionDataSample(), ActionDataSample()], mode='predict')
    for video, sample in zip(inputs, samples, strict=True):
        expected = torch.stack([model.backbone(clip[None])[0].flatten(1).mean(1) for clip in video])
        torch.testing.assert_close(sample.feature, expected.mean(0))
        assert sample.feature.dtype == torch.float32


@pytest.mark.parametrize('num', [1, 2, 3])
@pytest.mark.parametrize('ndim', [2, 3])
def test_the_tensor_mode_gives_the_feature_of_every_clip(ndim, num):
    """As MMEngine's and torch's tools call a model: without a mode."""
    shape = {2: (5, 3, 16, 16), 3: (5, 3, 4, 16, 16)}[ndim]
    model = build_tiny(
        backbone=dict(type='TinyBackbone', ndim=ndim), format_shape={2: 'NCHW', 3: 'NCTHW'}[ndim]
    ).eval()
    inputs = torch.randn(num, *shape)
    features = model(inputs)
    assert features.shape == (num, 5, CHANNELS)
    for video, of_video in zip(inputs, features, strict=True):
        expected = torch.stack([model.backbone(clip[None])[0].flatten(1).mean(1) for clip in video])
        torch.testing.assert_close(of_video, expected)
    assert torch.equal(model(inputs, stage='backbone'), features)
    traced = torch.jit.trace(model, inputs, check_trace=False)
    torch.testing.assert_close(traced(inputs), features)


def test_complexity_is_that_of_the_clips():
    """MMEngine's analysis: two convolutions, 3 to 8 channels on 8 x 8 and 8 to 12 on 4 x 4."""
    flops = get_model_complexity_info(build_tiny(), (5, 3, 16, 16), show_table=False)['flops']
    assert flops == 5 * 9 * (3 * 8 * 8 * 8 + 8 * 12 * 4 * 4)


def test_shuffle_bn_is_a_switch(monkeypatch):
    from mmssl_video.models.recognizers import ssl_recognizer

    calls = []
    monkeypatch.setattr(
        ssl_recognizer, 'forward_shuffled', lambda module, x: calls.append(len(x)) or module(x)
    )
    with_norm = dict(type='TinyBackbone', norm=True)
    build_tiny(shuffle_bn=False, backbone=with_norm).loss(images(num=2), [])
    build_tiny(shuffle_bn=True).loss(images(num=2), [])  # nothing to normalise
    assert calls == []
    build_tiny(shuffle_bn=True, backbone=with_norm).loss(images(num=2), [])
    assert calls == [12]


def test_it_learns():
    """On eight samples whose segments differ in colour, intra and order halve within 200 steps."""
    model = build_tiny(heads=('intra', 'order'))
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=3e-3)
    colours = torch.linspace(-2, 2, SEGMENTS).view(1, 1, SEGMENTS, 1, 1, 1)
    inputs = images(num=8, size=(8, 8)) * 0.2 + colours
    history = []
    for _ in range(200):
        optimizer.zero_grad()
        outputs = model.loss(inputs, [])
        total(outputs).backward()
        optimizer.step()
        history.append({key: value.item() for key, value in outputs.items()})
    last = {key: sum(h[key] for h in history[-10:]) / 10 for key in history[0]}
    for name, head in model.heads.items():
        assert last[f'loss_{name}'] < 0.5 * min(history[0][f'loss_{name}'], head.chance_level(8))


# Views that differ in their number of segments ----------------------------------------------------

RAGGED = (3, 3, 3, 1)


def told(segments, num=2):
    """Data samples that tell S of each view, as ``PackViews`` writes it."""
    samples = [ActionDataSample() for _ in range(num)]
    for sample in samples:
        sample.set_field(segments, 'num_segments')
    return samples


def build_ragged(**kwargs):
    """VCLR's four heads on views 0 to 2; a contrast of view 3, a clip, with the tuple of view 0."""
    cfg = tiny_model(**kwargs)
    clips = cfg['heads']['video'] | dict(query_views=(3,), key_views=(0,))
    torch.manual_seed(0)
    return MODELS.build(cfg | dict(heads=cfg['heads'] | dict(clips=clips)))


@pytest.mark.parametrize('ndim', [2, 3])
def test_ragged_views_are_encoded_as_each_by_itself(ndim):
    model = build_ragged(
        backbone=dict(type='TinyBackbone', ndim=ndim), format_shape={2: 'NCHW', 3: 'NCTHW'}[ndim]
    )
    inputs = torch.randn(2, 1, sum(RAGGED), 3, *[4] * (ndim - 2), 16, 16)
    got, seen = {}, count_images(model)
    for name, head in model.heads.items():
        head.loss = lambda *views, name=name: got.update({name: views}) or {'loss': 0}
    with torch.no_grad():  # a target that is not the online network
        for parameter in model.backbone.parameters():
            parameter.add_(0.1)
    model.loss(inputs, told(RAGGED))
    # Online views 0 and 3, target views 0 to 2.
    assert seen == dict(online=[2 * (3 + 1)], target=[2 * (3 + 3 + 3)])
    clips = {0: [0, 1, 2], 1: [3, 4, 5], 2: [6, 7, 8], 3: [9]}
    expected = {
        'inter': ({0}, {2}),
        'intra': ({0}, {2}),
        'video': ({0}, {1}),
        'order': ({0}, {1}),
        'clips': ({3}, {0}),
    }
    for name, views in got.items():
        assert tuple(map(set, views)) == expected[name]
        for encoder, features in zip((model.backbone, model.target_backbone), views, strict=True):
            for view, value in features.items():
                singly = [
                    [encoder(sample[0, clip][None]).flatten(2).mean(2)[0] for clip in clips[view]]
                    for sample in inputs
                ]
                singly = torch.stack([torch.stack(one) for one in singly])
                assert value.shape == (2, RAGGED[view], 12)
                torch.testing.assert_close(value, singly)
                assert value.requires_grad == (encoder is model.backbone)
    assert got.keys() == expected.keys()


def test_ragged_views_make_the_losses_of_views_apart():
    """The same clips, once as three views of three, once on one axis."""
    apart, together = build_tiny(), build_tiny()
    for step in range(2):
        inputs = images(seed=step)
        torch.manual_seed(step)
        expected = apart.loss(inputs, told(3, len(inputs)))
        torch.manual_seed(step)
        got = together.loss(inputs.flatten(1, 2)[:, None], told((3, 3, 3), len(inputs)))
        for key, value in expected.items():
            assert torch.equal(got[key], value), key


@pytest.mark.parametrize(
    ('segments', 'views', 'words'),
    [
        ((3, 3, 4), (1, 10), 'the heads read view 3, but the pipeline makes views 0 to 2; match'),
        (10, (1, 10), 'the heads read view 3, but the pipeline makes views 0 to 0; match'),
    ],
)
def test_views_that_the_pipeline_does_not_make(segments, views, words):
    model = build_ragged()
    with pytest.raises(UserError) as error:
        model.loss(torch.zeros(2, *views, 3, 16, 16), told(segments))
    assert words in str(error.value)
    assert 'PackViews' in str(error.value)
    assert '\n' not in str(error.value)


# Backbones that mix the frames of a video, or have two pathways --------------------------------

TSM = dict(type='ResNetTSM', depth=18, pretrained=None, norm_eval=False)


def build_tsm(num_segments=SEGMENTS, **changes):
    """VCLR's four heads on a TSM."""
    cfg = tiny_model(backbone=dict(TSM, num_segments=num_segments)) | changes
    for head in cfg['heads'].values():
        head['projector'] = head['projector'] | dict(in_channels=512)
    torch.manual_seed(0)
    return MODELS.build(cfg)


def test_a_tsm_mixes_the_frames_of_a_view_in_their_order():
    model = build_tsm().eval()
    inputs, got = images(num=2, size=(32, 32)), {}
    for name, head in model.heads.items():
        head.loss = lambda *views, name=name: got.update({name: views}) or {'loss': 0}
    model.loss(inputs, [])
    for views in got.values():
        encoders = model.backbone, model.target_backbone.module
        for encoder, features in zip(encoders, views, strict=True):
            for view, value in features.items():
                for sample, of_sample in zip(inputs, value, strict=True):
                    expected = encoder(sample[view]).mean(dim=(2, 3))
                    torch.testing.assert_close(of_sample, expected)
                    backwards = encoder(sample[view].flip(0)).mean(dim=(2, 3)).flip(0)
                    assert (backwards - expected).abs().max() > 0.01  # the order matters


@pytest.mark.parametrize('segments', [3, (3, 3, 3)])
def test_frames_of_different_views_are_never_mixed(segments):
    model = build_tsm(num_segments=9)
    inputs = images() if segments == 3 else images().flatten(1, 2)[:, None]
    with pytest.raises(UserError) as error:
        model.loss(inputs, told(segments, len(inputs)))
    message = str(error.value)
    assert message.startswith('model.backbone.num_segments is 9, but a view or video has 3 frames;')
    assert '\n' not in message
    with pytest.raises(UserError, match='num_segments is 9, but a view or video has 4 frames'):
        model(torch.zeros(9, 4, 3, 32, 32))  # 36 would do for 4 groups of 9


def test_heads_that_read_maps_are_refused_a_backbone_of_two_pathways(monkeypatch):
    model = build_tiny(heads=('video', 'order'))
    for backbone in (model.backbone, model.target_backbone.module):
        forward = backbone.forward
        monkeypatch.setattr(
            backbone, 'forward', lambda x, forward=forward: forward(x).split((8, 4), dim=1)
        )
    assert model.loss(images(), [])['loss_order'] > 0
    monkeypatch.setattr(model.heads['order'], 'reads_maps', True)
    with pytest.raises(UserError, match='model.heads.order reads maps, but a TinyBackbone gives'):
        model.loss(images(), [])


# Fields of the data samples, and pairs for monitors -----------------------------------------------


def build_reading():
    """Heads that read a label each, and one that reads nothing."""
    heads = dict(
        neighbour=example('NeighbourHead'),
        seco_order=example('SeCoOrderHead'),
        video=example('MoCoHead'),
    )
    torch.manual_seed(0)
    return MODELS.build(tiny_model() | dict(heads=heads))


def sample(**fields):
    data_sample = ActionDataSample()
    if 'gt_label' in fields:
        data_sample.set_gt_label(fields.pop('gt_label'))
    for key, value in fields.items():
        data_sample.set_field(value, key)
    return data_sample


def test_heads_get_the_fields_that_they_read():
    model = build_reading()
    got = {}
    for name, head in model.heads.items():
        head.loss = lambda *_, name=name, **fields: got.update({name: fields}) or {'loss': 0}
    several = torch.tensor([0.0, 1.0, 1.0])  # as a data set with multi_class=True has them
    samples = [
        sample(gt_label=7, query_in_second_half=1),
        sample(query_in_second_half=0),
        sample(gt_label=-1, query_in_second_half=torch.tensor(1)),
        sample(gt_label=several, query_in_second_half=torch.tensor([0])),
    ]
    model.loss(images(), samples)
    assert got.keys() == model.heads.keys()
    assert {name: set(fields) for name, fields in got.items()} == dict(
        neighbour={'gt_label'}, seco_order={'query_in_second_half'}, video=set()
    )
    for name, field, expected in (
        ('neighbour', 'gt_label', [7, -1, -1, -1]),
        ('seco_order', 'query_in_second_half', [1, 0, 1, 0]),
    ):
        assert got[name][field].tolist() == expected
        assert got[name][field].dtype == torch.int64


def test_a_field_that_no_transform_has_packed():
    samples = [sample(query_in_second_half=1)] * 3 + [sample(gt_label=2)]
    with pytest.raises(UserError) as error:
        build_reading().loss(images(), samples)
    message = str(error.value)
    assert message.startswith("model.heads.seco_order reads 'query_in_second_half', which the data")
    assert "PackViews(algorithm_keys=('query_in_second_half',))" in message
    assert '\n' not in message


@pytest.mark.parametrize(
    ('head', 'name', 'wrong'),
    [
        (example('TransformationHead', label='rotation'), 'rotation', -1),
        (example('OddOneOutHead'), 'odd_one', 3),
        (example('SeCoOrderHead'), 'query_in_second_half', 2),
    ],
)
def test_a_label_beyond_the_classes_is_told(head, name, wrong):
    model = MODELS.build(tiny_model() | dict(heads=dict(task=head)))
    samples = [sample(**{name: value}) for value in (0, 1, 1, wrong)]
    with pytest.raises(UserError) as error:
        model.loss(images(), samples)
    message = str(error.value)
    assert message.startswith(f'model.heads.task: a {name} is {wrong}, but ')
    assert '\n' not in message
    samples[-1] = sample(**{name: 0})
    assert model.loss(images(), samples)['loss_task'] > 0


def test_without_any_label_heads_get_none():
    model = build_reading()
    samples = [sample(query_in_second_half=1)] * 4
    for step in range(2):
        outputs = model.loss(images(seed=step), samples)
    assert outputs['loss_neighbour'] > 0 and 'neighbour_purity' not in outputs
    model.loss(images(), [*samples[1:], sample(query_in_second_half=0, gt_label=5)])
    assert model.heads['neighbour'].queue.labels.tolist() == [-1] * 11 + [5] + [-1] * 8


def test_pairs_are_those_of_the_last_iteration_without_gradient():
    model = build_tiny()
    state = set(model.state_dict())
    assert model.pairs == {}
    returned = {}
    for name, head in model.heads.items():

        def loss(*views, name=name, compute=head.loss):
            results = compute(*views)
            returned[name] = results.get('pair')
            return results

        head.loss = loss
    for step in range(2):
        outputs = model.loss(images(seed=step), [])
        assert set(model.pairs) == {'inter', 'intra', 'video'}  # an order is no pair
        for name, pair in model.pairs.items():
            for got, expected in zip(pair, returned[name], strict=True):
                assert torch.equal(got, expected)
                assert not got.requires_grad
                torch.testing.assert_close(got.norm(dim=1), torch.ones(4))
            assert returned[name][0].requires_grad
    assert not any('pair' in key for key in outputs)
    assert set(model.state_dict()) == state
