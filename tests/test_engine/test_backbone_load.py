"""A downstream run starts from every tensor of the pretrained backbone, or not at all."""

import logging
import re
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmaction.models import VisionTransformer
from mmaction.registry import MODELS
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import EpochBasedTrainLoop, Runner
from tiny_vclr import CHANNELS, build_tiny, write_videos

from mmssl_video.engine.hooks import BackboneLoadHook
from mmssl_video.errors import UserError

RESNET = dict(depth=18, pretrained=None, norm_eval=False)
SLOW = dict(
    type='ResNet3dSlowOnly',
    pretrained=None,
    lateral=False,
    base_channels=4,
    conv1_kernel=(1, 7, 7),
    inflate=(0, 0, 1, 1),
)
BACKBONES = {
    'tsn': dict(type='ResNet', **RESNET),
    'tsm': dict(type='ResNetTSM', num_segments=2, pretrained2d=False, **RESNET),
    'tsm-block': dict(
        type='ResNetTSM', num_segments=2, pretrained2d=False, shift_place='block', **RESNET
    ),
    'slowonly': dict(depth=18, **SLOW),
    'tiny': dict(type='TinyBackbone', norm=True),
}
# ResNet-18 has 20 convolutions, and with each of them a batch normalisation of four tensors.
RESNET_18 = 20 + 4 * 20


def recognizer(name, num_classes=3):
    is_2d = name != 'slowonly'
    channels = dict(slowonly=32, tiny=CHANNELS).get(name, 512)
    return dict(
        type='Recognizer2D' if is_2d else 'Recognizer3D',
        backbone=BACKBONES[name],
        cls_head=dict(
            type='TSNHead' if is_2d else 'I3DHead',
            num_classes=num_classes,
            in_channels=channels,
            average_clips='prob',
        ),
        data_preprocessor=dict(
            type='ActionDataPreprocessor',
            mean=[127.5] * 3,
            std=[64.0] * 3,
            format_shape='NCHW' if is_2d else 'NCTHW',
        ),
    )


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Four small videos with a list."""
    folder = write_videos(tmp_path_factory.mktemp('videos'), 4)
    lines = (f'video_{number}.mp4 {number % 3}\n' for number in range(4))
    (folder / 'list.txt').write_text(''.join(lines))
    return folder


_names = (f'backbone_load_{number}' for number in range(10**6))


def config(name, videos, work_dir, **settings):
    """A run of one iteration that leaves the weights as they are."""
    shape = 'NCTHW' if name == 'slowonly' else 'NCHW'
    length, number = (4, 1) if name == 'slowonly' else (1, 2)
    pipeline = [
        dict(type='VideoInit'),
        dict(type='SampleFrames', clip_len=length, num_clips=number),
        dict(type='VideoDecode'),
        dict(type='FormatShape', input_format=shape),
        dict(type='PackActionInputs'),
    ]
    source = dict(ann_file=str(videos / 'list.txt'), data_prefix=dict(video=str(videos)))
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='VideoDataset', pipeline=pipeline, **source),
    )
    defaults = dict(
        default_scope='mmaction',
        experiment_name=next(_names),
        work_dir=str(work_dir),
        model=recognizer(name),
        train_dataloader=loader,
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0)),
        test_dataloader=loader,
        test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='AccMetric'),
        custom_hooks=[dict(type='BackboneLoadHook')],
    )
    return Config({**defaults, **settings})


class Messages(logging.Handler):
    """The messages that a runner logs."""

    def __init__(self, runner):
        super().__init__()
        self.texts = []
        runner.logger.addHandler(self)

    def emit(self, record):
        self.texts.append(record.getMessage())

    def about(self, start):
        return [text for text in self.texts if text.startswith(start)]


def randomised(module, seed=1):
    """The module's state with numbers of its own in every tensor, running statistics too."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.rand(value.shape, generator=generator).to(value.dtype)
        if value.is_floating_point()
        else torch.full_like(value, 7)
        for key, value in module.state_dict().items()
    }


def pretrained(name, prefix='backbone.'):
    """Weights of the plain network of a backbone, as pretraining writes them."""
    plain = 'tsn' if name.startswith('tsm') else name
    state = randomised(MODELS.build(BACKBONES[plain]))
    return {prefix + key: value for key, value in state.items()}


def write(path, state, **others):
    torch.save(dict(state_dict=state, **others), path)
    return str(path)


