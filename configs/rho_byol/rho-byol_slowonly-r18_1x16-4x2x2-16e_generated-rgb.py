_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    momentum=0.97,
    heads=dict(
        byol=dict(
            type='BYOLHead',
            projector=_base_.projector_without_shift,
            predictor=_base_.predictor,
        )
    ),
)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]
