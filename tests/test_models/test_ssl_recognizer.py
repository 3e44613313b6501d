"""The recognizer: which images each encoder sees, what it logs, where gradients go."""

import itertools
import math

import pytest
import torch
from head_helpers import example, refused
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.optim import OptimWrapper
from tiny_vclr import CHANNELS, SEGMENTS, build_tiny, tiny_model

HEADS = ('inter', 'intra', 'video', 'order')
ONLINE = dict(inter={0}, intra={0}, video={0}, order={0})
TARGET = dict(inter={2}, intra={2}, video={1}, order={1})


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


def of_dimensions(ndim, **backbone):
    """Settings of a model whose backbone has this number of dimensions."""
    format_shape = {2: 'NCHW', 3: 'NCTHW'}[ndim]
    return dict(
        backbone=dict(type='TinyBackbone', ndim=ndim, **backbone), format_shape=format_shape
    )


def views_of_heads(model):
    """What each head is given in place of computing its loss, as the model runs."""
    got = {}
    for name, head in model.heads.items():
        head.loss = lambda *views, name=name, **fields: (
            got.update({name: (*views, fields)}) or {'loss': 0}
        )
    return got


def total(outputs):
    return sum(value for key, value in outputs.items() if key.startswith('loss_'))


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
    model = build_tiny(heads=('video', 'order'), **of_dimensions(ndim))
    monkeypatch.setattr(model.heads['order'], 'reads_maps', True)
    got, seen = views_of_heads(model), count_images(model)
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


@pytest.mark.parametrize(
    'reshape',
    [lambda maps: maps.mean(dim=(2, 3)), lambda maps: maps.split((8, 4), dim=1)],
    ids=['vectors', 'two pathways'],
)
def test_backbones_without_one_map_are_refused_by_heads_that_read_maps(reshape, monkeypatch):
    model = build_tiny(heads=('video', 'order'))
    for network in (model.backbone, model.target_backbone.module):
        forward = network.forward
        monkeypatch.setattr(network, 'forward', lambda x, forward=forward: reshape(forward(x)))
    assert model.loss(images(), [])['loss_order'] > 0  # what they give makes features
    monkeypatch.setattr(model.heads['order'], 'reads_maps', True)
    with refused('model.heads.order reads maps, but a TinyBackbone gives'):
        model.loss(images(), [])


def test_none_switches_a_head_off():
    cfg = tiny_model()
    cfg['heads']['order'] = cfg['heads']['video'] = None
    model = MODELS.build(cfg)
    assert list(model.heads) == ['inter', 'intra']
    assert model.target_views == [2]


@pytest.mark.parametrize(
    ('head', 'words'),
    [
        (dict(type='InterFrameHaed'), "unknown head 'InterFrameHaed'; did you mean InterFrameHead"),
        (dict(type='TSNHead', num_classes=4), "unknown head 'TSNHead'"),  # a head, but not of ours
        (dict(type='ResNet'), "unknown head 'ResNet'; .*IntraFrameHead, MemDPCHead, MoCoHead"),
        (dict(temperature=0.1), 'unknown head None'),
        (example('InterFrameHead', temperature=0), 'temperature is 0; set it above 0'),
        (example('InterFrameHead', temperature=-0.1), 'temperature is -0.1; set it above 0'),
        (example('InterFrameHead', temperature=math.nan), 'temperature is nan; set it above 0'),
        (example('InterFrameHead', loss_weight=-1), 'loss_weight is -1; set it to 0 or more'),
        (example('InterFrameHead', query_view=-1), 'reads view -1; views are counted from 0'),
        (example('InterFrameHead', key_view=-2), 'reads view -2; views are counted from 0'),
        (example('SwAVHead', epsilon=0.0), 'epsilon is 0.0; set it above 0'),
    ],
)
def test_a_head_that_can_only_be_a_mistake(head, words):
    with refused(f'^model.heads.mine.*{words}'):
        MODELS.build(tiny_model() | dict(heads=dict(mine=head)))


def test_heads_that_can_only_be_a_mistake():
    for heads, words in (
        (dict(), '^model.heads is empty; keep at least one'),
        (dict(inter=None, order=None), '^model.heads is empty; keep at least one'),
        # Its accuracy would be added to the loss.
        (dict(my_loss=example('MoCoHead')), "^model.heads.my_loss: choose a name without 'loss'"),
    ):
        with refused(words):
            MODELS.build(tiny_model() | dict(heads=heads))


