# VCLR for one CPU and a few minutes: `bash tools/demo.sh`. Network, pictures, batch, queues and
# length are smaller than in the paper's recipe, and training starts from scratch. The comments
# below say what this needs.
_base_ = [
    '../_base_/models/vclr_r50.py',
    '../_base_/datasets/frames.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

# With random weights and few iterations, the network could solve InfoNCE without the content of the
# videos. Three things prevent it (docs/choosing.md, "What makes a small run stable"):
# - normalisation, also after the last layer. Without it, all embeddings share a part that drifts
#   with the weights, and keys in the queue are recognised by their age;
# - a queue that holds only the last batch, for the same reason;
# - a temperature high enough that more than the few nearest of the random directions count. The
#   paper's 0.1 is for embeddings that are in order.
projector = dict(
    type='ProjectionMLP',
    in_channels=512,
    hidden_channels=512,
    out_channels=128,
    norm_cfg=dict(type='BN1d'),
    norm_last=True,
)
temperature = 0.2
queue_size = 32
model = dict(
    backbone=dict(depth=18),
    heads=dict(
        _delete_=True,
        inter=dict(
            type='InterFrameHead',
            projector=projector,
            queue_size=queue_size,
            temperature=temperature,
        ),
        intra=dict(type='IntraFrameHead', projector=projector, temperature=temperature),
        video=dict(
            type='MoCoHead',
            projector=projector,
            queue_size=queue_size,
            temperature=temperature,
        ),
        # No order: the generated scenes look the same played backwards.
    ),
    channels_last=True,  # faster on a CPU
    # At 0.999, the target network would be a mean over more iterations than the run has.
    momentum=0.9,
)

SIZE = 64
resize = dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=False)
# The paper's blur for 224 pixels, scaled to this size.
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
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
)
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

default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=1, max_keep_ckpts=2))
custom_hooks = [*_base_.custom_hooks, dict(type='ProgressBarHook')]
