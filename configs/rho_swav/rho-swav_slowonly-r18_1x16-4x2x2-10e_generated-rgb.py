_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_5e.py',
    '../_base_/default_runtime.py',
]

# 16 videos and 112 earlier ones use 32 prototypes alike.
model = dict(
    heads=dict(
        swav=dict(
            type='SwAVHead',
            projector=_base_.projector,
            num_prototypes=32,
            queue_size=112,
            queue_start_epoch=1,
        )
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type='HeadEpochHook')]
