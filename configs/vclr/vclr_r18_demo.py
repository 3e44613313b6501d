# VCLR for one CPU and a few minutes: `bash tools/demo.sh`. Smaller than the paper's recipe in
# network, pictures, batch, queues and length, and from scratch; what that asks for is said below.
_base_ = [
    '../_base_/models/vclr_r50.py',
    '../_base_/datasets/frames.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

# The authors start from MoCo v2's weights. From random ones, all embeddings of a plain MLP are
# alike and stay so for hundreds of iterations; normalisation sets them apart from the first.
projector = dict(
    type='ProjectionMLP',
    in_channels=512,
    hidden_channels=512,
    out_channels=128,
    norm_cfg=dict(type='BN1d'),
)
model = dict(
    backbone=dict(depth=18),
    heads=dict(
        # A fraction of the 600 videos: a longer queue would hold the query's own video.
        inter=dict(projector=projector, queue_size=128),
        intra=dict(projector=projector),
        video=dict(projector=projector, queue_size=128),
        order=dict(projector=projector),
    ),
    # At 0.999 the target network would be a mean over more iterations than there are.
    momentum=0.9,
)

SIZE = 64
resize = dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=False)
# The paper's blur at 224 pixels, scaled to these.
blur = dict(type='ClipGaussianBlur', sigma_range=(0.1, 0.6), prob=0.5)
augment = dict(
    type='SharedAugment',
    share='frame',
    transforms=[_base_.crop, resize, _base_.flip, _base_.jitter, _base_.grayscale, blur],
)
train_pipeline = [
    _base_.open_video,
    _base_.sample_tuples,
    _base_.decode_video,
    augment,
    _base_.format_frames,
    _base_.pack,
]
feature_pipeline = [
    _base_.open_video,
    _base_.sample_features,
    _base_.decode_video,
    dict(type='Resize', scale=(-1, SIZE * 8 // 7)),
    dict(type='CenterCrop', crop_size=SIZE),
    _base_.shape_frames,
    _base_.pack,
]
train_dataloader = dict(
    batch_size=32, num_workers=2, dataset=dict(bad_videos='raise', pipeline=train_pipeline)
)

train_cfg = dict(max_epochs=20)
# 0.1 per 256 samples would be 0.0125; so short a run takes larger steps.
optim_wrapper = dict(optimizer=dict(lr=0.03))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=2,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=2,
        end=20,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=32)

default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=1, max_keep_ckpts=1))
custom_hooks = [*_base_.custom_hooks, dict(type='ProgressBarHook')]
