# Labelled clips of UCF101 for S3D, as in CoCLR: 32 consecutive frames, at 128 pixels.
_base_ = 'ucf101_labelled_clips.py'

sample_train = dict(type='SampleFrames', clip_len=32, frame_interval=1, num_clips=1)
sample_val = {**sample_train, 'test_mode': True}
sample_test = {**sample_val, 'num_clips': 10}
crop_resized = dict(type='RandomResizedCrop', area_range=(0.2, 1.0))
resize = dict(type='Resize', scale=(128, 128), keep_ratio=False)
jitter = dict(
    type='ClipColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, prob=0.3
)
resize_short = dict(type='Resize', scale=(-1, 146))
crop_centre = dict(type='CenterCrop', crop_size=128)
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    crop_resized,
    resize,
    _base_.flip,
    jitter,
    _base_.shape_clips,
    _base_.pack,
]
val_pipeline = [
    _base_.open_video,
    sample_val,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
test_pipeline = [
    _base_.open_video,
    sample_test,
    _base_.decode_video,
    resize_short,
    crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
