# R3D-50 on Kinetics-400, as CVRL is evaluated: clips of 32 frames, 10 clips, three crops.
# Rate and epochs are the text's ("Linear evaluation"); batch, crop, warm-up and decay the code's.
_base_ = 'linear_slowonly-r50_8x8-8x8x1-60e_kinetics400-rgb.py'

# The stem of configs/_base_/models/r3d50_cvrl.py.
model = dict(
    backbone=dict(conv1_kernel=(5, 7, 7), conv1_stride_t=2), cls_head=dict(l2_normalize=True)
)

sample_train = dict(type='SampleFrames', clip_len=32, frame_interval=2, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 10}
crop = dict(type='RandomResizedCrop', area_range=(0.3, 1.0), aspect_ratio_range=(0.5, 2.0))
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    crop,
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
    _base_.crop_three,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=100)
optim_wrapper = dict(optimizer=dict(lr=32.0, nesterov=False))
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=5,
        cosine_from='start',
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=1024)
