"""Every method trains: a short run of each small recipe; and its losses start at chance."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from config_helpers import SMALL, load, shrink
from mmaction.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import Runner
from waiting import Waiting

from mmssl_video.datasets import UnlabeledVideoDataset
from mmssl_video.datasets.collection import write_list
from mmssl_video.datasets.motion import index_motion
from mmssl_video.generated.scenes import CLASSES, write_videos
from mmssl_video.models.heads import MoCoHead

VCLR = 'vclr/vclr_slowonly-r18_1x16-4x2x3-16e_generated-rgb.py'
NUM_VIDEOS, BATCH = 12, 4


def write_labelled_videos(root):
    """Videos of 20 frames with labels and motion: their folder, with the list ``train.txt``."""
    classes = CLASSES[:4]
    entries = write_videos(root, NUM_VIDEOS // 4, seed=0, classes=classes, num_frames=20)
    write_list(root / 'train.txt', entries)
    index_motion(UnlabeledVideoDataset([], str(root / 'train.txt'), dict(video=str(root))))
    return root


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    return write_labelled_videos(tmp_path_factory.mktemp('videos'))


def short_run(path, videos, work_dir):
    """The recipe in little, with queues that go round; one epoch, for SwAV two."""
    cfg = shrink(load(path))
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = f'short run of {Path(path).stem}'  # MMEngine keeps loggers by it
    cfg.log_level = 'WARNING'
    cfg.randomness = dict(seed=0)
    cfg.train_cfg.max_epochs = 1
    for schedule in cfg.param_scheduler:
        schedule.warmup = 1
    for head in cfg.model.heads.values():
        if head.type == 'SwAVHead':
            cfg.train_cfg.max_epochs = 2  # the prototypes are frozen in the first
            head.update(num_prototypes=4, freeze_epochs=1)
        if 'queue_size' in head:
            several_keys = head.type == 'VINCEHead' or len(head.get('key_views', ())) > 1
            head.queue_size = 18 if several_keys else 10
    data = cfg.train_dataloader
    data.update(batch_size=BATCH, num_workers=0, persistent_workers=False)
    data.dataset.update(
        ann_file=str(videos / 'train.txt'), data_prefix=dict(video=str(videos)), bad_videos='raise'
    )
    return cfg


class Watch(Hook):
    """Notes every loss, the largest gradient of every parameter and what waits for a GPU.

    It also follows the target network.
    """

    def __init__(self, has_schedule):
        self.has_schedule = has_schedule
        self.outputs = []

    def before_train(self, runner):
        model = runner.model
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.gradients = {name: [] for name, p in model.named_parameters() if p.requires_grad}
        for name in self.gradients:
            model.get_parameter(name).register_hook(
                lambda grad, largest=self.gradients[name]: largest.append(grad.abs().max().item())
            )
        self.waiting, compute = Waiting(), model.loss

        def loss(*args, **kwargs):
            with self.waiting:
                return compute(*args, **kwargs)

        model.loss = loss
        self.momentum = model.momentum
        self.copies = [list(copy.module.parameters()) for copy in model.momentum_copies]
        self.sources = [list(copy.source.parameters()) for copy in model.momentum_copies]
        self.expected = [[p.clone() for p in copy] for copy in self.copies]

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """The mean that the target network is to hold in this iteration (BYOL, Sec. 3.2)."""
        momentum = self.momentum
        if self.has_schedule:
            rest = (1 + math.cos(math.pi * runner.iter / runner.max_iters)) / 2
            momentum = 1 - (1 - self.momentum) * rest
        for means, sources in zip(self.expected, self.sources, strict=True):
            for mean, source in zip(means, sources, strict=True):
                mean.mul_(momentum).add_(source.detach(), alpha=1 - momentum)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.outputs.append({name: value.item() for name, value in outputs.items()})


# The ablations of CVRL have its model, and their views are tested below.
@pytest.mark.parametrize('path', [path for path in SMALL if not path.startswith('cvrl/cvrl-')])
def test_method_trains(path, videos, tmp_path):
    cfg = short_run(path, videos, tmp_path)
    runner = Runner.from_cfg(cfg)
    watch = Watch(any(hook.type == 'MomentumScheduleHook' for hook in cfg.custom_hooks))
    runner.register_hook(watch)
    model = runner.train()

    # Losses.
    epochs, per_epoch = cfg.train_cfg.max_epochs, NUM_VIDEOS // BATCH
    assert len(watch.outputs) == epochs * per_epoch
    for outputs in watch.outputs:
        assert all(map(math.isfinite, outputs.values())), outputs
        losses = [outputs[f'loss_{name}'] for name in cfg.model.heads]
        assert outputs['loss'] == pytest.approx(sum(losses), rel=1e-5)

    assert watch.waiting.found == []

    # Gradients: of every weight of the online network, and of no other.
    assert {name for name, p in model.named_parameters() if 'target' not in name} == set(
        watch.gradients
    )
    for name, gradients in watch.gradients.items():
        assert len(gradients) == len(watch.outputs)
        assert all(map(math.isfinite, gradients)), name
        assert max(gradients) > 0, name
        frozen = [gradient == 0 for gradient in gradients[:per_epoch]]
        assert all(frozen) == ('prototypes' in name), name

    # The target network is the moving average of the weights before each iteration.
    assert bool(watch.copies) == bool(model.target_views)
    for copy, means, source in zip(watch.copies, watch.expected, watch.sources, strict=True):
        for parameter, mean, online in zip(copy, means, source, strict=True):
            torch.testing.assert_close(parameter, mean, rtol=1e-5, atol=1e-7)
            assert not torch.equal(parameter, online)
    for name, parameter in model.named_parameters():
        assert not torch.equal(parameter, watch.start[name]), name

    # Queues.
    for name, head in model.heads.items():
        if getattr(head, 'queue', None) is not None:
            enqueued = NUM_VIDEOS * epochs * head.keys_per_sample
            assert int(head.queue.num_filled) == head.queue.size < enqueued, name
            assert int(head.queue.pointer) == enqueued % head.queue.size, name
            # An entry of SwAV's holds the embeddings of all views of a video.
            entries = head.queue.embeddings.unflatten(1, (-1, head.projector.out_channels))
            lengths = entries.norm(dim=2)
            torch.testing.assert_close(lengths, torch.ones_like(lengths))

    # The checkpoint holds all of it, fits the config and is finite.
    saved = torch.load(tmp_path / f'epoch_{epochs}.pth', weights_only=False)
    assert saved['state_dict'].keys() == model.state_dict().keys()
    again = MODELS.build(cfg.model)
    again.load_state_dict(saved['state_dict'])
    trained = model.state_dict()
    for key, value in again.state_dict().items():
        assert torch.equal(value, trained[key]), key
        assert torch.isfinite(value).all(), key
    assert saved['meta']['iter'] == len(watch.outputs)


@pytest.mark.parametrize(
    'read',
    [
        lambda x: x[0].item(),
        lambda x: int(x[0]),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        torch.unique,
        lambda x: x.clone().__setitem__(x > 0, 1),
        lambda x: x.nonzero(),
    ],
)
def test_what_waits_for_a_gpu_is_found(read):
    with Waiting() as waiting:
        x = torch.arange(3.0)
        torch.where(x > 0, x, 0)[torch.tensor([0, 2])].sum().log()
        assert waiting.found == []
        read(x)
    assert len(waiting.found) == 1


# -------------------------------------------------------------------------------- ablations


def draw(path, num_frames):
    """One sample of a video that stands still.

    Returns:
        First frame of each clip, int [V * S], and for each of its frames the number of its
        picture, int [V * S, T]: frames that were given the same augmentation look the same.
    """
    steps = [
        TRANSFORMS.build(step)
        for step in load(path).train_pipeline
        if step.type not in ('VideoInit', 'VideoDecode', 'PackViews')
    ]
    results = steps[0](dict(total_frames=num_frames, start_index=0, modality='RGB'))
    inds = results['frame_inds'].reshape(-1, results['clip_len'])
    assert set(np.diff(inds).flat) == {2}
    image = np.random.default_rng(0).integers(0, 256, (72, 96, 3), dtype=np.uint8)
    results.update(imgs=[image] * inds.size, img_shape=image.shape[:2])
    for step in steps[1:]:
        results = step(results)
    views = results['imgs']  # [V, S, C, T, H, W]
    frames = np.moveaxis(views, 3, 2).reshape(inds.size, -1)
    _, pictures = np.unique(frames, axis=0, return_inverse=True)
    return inds[:, 0], pictures.reshape(inds.shape)


@pytest.mark.parametrize(
    ('path', 'num_pictures', 'same_start'),
    [
        pytest.param('cvrl/cvrl-ta_{}', 1, False, id='CVRL, TA: nothing is augmented'),
        pytest.param('cvrl/cvrl-sa_{}', 8, True, id='CVRL, SA: a draw per frame, one clip'),
        pytest.param('cvrl/cvrl-ta-sa_{}', 8, False, id='CVRL, TA + SA: a draw per frame'),
        pytest.param('cvrl/cvrl_{}', 2, False, id='CVRL, TA + SA + TC: a draw per clip'),
    ],
)
def test_ablation_of_cvrl(path, num_pictures, same_start):
    """Table 4: which frames share a draw, and where the two clips start."""
    np.random.seed(0)
    path = path.format(f'slowonly-r18_1x16-4x2x{1 if same_start else 2}-16e_generated-rgb.py')
    starts, pictures = draw(path, 30)
    assert (starts[0] == starts[1]) == same_start
    assert len(np.unique(pictures)) == num_pictures
    if num_pictures == 2:
        assert (pictures == pictures[:, :1]).all()
    # All else is the full method's.
    cfg, full = load(path), load('cvrl/cvrl_slowonly-r18_1x16-4x2x2-16e_generated-rgb.py')
    assert cfg.model == full.model
    augmented = [step for step in cfg.train_pipeline if step.type == 'SharedAugment']
    assert [step.transforms for step in augmented] == [full.augment.transforms] * len(augmented)
    (sampler,) = (step for step in cfg.train_pipeline if step.type == 'SampleClipPair')
    assert same_start or sampler.get('gap', 'decreasing') == 'decreasing'  # as the paper draws it


def test_views_of_vclr():
    """The anchor tuple twice and another tuple between; a draw for each clip."""
    np.random.seed(0)
    starts, pictures = draw(VCLR, 60)
    anchor, positive, again = starts.reshape(3, 3)
    assert (anchor == again).all()
    assert (anchor != positive).all()
    assert (anchor // 20 == [0, 1, 2]).all() and (positive // 20 == [0, 1, 2]).all()
    assert (pictures == pictures[:, :1]).all()
    assert len(np.unique(pictures)) == 9


READS = dict(inter=2, intra=2, video=1, order=1)  # the view each objective reads as its target


@pytest.fixture(scope='module')
def vclr():
    """The small recipe's model with filled queues, in evaluation mode; a batch; its losses."""
    torch.manual_seed(0)
    cfg = load(VCLR)
    for name in ('inter', 'video'):
        cfg.model.heads[name].queue_size = 8
    model = MODELS.build(cfg.model)
    model.init_weights()
    batch = torch.randn(4, 3, 3, 3, 4, 32, 32)
    model.loss(batch, [])
    return cfg, model.state_dict(), batch, losses_of(model, batch)


