_base_ = 'vclr_r50_8x64-3seg-400e_kinetics400-rgb.py'

# VCLR with clips (Sec. 3.2, "not limited to video frames with 2D CNNs"): a clip of 8 frames,
# 4 apart, from each segment of a Kinetics video of about 300 frames.
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet3dSlowOnly',
        depth=50,
        pretrained=None,
        lateral=False,
        conv1_kernel=(1, 7, 7),
        conv1_stride_t=1,
        pool1_stride_t=1,
        inflate=(0, 0, 1, 1),
        norm_eval=False,
    ),
    data_preprocessor=dict(format_shape='NCTHW'),
)

# One draw per clip preserves its motion.
train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=3, clip_len=8, frame_interval=4, views=(0, 1, 0)),
    _base_.decode_video,
    {**_base_.augment, 'share': 'clip'},
    _base_.format_clips,
    _base_.pack,
]
feature_pipeline = [
    _base_.open_video,
    dict(type='SampleFrames', clip_len=8, frame_interval=4, num_clips=10, test_mode=True),
    _base_.decode_video,
    _base_.resize_short,
    _base_.crop_centre,
    _base_.shape_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))

# 8 GPUs x 8 videos instead of 512; the rate follows linearly from 0.2.
optim_wrapper = dict(optimizer=dict(lr=0.025))
auto_scale_lr = dict(base_batch_size=64)
