# ViT-B on HMDB51: as on UCF101, with frames 2 apart, twice the rate and half the epochs; 10 clips
# and three crops to test.
_base_ = 'videomae_vit-b_16x8-16x4x1-100e_ucf101-rgb.py'

model = dict(
    cls_head=dict(num_classes=51),
    data_preprocessor=dict(
        blending=dict(
            augments=[
                dict(type='MixupBlending', num_classes=51, alpha=0.8),
                dict(type='CutmixBlending', num_classes=51, alpha=1.0),
            ]
        )
    ),
)

sample_train = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=1)
sample_val = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=1, test_mode=True)
sample_test = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=10, test_mode=True)
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.crop,
    _base_.resize,
    _base_.flip,
    _base_.rand_augment,
    _base_.erase,
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
train_data = dict(
    ann_file='data/hmdb51/hmdb51_train_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
test_data = dict(
    ann_file='data/hmdb51/hmdb51_val_split_{{$SPLIT:1}}_videos.txt',
    data_prefix=dict(video='data/hmdb51/videos'),
)
train_dataloader = dict(dataset=dict(**train_data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**test_data, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(**test_data, pipeline=test_pipeline))

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(lr=0.0005))