def losses_of(model, batch):
    """Losses without batch statistics, each objective with the same draws in any company."""
    model.eval()
    for head in model.heads.values():
        loss = head.loss
        head.loss = lambda *views, loss=loss: (torch.manual_seed(0), loss(*views))[1]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    losses = {k: v.item() for k, v in model.loss(batch, []).items() if k.startswith('loss_')}
    model.load_state_dict(state)
    return losses


@pytest.mark.parametrize(
    'kept',
    [
        ('intra',),
        ('inter',),
        ('video',),
        ('order',),
        ('inter', 'intra', 'order'),
        ('inter', 'intra', 'video', 'order'),
    ],
    ids=' + '.join,
)
def test_ablation_of_vclr(vclr, kept):
    """Table 6: an objective that is None is gone, and the others have the losses they had."""
    cfg, state, batch, losses = vclr
    cfg = cfg.copy()
    cfg.merge_from_dict({f'model.heads.{name}': None for name in READS if name not in kept})
    model = MODELS.build(cfg.model)
    assert tuple(model.heads) == kept
    assert model.online_views == [0]
    assert model.target_views == sorted({READS[name] for name in kept})
    wanted = model.state_dict().keys()
    others = [f'heads.{name}.' for name in READS if name not in kept]
    assert not any(key.startswith(tuple(others)) for key in wanted if others)
    model.load_state_dict({key: state[key] for key in wanted})
    assert losses_of(model, batch) == pytest.approx(
        {f'loss_{name}': losses[f'loss_{name}'] for name in kept}
    )


