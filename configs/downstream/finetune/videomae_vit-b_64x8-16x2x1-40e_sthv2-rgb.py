# ViT-B on Something-Something V2: half the rate, frames 2 apart, no flip; 2 clips and three crops
# to test.
_base_ = 'videomae_vit-b_64x8-16x4x1-75e_kinetics400-rgb.py'

model = dict(
    cls_head=dict(num_classes=174),
    data_preprocessor=dict(
        blending=dict(
            augments=[
                dict(type='MixupBlending', num_classes=174, alpha=0.8),
                dict(type='CutmixBlending', num_classes=174, alpha=1.0),
            ]
        )
    ),
)

sample_train = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=1)
sample_val = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=1, test_mode=True)
sample_test = dict(type='SampleFrames', clip_len=16, frame_interval=2, num_clips=2, test_mode=True)
train_pipeline = [
    _base_.open_video,
    sample_train,
    _base_.decode_video,
    _base_.crop,
    _base_.resize,
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
    ann_file='data/sthv2/sthv2_train_list_videos.txt', data_prefix=dict(video='data/sthv2/videos')
)
test_data = dict(
    ann_file='data/sthv2/sthv2_val_list_videos.txt', data_prefix=dict(video='data/sthv2/videos')
)
train_dataloader = dict(dataset=dict(**train_data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**test_data, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(**test_data, pipeline=test_pipeline))

train_cfg = dict(max_epochs=40)
optim_wrapper = dict(optimizer=dict(lr=0.001))
