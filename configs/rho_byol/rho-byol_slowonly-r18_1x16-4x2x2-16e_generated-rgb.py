_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    # With a lower momentum, the target changes too fast to be predicted.
    momentum=0.99,
    heads=dict(
        byol=dict(
            type='BYOLHead',
            projector=_base_.projector,
            predictor=_base_.predictor,
        )
    ),
)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]
