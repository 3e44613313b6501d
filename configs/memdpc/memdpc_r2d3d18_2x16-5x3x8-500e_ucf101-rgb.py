_base_ = [
    '../_base_/models/r2d3d18.py',
    '../_base_/datasets/dpc_blocks.py',
    '../_base_/schedules/dpc_300e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    heads=dict(
        memdpc=dict(
            type='MemDPCHead',
            in_channels=512,
            memory_size=1024,
            feature_channels=256,
            num_predicted=3,
            map_size=(4, 4),
        )
    )
)

# Half as many frames as in DPC are reduced to one channel.
grey = dict(type='RandomApply', transforms=[dict(type='ChannelSplit')], prob=0.25)
colour = dict(type='SharedAugment', share='frame', transforms=[grey, _base_.jitter])
train_pipeline = [
    _base_.open_video,
    _base_.sample_blocks,
    _base_.decode_video,
    _base_.geometry,
    colour,
    _base_.format_clips,
    _base_.pack,
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))

# All as in the authors' code: 16 videos on each of 2 GPUs.
train_cfg = dict(max_epochs=500)
param_scheduler = [{**_base_.param_scheduler[0], 'milestones': [300, 400]}]
auto_scale_lr = dict(base_batch_size=32)