@pytest.mark.parametrize('key', ['in_channels', 'out_channels'])
@pytest.mark.parametrize('head', ['BYOLHead', 'NNCLRHead'])
def test_a_predictor_of_another_length_than_the_projector(head, key):
    predictor = dict(type='ProjectionMLP', in_channels=6, out_channels=6) | {key: 5}
    projector = tiny_model()['heads']['inter']['projector']
    with refused(f'predictor.{key} of a head is 5, .* set it to 6'):
        MODELS.build(dict(type=head, projector=projector, predictor=predictor))


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
    with refused('^model.heads.mine takes features of 7, .* gives 12; .*in_channels .* to 12$'):
        model.loss(images(), [])


def test_gradients_reach_the_online_network_alone():
    model = build_tiny(backbone=dict(type='TinyBackbone', norm=True))
    model.loss(images(seed=1), [])  # fills the queues, without which two objectives are 0
    total(model.loss(images(), [])).backward()
    for name, parameter in model.named_parameters():
        if 'target' in name:
            assert not parameter.requires_grad and parameter.grad is None, name
        else:
            assert parameter.grad.abs().sum() > 0, name


def test_target_follows_before_it_is_used():
    """One step of the average per loss, on the weights that the optimiser has made.

    The target is done before anything is kept for the backward pass.
    """
    model = build_tiny(momentum=0.75)
    pairs = [(copy, list(copy.module.parameters())) for copy in model.momentum_copies]
    assert len(pairs) == 5
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    expected = [0.75 * p + 0.25 * (p + 1) for _, copies in pairs for p in copies]
    during, order = [], []
    target = model.target_backbone.module
    target.register_forward_pre_hook(lambda m, _: during.extend(p.clone() for p in m.parameters()))
    target.register_forward_hook(lambda *args: order.append('target'))
    model.backbone.register_forward_pre_hook(lambda *args: order.append('online'))
    model.loss(images(), [])
    torch.testing.assert_close([p for _, copies in pairs for p in copies], expected)
    torch.testing.assert_close(during, list(target.parameters()))
    assert order == ['target', 'online']


