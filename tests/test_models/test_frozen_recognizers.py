"""A probe trains its head and leaves the backbone as it was loaded, to the bit."""

import pytest
import torch
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmengine.hooks import Hook
from mmengine.runner import Runner
from processes import WORLD, run_in_processes, train
from test_backbones import MVIT, SLOWFAST, SWIN
from tiny_vclr import CHANNELS
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import Dataset

from mmssl_video.errors import UserError
from mmssl_video.models.encoding import encode

CLASSES, SEGMENTS = 5, 3
TINY_2D = dict(type='TinyBackbone', norm=True)
TINY_3D = dict(type='TinyBackbone', ndim=3, norm=True)
# MMAction2's own: their `train` freezes stages, and returns nothing.
ONE_STAGE = dict(num_stages=1, out_indices=(0,), strides=(1,), dilations=(1,))
RESNET = dict(
    type='ResNet', depth=18, pretrained=None, norm_eval=False, frozen_stages=1, **ONE_STAGE
)
SLOWONLY = dict(
    type='ResNet3dSlowOnly',
    depth=18,
    base_channels=4,
    pretrained=None,
    lateral=False,
    conv1_kernel=(1, 7, 7),
    norm_eval=False,
)


def model_cfg(backbone=TINY_2D, in_channels=CHANNELS, kind='FrozenRecognizer'):
    is_2d = backbone['type'] in ('TinyBackbone', 'ResNet') and backbone.get('ndim', 2) == 2
    ndim = 2 if is_2d else 3
    return dict(
        type=f'{kind}{ndim}D',
        backbone=backbone,
        cls_head=dict(
            type='LinearEvaluationHead',
            num_classes=CLASSES,
            in_channels=in_channels,
            average_clips='prob',
        ),
        data_preprocessor=dict(
            type='ActionDataPreprocessor',
            mean=[127.5] * 3,
            std=[64.0] * 3,
            format_shape='NCHW' if ndim == 2 else 'NCTHW',
        ),
    )


def build(seed=0, **kwargs):
    torch.manual_seed(seed)
    model = MODELS.build(model_cfg(**kwargs))
    model.init_weights()
    return model


def samples(labels):
    return [ActionDataSample().set_gt_label(int(label)) for label in labels]


class Clips(Dataset):
    """Eight noisy samples: three frames, or a clip of three, of 32 px."""

    metainfo = {}

    def __init__(self, ndim):
        shape = (8, SEGMENTS, 3, 32, 32) if ndim == 2 else (8, 1, 3, 3, 32, 32)
        generator = torch.Generator().manual_seed(1)
        self.inputs = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return dict(inputs=self.inputs[index], data_samples=samples([index % CLASSES])[0])


class Modes(Hook):
    """Notes in which mode the model's parts are, and which parameters the optimiser may move."""

    def __init__(self):
        self.modes = []

    def before_train(self, runner):
        self.head = {k: v.clone() for k, v in runner.model.cls_head.state_dict().items()}
        self.trained = [k for k, p in runner.model.named_parameters() if p.requires_grad]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        parts = runner.model.modules()
        self.modes.append({module.training for module in parts if module is not runner.model})
        self.backbone_modes = {module.training for module in runner.model.backbone.modules()}


