_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# A batch enqueues 4 x 16 clips, which fill the queue.
model = dict(heads=dict(vince=dict(type='VINCEHead', **_base_.contrast, queue_size=64)))

train_pipeline = [
    _base_.open_video,
    dict(type='SampleSegmentTuples', num_segments=4, clip_len=4, frame_interval=2, views=(0, 0)),
    _base_.decode_video,
    _base_.augment,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
