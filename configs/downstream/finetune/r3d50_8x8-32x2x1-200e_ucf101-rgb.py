# CVRL's R3D-50 on UCF101. CVRL's fine-tuning is not published: clips are those of its linear
# protocol, 32 frames two apart; the rest is that of the ρ family.
_base_ = 'slowonly-r50_8x8-8x8x1-200e_ucf101-rgb.py'

model = dict(backbone=dict(conv1_kernel=(5, 7, 7), conv1_stride_t=2))

sample_train = dict(type='SampleFrames', clip_len=32, frame_interval=2, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 10}
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop,
    _base_.resize,
    _base_.flip,
    _base_.jitter,
    _base_.grayscale,
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