@pytest.mark.parametrize('ndim', [2, 3])
def test_channels_last_changes_the_order_in_memory_alone(ndim):
    """From a seed, the same weights, losses and gradients."""
    order = {2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    results = []
    for channels_last in (False, True):
        model = build_tiny(**of_dimensions(ndim, norm=True), channels_last=channels_last).double()
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
    resnet = dict(type='ResNet', depth=18, pretrained=None, num_stages=1, out_indices=(0,))
    resnet |= dict(strides=(1,), dilations=(1,))
    plain, last = (build_tiny(backbone=resnet, channels_last=last) for last in (False, True))
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


@pytest.mark.parametrize(('ndim', 'num'), [(2, 1), (2, 3), (3, 2)])
def test_features_of_every_clip_and_their_mean(ndim, num):
    """Of every clip without a mode, as MMEngine's and torch's tools call a model."""
    model = build_tiny(**of_dimensions(ndim)).eval()
    inputs = torch.randn(num, 5, 3, *[4] * (ndim - 2), 16, 16)
    features = model(inputs)
    samples = model(inputs, [ActionDataSample() for _ in range(num)], mode='predict')
    assert features.shape == (num, 5, CHANNELS)
    for video, of_video, sample in zip(inputs, features, samples, strict=True):
        expected = torch.stack([model.backbone(clip[None])[0].flatten(1).mean(1) for clip in video])
        torch.testing.assert_close(of_video, expected)
        torch.testing.assert_close(sample.feature, expected.mean(0))
    assert torch.equal(model(inputs, stage='backbone'), features)
    traced = torch.jit.trace(model, inputs, check_trace=False)
    torch.testing.assert_close(traced(inputs), features)


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


@pytest.mark.parametrize(
    ('ndim', 'segments'), [(2, RAGGED), (3, RAGGED), (2, (SEGMENTS,) * 4)], ids=['2D', '3D', 'even']
)
def test_each_head_gets_its_views_encoded_as_each_by_itself(ndim, segments):
    """Views that differ in their segments lie on one axis, others on two."""
    model = build_ragged(**of_dimensions(ndim))
    clips = torch.randn(2, sum(segments), 3, *[4] * (ndim - 2), 16, 16)
    if segments == RAGGED:
        inputs, samples = clips[:, None], told(RAGGED)
    else:
        inputs, samples = clips.unflatten(1, (4, SEGMENTS)), []
    got, seen = views_of_heads(model), count_images(model)
    with torch.no_grad():  # a target that is not the online network
        for parameter in model.backbone.parameters():
            parameter.add_(0.1)
    model.loss(inputs, samples)
    # Online views 0 and 3, target views 0 to 2.
    assert seen == dict(online=[2 * (3 + segments[3])], target=[2 * (3 + 3 + 3)])
    expected = dict(
        inter=({0}, {2}),
        intra=({0}, {2}),
        video=({0}, {1}),
        order=({0}, {1}),
        clips=({3}, {0}),
    )
    assert got.keys() == expected.keys()
    for name, (*views, _) in got.items():
        assert tuple(map(set, views)) == expected[name]
        for encoder, features in zip((model.backbone, model.target_backbone), views, strict=True):
            for view, value in features.items():
                own = clips.split(segments, dim=1)[view]
                singly = [[encoder(one[None]).flatten(2).mean(2)[0] for one in row] for row in own]
                assert value.shape == (2, segments[view], CHANNELS)
                torch.testing.assert_close(value, torch.stack([torch.stack(s) for s in singly]))
                assert value.requires_grad == (encoder is model.backbone)


@pytest.mark.parametrize(
    ('segments', 'views', 'last'), [((3, 3, 4), (1, 10), 2), (10, (1, 10), 0), (3, (2, 3), 1)]
)
def test_views_that_the_pipeline_does_not_make(segments, views, last):
    inputs, samples = torch.zeros(2, *views, 3, 16, 16), told(segments)
    with refused(
        f'the heads read view 3, but the pipeline makes views 0 to {last}; match .*PackViews'
    ):
        build_ragged().loss(inputs, samples)
    if last == 1:
        build_tiny(heads=('video', 'order')).loss(inputs, samples)  # these read views 0 and 1


# Backbones that mix the frames of a video, or have two pathways --------------------------------


def build_tsm(num_segments=SEGMENTS):
    """Two of VCLR's heads on a TSM."""
    backbone = dict(type='ResNetTSM', depth=18, pretrained=None, num_segments=num_segments)
    cfg = tiny_model(heads=('inter', 'video'), backbone=backbone)
    for head in cfg['heads'].values():
        head['projector'] = head['projector'] | dict(in_channels=512)
    torch.manual_seed(0)
    return MODELS.build(cfg)


def test_a_tsm_mixes_the_frames_of_a_view_in_their_order():
    model = build_tsm().eval()
    inputs, got = images(num=2, size=(32, 32)), views_of_heads(model)
    model.loss(inputs, [])
    encoders = model.backbone, model.target_backbone.module
    for *views, _ in got.values():
        for encoder, features in zip(encoders, views, strict=True):
            for view, value in features.items():
                for sample, of_sample in zip(inputs, value, strict=True):
                    expected = encoder(sample[view]).mean(dim=(2, 3))
                    torch.testing.assert_close(of_sample, expected)
                    backwards = encoder(sample[view].flip(0)).mean(dim=(2, 3)).flip(0)
                    assert (backwards - expected).abs().max() > 0.01  # the order matters


def test_frames_of_different_views_are_never_mixed():
    model, inputs = build_tsm(num_segments=9), images()
    for views, segments in ((inputs, 3), (inputs.flatten(1, 2)[:, None], (3, 3, 3))):
        with refused('^model.backbone.num_segments is 9, but a view or video has 3 frames;'):
            model.loss(views, told(segments, len(inputs)))
    with refused('num_segments is 9, but a view or video has 4 frames'):
        model(torch.zeros(9, 4, 3, 32, 32))  # 36 would do for 4 groups of 9


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
    got = views_of_heads(model)
    several = torch.tensor([0.0, 1.0, 1.0])  # as a data set with multi_class=True has them
    samples = [
        sample(gt_label=7, query_in_second_half=1),
        sample(query_in_second_half=0),
        sample(gt_label=-1, query_in_second_half=torch.tensor(1)),
        sample(gt_label=several, query_in_second_half=torch.tensor([0])),
    ]
    model.loss(images(), samples)
    fields = {name: given[-1] for name, given in got.items()}
    expected = dict(
        neighbour=dict(gt_label=torch.tensor([7, -1, -1, -1])),
        seco_order=dict(query_in_second_half=torch.tensor([1, 0, 1, 0])),
        video={},
    )
    torch.testing.assert_close(fields, expected)


def test_a_field_that_no_transform_has_packed():
    samples = [sample(query_in_second_half=1)] * 3 + [sample(gt_label=2)]
    with refused(
        "^model.heads.seco_order reads 'query_in_second_half', which the data.*"
        r"PackViews\(algorithm_keys=\('query_in_second_half',\)\)"
    ):
        build_reading().loss(images(), samples)


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
    with refused(f'^model.heads.task: a {name} is {wrong}, but '):
        model.loss(images(), samples)
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
            assert all(map(torch.equal, pair, returned[name]))
            assert not any(side.requires_grad for side in pair)
            assert returned[name][0].requires_grad
            torch.testing.assert_close(torch.cat(pair).norm(dim=1), torch.ones(8))
    assert not any('pair' in key for key in outputs)
    assert set(model.state_dict()) == state