def loaded(name, videos, work_dir, path, **settings):
    """The runner and its messages after `Runner.train` has loaded the checkpoint."""
    cfg = config(name, videos, work_dir, load_from=path, **settings)
    runner = Runner.from_cfg(cfg)
    messages = Messages(runner)
    runner.train()
    return runner, messages


@pytest.mark.parametrize('name', ['tsm', 'tsm-block', 'slowonly'])
def test_every_tensor_of_the_backbone_is_the_checkpoints(name, videos, tmp_path, capsys):
    state = pretrained(name)
    others = {'target_backbone.module.x': torch.ones(2), 'heads.a.queue.embeddings': torch.ones(4)}
    path = write(tmp_path / 'pretrained.pth', {**others, **state}, meta=dict(epoch=5))
    # Before the step, whose forward moves the running statistics.
    runner = Runner.from_cfg(config(name, videos, tmp_path / 'work', load_from=path))
    messages = Messages(runner)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.load_or_resume()
    after = runner.model.backbone.state_dict()
    assert len(after) == len(state)
    for key, value in after.items():
        # MMAction2's TSM calls it layer1.0.conv1.conv.net.weight.
        assert torch.equal(value, state[f'backbone.{key}'.replace('.net', '')]), key
    wrapped = sum('.net.' in key for key in after)
    assert wrapped == {'tsm': 8, 'tsm-block': len(after) - 6, 'slowonly': 0}[name]
    assert messages.about('backbone: ') == [
        f'backbone: {RESNET_18} of {RESNET_18} tensors from {path} (weights, biases and running '
        'statistics)'
    ]
    # The classifier is the one thing that MMEngine finds missing.
    complaint = capsys.readouterr().out.split('do not match exactly')[1].split('Load checkpoint')[0]
    assert 'unexpected' not in complaint
    found = re.findall(r'[\w.]+\.(?:weight|bias)', complaint)
    assert found == ['cls_head.fc_cls.weight', 'cls_head.fc_cls.bias']


def load_here(path, model=None):
    """The tensors that the hook leaves of a file, before a recognizer is trained."""
    checkpoint = torch.load(path)
    model = model or MODELS.build(recognizer('tiny'))
    BackboneLoadHook().after_load_checkpoint(training_runner(model, path), checkpoint)
    return checkpoint['state_dict']


def test_files_of_other_shapes(tmp_path):
    """``module.``, no ``state_dict``, no counters."""
    state = pretrained('tiny')
    uncounted = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
    of_module = {f'module.{key}': value for key, value in state.items()}
    for variant, expected in ((of_module, state), (uncounted, uncounted)):
        torch.save(variant, tmp_path / 'bare.pth')
        for path in (str(tmp_path / 'bare.pth'), write(tmp_path / 'dict.pth', variant)):
            kept = load_here(path)
            assert kept.keys() == expected.keys()
            assert all(torch.equal(kept[key], state[key]) for key in kept)


def training_runner(model, path):
    """A runner that is about to train."""
    return SimpleNamespace(
        model=model,
        _resume=False,
        _train_loop=object.__new__(EpochBasedTrainLoop),
        _load_from=path,
        logger=logging.getLogger('training_runner'),
    )


def test_a_vision_transformer_starts_with_its_own_norm_and_positions(caplog):
    """Of a release, which has no positions: 2 tensors of the patches and 13 of each block."""
    settings = dict(img_size=16, patch_size=8, num_frames=2, embed_dims=12, depth=2, num_heads=3)
    source = randomised(VisionTransformer(use_mean_pooling=False, **settings))
    del source['pos_embed']
    backbone = VisionTransformer(**settings)
    runner = training_runner(SimpleNamespace(backbone=backbone), 'videomae.pth')
    checkpoint = dict(state_dict={f'backbone.{key}': value for key, value in source.items()})
    with caplog.at_level(logging.INFO, logger='training_runner'):
        BackboneLoadHook().after_load_checkpoint(runner, checkpoint)
    assert caplog.messages == [
        'backbone: 28 of 28 tensors from videomae.pth (weights, biases and running statistics); '
        'as the config builds them: fc_norm.bias, fc_norm.weight, pos_embed'
    ]
    taken = checkpoint['state_dict']
    assert taken.keys() == {f'backbone.{key}' for key in backbone.state_dict()}
    for key in source.keys() - {'norm.weight', 'norm.bias'}:
        assert torch.equal(taken[f'backbone.{key}'], source[key])


