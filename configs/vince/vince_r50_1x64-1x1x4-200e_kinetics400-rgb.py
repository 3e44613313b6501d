_base_ = [
    '../_base_/models/r50.py',
    '../_base_/datasets/frames.py',
    '../_base_/schedules/sgd_400e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        vince=dict(type='VINCEHead', projector=_base_.projector, queue_size=65536, temperature=0.2)
    )
)

# Four frames of a video, each augmented twice. The authors draw them without segments.
train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=4, views=(0, 0)),
    _base_.decode_video,
    _base_.augment,
    _base_.format_frames,
    _base_.pack,
]
train_dataloader = dict(
    dataset=dict(
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=train_pipeline,
    ),
)

# The authors' rate for a step of 256 frames, which is 64 videos, and the cosine of their ResNet-50.
# They use their own data (R2V2), and their 200 epochs have 5000 steps each.
train_cfg = dict(max_epochs=200)
optim_wrapper = dict(optimizer=dict(lr=0.03))
param_scheduler = [{**_base_.param_scheduler[0], 'warmup': 0, 'eta_min': 0.0}]
auto_scale_lr = dict(base_batch_size=64)
