# VCLR for one CPU and a few minutes: `bash tools/demo.sh`. All that differs from the paper's recipe
# is the size: network, pictures, batch, queues and length.
_base_ = [
    '../_base_/models/vclr_r50.py',
    '../_base_/datasets/vclr_videos.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

projector = dict(type='ProjectionMLP', in_channels=512, hidden_channels=512, out_channels=128)
model = dict(
    backbone=dict(depth=18),
    heads=dict(
        # A queue holds a fraction of the videos; a longer one would hold the query's own.
        inter=dict(projector=projector, queue_size=256),
        intra=dict(projector=projector),
        video=dict(projector=projector, queue_size=256),
        order=dict(projector=projector),
    ),
    # The target network follows over some 100 iterations of the 600, not 1000.
    momentum=0.99,
)

SIZE = 64
augment = dict(
    type='SharedAugment',
    share='frame',
    transforms=[
        dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
        dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(
            type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.8
        ),
        dict(type='ClipGrayscale', prob=0.2),
        # The paper's blur at 224 pixels, scaled to these.
        dict(type='ClipGaussianBlur', sigma_range=(0.1, 0.6), prob=0.5),
    ],
)
train_pipeline = [*_base_.train_pipeline[:3], augment, *_base_.train_pipeline[4:]]
feature_pipeline = [
    *_base_.feature_pipeline[:3],
    dict(type='Resize', scale=(-1, SIZE * 8 // 7)),
    dict(type='CenterCrop', crop_size=SIZE),
    *_base_.feature_pipeline[5:],
]
train_dataloader = dict(
    batch_size=32, num_workers=2, dataset=dict(bad_videos='raise', pipeline=train_pipeline)
)

train_cfg = dict(max_epochs=20)
# 0.1 per 256 samples would be 0.0125; so short a run learns faster with more.
optim_wrapper = dict(optimizer=dict(lr=0.06))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=1,
        end=20,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=32)

default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=2, max_keep_ckpts=1))
custom_hooks = [*_base_.custom_hooks, dict(type='ProgressBarHook')]