def test_tensors_that_do_not_fit_are_named(tmp_path):
    """The first ones of each kind, in one line."""
    state = pretrained('tiny')
    del state['backbone.layers.1.running_var']
    state['backbone.layers.0.bias'] = torch.ones(9)
    state |= {f'backbone.more.{number}': torch.ones(1) for number in range(3)}
    path = write(tmp_path / 'changed.pth', state)
    with pytest.raises(UserError) as error:
        load_here(path)
    message = str(error.value)
    assert message.startswith(f'{path}: its backbone does not fit the TinyBackbone of the config;')
    for problem in (
        '1 missing (backbone.layers.1.running_var)',
        '1 of another shape (backbone.layers.0.bias [9] instead of [8])',
        '3 unknown (backbone.more.0, backbone.more.1, …)',
    ):
        assert problem in message
    assert message.endswith('tools/convert_weights.py') and '\n' not in message


@pytest.mark.parametrize('prefix', ['', 'encoder_q.', 'target_backbone.module.'])
def test_a_file_without_a_backbone(prefix, tmp_path):
    found = prefix.split('.')[0] or 'layers'
    match = rf'has no backbone.… \(found {found}\); use the config .*convert_weights.py$'
    with pytest.raises(UserError, match=match):
        load_here(write(tmp_path / 'other.pth', pretrained('tiny', prefix)))


def test_a_checkpoint_of_pretraining(videos, tmp_path):
    """Of a recognizer with momentum copies and queues: the online network is taken."""
    model = build_tiny(backbone=BACKBONES['tiny'])
    model.load_state_dict(randomised(model))
    path = write(tmp_path / 'vclr.pth', model.state_dict())
    runner, messages = loaded('tiny', videos, tmp_path / 'work', path)
    source = model.backbone.state_dict()
    for key, value in runner.model.backbone.named_parameters():
        assert torch.equal(value, source[key]), key
    assert messages.about('backbone: 12 of 12 tensors from ')
    assert not messages.about('backbone: starts')


def test_the_classifier_is_taken_if_asked_for(videos, tmp_path):
    model = MODELS.build(recognizer('tiny'))
    state = randomised(model)
    path = write(tmp_path / 'recognizer.pth', state)
    hooks = [dict(type='BackboneLoadHook', load_head=True)]
    runner, messages = loaded('tiny', videos, tmp_path / 'a', path, custom_hooks=hooks)
    assert torch.equal(runner.model.cls_head.fc_cls.weight, state['cls_head.fc_cls.weight'])
    assert messages.about(f'cls_head: 2 of 2 tensors from {path}')
    runner, messages = loaded('tiny', videos, tmp_path / 'b', path)
    assert not torch.equal(runner.model.cls_head.fc_cls.weight, state['cls_head.fc_cls.weight'])
    assert not messages.about('cls_head')
    wider = dict(custom_hooks=hooks, model=recognizer('tiny', num_classes=5))
    with pytest.raises(UserError, match=r'its cls_head does not fit .* remove load_head from'):
        loaded('tiny', videos, tmp_path / 'c', path, **wider)


def test_a_resumed_run_and_a_test_keep_their_classifier(videos, tmp_path):
    path = write(tmp_path / 'pretrained.pth', pretrained('tiny'))
    runner, _ = loaded('tiny', videos, tmp_path / 'work', path)
    head = runner.model.cls_head.fc_cls.weight.detach().clone()
    checkpoint = str(tmp_path / 'work' / 'epoch_1.pth')

    runner.model.cls_head.fc_cls.weight.data.zero_()
    runner.load_checkpoint(checkpoint)  # of its own, after training
    assert torch.equal(runner.model.cls_head.fc_cls.weight, head)

    resume = dict(resume=True, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2))
    for name, run, settings in (('test', Runner.test, {}), ('work', Runner.train, resume)):
        cfg = config('tiny', videos, tmp_path / name, load_from=checkpoint, **settings)
        runner = Runner.from_cfg(cfg)
        messages = Messages(runner)
        run(runner)
        assert torch.equal(runner.model.cls_head.fc_cls.weight, head)
        assert not messages.about('backbone')
    assert runner.epoch == 2


