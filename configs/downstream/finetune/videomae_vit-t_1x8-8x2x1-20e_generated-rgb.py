# A small vision transformer for one CPU, clips of 8 frames at 64 pixels. Layer decay is as at full
# size; mixup, cutmix, RandAugment and erasing are left out, since they need more steps.
_base_ = 'slowonly-r18_1x8-4x2x1-20e_generated-rgb.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='VisionTransformer',
        img_size=64,
        patch_size=16,
        embed_dims=192,
        depth=6,
        num_heads=3,
        num_frames=8,
        drop_path_rate=0.1,
    ),
    cls_head=dict(
        _delete_=True, type='TimeSformerHead', num_classes=12, in_channels=192, average_clips='prob'
    ),
)

sample_train = dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=1)
sample_val = dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=1, test_mode=True)
sample_test = dict(type='SampleFrames', clip_len=8, frame_interval=2, num_clips=6, test_mode=True)
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.crop,
    _base_.resize,
    _base_.flip,
    _base_.shape_clips,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_val,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.003, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(decay_rate=0.75, decay_type='layer_wise', num_layers=6),
)
param_scheduler = [
    dict(type='WarmupCosineLR', warmup=2, begin=0, by_epoch=True, convert_to_iter_based=True)
]