# ----------------------------------------------------------------------------- at the start


def fill_queue(head):
    """Repeat what is in the queue until it is full."""
    queue = getattr(head, 'queue', None)
    if queue is not None:
        filled = queue.entries
        queue.embeddings.copy_(filled.repeat(-(-queue.size // len(filled)), 1)[: queue.size])
        queue.num_filled = queue.size


@pytest.mark.parametrize(
    'path',
    [
        'vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py',
        'rho_byol/rho-byol_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py',
        'rho_swav/rho-swav_slowonly-r50_8x8-8x8x2-200e_kinetics400-rgb.py',
    ],
)
def test_losses_of_random_weights_are_near_chance(path, videos):
    """The papers' heads and (full) queues on features of ResNet-18: 5 % from what is printed.

    10 % for the ρ family: three-layer projections spread the videos more, which at temperature 0.1
    adds some 6 %, and BYOL's random prediction leans to its target or away from it. Not the
    intra-frame objective: two or three frames of one video are told apart, rightly or wrongly, by
    any weights.
    """
    tolerance = 0.1 if path.startswith('rho') else 0.05
    cfg = load(path)
    cfg.model.backbone.depth = 18
    for head in cfg.model.heads.values():
        head.projector.in_channels = 512
    dataset_cfg = cfg.train_dataloader.dataset
    dataset_cfg.update(ann_file=str(videos / 'train.txt'), data_prefix=dict(video=str(videos)))
    for step in dataset_cfg.pipeline:
        for inner in step.get('transforms', []):
            if inner.type == 'Resize':
                inner.scale = (32, 32)
    dataset = DATASETS.build(dataset_cfg)
    dataset.set_epoch(seed=0, epoch=0)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    for head in model.heads.values():
        if hasattr(head, 'set_epoch'):
            head.set_epoch(0)
    num_videos = 8
    samples = pseudo_collate([dataset[index] for index in range(num_videos)])
    batch = model.data_preprocessor(samples, training=True)
    with torch.no_grad():
        model(**batch, mode='loss')
        for head in model.heads.values():
            fill_queue(head)
        outputs = model(**batch, mode='loss')
    for name, head in model.heads.items():
        if name != 'intra' or isinstance(head, MoCoHead):
            chance = head.chance_level(num_videos)
            assert outputs[f'loss_{name}'].item() == pytest.approx(chance, rel=tolerance), name