def test_a_test_needs_every_tensor_of_the_model(tmp_path):
    """As MMEngine will load it: ``module.`` is removed, and constants may be missing."""
    model = MODELS.build(recognizer('tiny'))
    model.register_buffer('grid', torch.ones(2))
    state = {key: value for key, value in randomised(model).items() if key != 'grid'}

    def load(**changes):
        """The tensors for a test, after changes; those that are None are removed."""
        changed = {k: v for k, v in (state | changes).items() if v is not None}
        checkpoint = dict(model={f'module.{key}': value for key, value in changed.items()})
        runner = training_runner(model, 'a.pth')
        runner._train_loop = {}  # not built
        BackboneLoadHook().after_load_checkpoint(runner, checkpoint)
        return checkpoint['state_dict']

    counter = 'backbone.layers.1.num_batches_tracked'
    assert load().keys() == state.keys()
    assert load(**{counter: None}).keys() == state.keys() - {counter}
    mean, bias = 'backbone.layers.1.running_mean', 'cls_head.fc_cls.bias'
    for changes, fault in (
        ({mean: None}, f'{mean} is missing;'),
        ({bias: torch.ones(4)}, rf'{bias} is \[4\] instead of \[3\]; use the config'),
        ({'grid': torch.ones(3)}, 'grid is .3. instead of .2.;'),
        ({'backbone.more': torch.ones(1)}, 'backbone.more is unknown;'),
        ({mean: None, bias: None}, f'{mean} is missing, {bias} is missing;'),
        ({mean: None, bias: None, 'grid': torch.ones(3)}, 'is missing and 1 more;'),
        ({key: None for key in state if key.startswith('cls_head')}, 'fine-tune a checkpoint'),
    ):
        with pytest.raises(UserError, match=f'^a.pth: .*{fault}'):
            load(**changes)


def test_a_run_from_random_weights_is_told(videos, tmp_path):
    _, messages = loaded('tiny', videos, tmp_path / 'a', None)
    (warning,) = messages.about('backbone: ')
    assert 'starts from random weights' in warning and 'set load_from to' in warning


def test_weights_that_the_config_names_itself(tmp_path, caplog):
    """Told are those that MMAction2 leaves random: an init_cfg that nothing reads, other names."""

    def begin(name, **settings):
        """The backbone with these settings, and whether the hook says that it starts at random."""
        model = MODELS.build(dict(recognizer(name), backbone={**BACKBONES[name], **settings}))
        model.init_weights()
        caplog.clear()
        BackboneLoadHook().before_train(training_runner(model, None))
        warned = any(each.startswith('backbone: starts from rand') for each in caplog.messages)
        loaded = torch.equal(next(model.backbone.parameters()), first[name])
        return loaded, warned

    ours, bare, first = {}, {}, {}
    for name in ('tsn', 'slowonly'):
        state = pretrained(name)
        first[name] = state['backbone.conv1.conv.weight']
        ours[name] = write(tmp_path / f'{name}.pth', state)
        state = {key.removeprefix('backbone.'): value for key, value in state.items()}
        bare[name] = write(tmp_path / f'{name}_bare.pth', state)

    def init_cfg(path, **prefix):
        return dict(type='Pretrained', checkpoint=path, **prefix)

    plain = dict(torchvision_pretrain=False)
    for name, settings in (
        ('tsn', dict(init_cfg=init_cfg(ours['tsn'], prefix='backbone.'))),
        ('tsn', dict(init_cfg=[init_cfg(bare['tsn'])])),
        ('tsn', dict(plain, pretrained=bare['tsn'])),
        ('slowonly', dict(pretrained=bare['slowonly'], pretrained2d=False)),
    ):
        assert begin(name, **settings) == (True, False), settings
    unread = init_cfg(ours['slowonly'], prefix='backbone.')
    assert begin('slowonly', init_cfg=unread) == (False, True)
    for name, settings in (
        ('slowonly', dict(pretrained=ours['slowonly'], pretrained2d=False)),
        ('slowonly', dict(pretrained=ours['tsn'])),  # to be inflated
        ('tsn', dict(plain, pretrained=ours['tsn'])),
        ('tsn', dict(init_cfg=init_cfg(ours['tsn']))),
    ):
        path = settings.get('pretrained') or settings['init_cfg']['checkpoint']
        with pytest.raises(UserError, match=f'^{path}: .* backbone.…, .*; use load_from={path}$'):
            begin(name, **settings)


def test_a_frozen_recognizer_behind_a_distributed_wrapper(tmp_path):
    state = pretrained('tiny')
    path = write(tmp_path / 'pretrained.pth', state)
    model = MODELS.build(dict(recognizer('tiny'), type='FrozenRecognizer2D'))
    dist.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        kept = load_here(path, MMDistributedDataParallel(model, device_ids=None))
    finally:
        dist.destroy_process_group()
    assert kept.keys() == state.keys()
    model.load_state_dict(kept, strict=False)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[f'backbone.{key}']), key