def probe(model, tmp_path, name, optim_wrapper='OptimWrapper'):
    """Train for two epochs of two steps, with a validation after each, from a checkpoint.

    Returns:
        The runner, what the hook has noted and the backbone's tensors in the checkpoint.
    """
    source = build(seed=5, **model)
    for module in source.modules():  # statistics and shifts that no initialisation has
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                tensor.data.add_(torch.rand_like(tensor))
    state = {f'backbone.{key}': value for key, value in source.backbone.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'pretrained.pth')
    cfg = model_cfg(**model)
    data = Clips(2 if cfg['type'].endswith('2D') else 3)
    loader = dict(batch_size=4, num_workers=0, dataset=data, collate_fn=dict(type='pseudo_collate'))
    watch = Modes()
    runner = Runner(
        cfg,
        str(tmp_path / 'work'),
        train_dataloader=dict(**loader, sampler=dict(type='DefaultSampler', shuffle=True)),
        val_dataloader=dict(**loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        val_evaluator=dict(type='AccMetric'),
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        val_cfg=dict(),
        # Whatever gets a gradient, or is given to the optimiser with one, would move far.
        optim_wrapper=dict(
            type=optim_wrapper, optimizer=dict(type='SGD', lr=1.0, momentum=0.9, weight_decay=0.1)
        ),
        custom_hooks=[dict(type='BackboneLoadHook'), watch],
        load_from=str(tmp_path / 'pretrained.pth'),
        default_scope='mmaction',
        experiment_name=f'probe {name}',  # MMEngine keeps loggers by it
        log_level='WARNING',
        randomness=dict(seed=0),
    )
    runner.train()
    return runner, watch, state


@pytest.mark.parametrize(
    ('name', 'model'),
    [
        ('3D', dict(backbone=TINY_3D)),
        ('ResNet', dict(backbone=RESNET, in_channels=64)),
        ('SlowOnly', dict(backbone=SLOWONLY, in_channels=32)),
        ('amp', dict()),
    ],
)
def test_probe_leaves_the_backbone_as_it_was_loaded(name, model, tmp_path):
    wrapper = 'Bf16OptimWrapper' if name == 'amp' else 'OptimWrapper'
    runner, watch, loaded = probe(model, tmp_path, name, wrapper)
    state = runner.model.state_dict()
    assert any('running_var' in key for key in loaded)
    for key, value in loaded.items():
        assert torch.equal(state[key], value), key
    assert runner.iter == 4
    assert watch.trained == ['cls_head.fc_cls.weight', 'cls_head.fc_cls.bias']
    assert watch.modes == [{True, False}] * 4  # the head's, the backbone's
    assert watch.backbone_modes == {False}
    for key, value in watch.head.items():
        assert (state[f'cls_head.{key}'] - value).abs().max() > 1e-3, key
    checkpoint = torch.load(tmp_path / 'work' / 'epoch_2.pth', weights_only=False)['state_dict']
    assert all(torch.equal(checkpoint[key], value) for key, value in loaded.items())


def test_an_ordinary_recognizer_would_not(tmp_path):
    """Its weights and its statistics move in the same run, so that the test above can tell."""
    runner, _, loaded = probe(dict(kind='Recognizer'), tmp_path, 'ordinary')
    state = runner.model.state_dict()
    assert not any(torch.equal(state[key], value) for key, value in loaded.items())


def test_stays_in_eval_mode_whatever_is_called():
    model = build()
    for call in (model.train, model.eval, lambda: model.train(True), lambda: model.train(False)):
        assert call() is model
        assert not any(module.training for module in model.backbone.modules())
    model.train()
    assert model.training and model.cls_head.training


def test_loss_is_that_of_the_layer_alone():
    model = build().double().train()
    inputs = torch.randn(4, SEGMENTS, 3, 32, 32, dtype=torch.float64)
    labels = torch.tensor([0, 4, 2, 2])
    loss = model(inputs, samples(labels), mode='loss')['loss_cls']
    features, kwargs = model.extract_feat(inputs)
    assert features.grad_fn is None and kwargs['num_segs'] == SEGMENTS
    loss.backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    features = features.mean(dim=(2, 3)).view(4, SEGMENTS, CHANNELS).mean(dim=1)
    features = features / features.square().sum(dim=1, keepdim=True).sqrt()
    layer = model.cls_head.fc_cls
    scores = features @ layer.weight.T + layer.bias
    log_p = scores.log_softmax(dim=1)
    expected = -sum(log_p[i, label].item() for i, label in enumerate(labels)) / 4
    assert loss.item() == pytest.approx(expected)
    error = scores.softmax(dim=1) - torch.eye(CLASSES, dtype=torch.float64)[labels]
    torch.testing.assert_close(layer.weight.grad, error.T @ features / 4)


def test_probabilities_of_views_are_averaged():
    model = build(backbone=TINY_3D).eval()
    model.cls_head.fc_cls.weight.data.mul_(300)  # far from equal
    views = torch.randn(2, 4, 3, 3, 32, 32)  # two videos of four views each
    with torch.no_grad():
        predicted = model(views, samples([0, 1]), mode='predict')
        for video, sample in zip(views, predicted, strict=True):
            mean = torch.zeros(CLASSES)
            for view in video:
                feature = model.backbone(view[None])[0].mean(dim=(1, 2, 3))
                layer = model.cls_head.fc_cls
                scores = layer.weight @ (feature / feature.norm()) + layer.bias
                mean += scores.softmax(dim=0) / 4
            torch.testing.assert_close(sample.pred_score, mean)
            assert sample.pred_label.item() == mean.argmax()


@pytest.mark.parametrize(
    ('backbone', 'in_channels'),
    [(SLOWFAST, 144), (MVIT, 32), (dict(SWIN, out_indices=(0, 1)), 16)],
    ids=['SlowFast', 'MViT', 'VideoSwin'],
)
def test_of_several_outputs_the_feature_is_that_of_pretraining(backbone, in_channels):
    backbone = dict(backbone, pretrained=None)
    model = build(backbone=backbone, in_channels=in_channels)
    plain = MODELS.build(backbone)
    plain.eval()
    plain.load_state_dict(model.backbone.state_dict())
    clips, labels = torch.randn(2, 2, 3, 8, 32, 32), torch.tensor([0, 3])
    features = normalize(encode(plain, clips, 'NCTHW'), dim=-1)
    scores = model.cls_head.fc_cls(features)
    loss = model.train()(clips[:, :1], samples(labels), mode='loss')['loss_cls']
    torch.testing.assert_close(loss, cross_entropy(scores[:, 0], labels))
    predicted = model.eval()(clips, samples(labels), mode='predict')
    expected = scores.softmax(dim=-1).mean(dim=1)
    torch.testing.assert_close(torch.stack([sample.pred_score for sample in predicted]), expected)


def test_a_neck_is_refused():
    with pytest.raises(UserError, match='model.neck: FrozenRecognizer2D trains nothing but'):
        MODELS.build(dict(**model_cfg(), neck=dict(type='ProjectionMLP')))


# Two processes ------------------------------------------------------------------------------------

BATCH, STEPS = 6, 3  # of all processes


def probe_share(rank=0, world=1):
    """Three steps on this rank's share; DDP refuses parameters that get no gradient."""
    model = build().double().train()
    start = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    shape = (STEPS, BATCH, SEGMENTS, 3, 16, 16)
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64).chunk(world, dim=1)[rank]
    labels = (torch.arange(BATCH) % CLASSES).chunk(world)[rank]
    batches = [(step, samples(labels)) for step in inputs]
    return train(model, batches, world) | dict(start=start)


def test_two_processes_train_as_one(tmp_path):
    ranks, single = run_in_processes(process, tmp_path), probe_share()
    for step in range(STEPS):
        both = [rank['losses'][step]['loss_cls'] for rank in ranks]
        assert sum(both) / WORLD == pytest.approx(single['losses'][step]['loss_cls'], rel=1e-12)
        for rank in ranks:
            assert list(rank['gradients'][step]) == [
                'cls_head.fc_cls.weight',
                'cls_head.fc_cls.bias',
            ]
            torch.testing.assert_close(rank['gradients'][step], single['gradients'][step])
    for rank in ranks:
        for key, value in rank['start'].items():
            assert torch.equal(rank['state'][f'backbone.{key}'], value), key


def process(rank):
    """The body of each process."""
    return probe_share(rank, WORLD)
