_base_ = [
    '../_base_/models/slowonly_r50.py',
    '../_base_/datasets/rho_clips.py',
    '../_base_/schedules/rho_200e.py',
    '../_base_/default_runtime.py',
]

# The recipe of IIVCL could not be read: projections, queue and schedule are those of ρ-MoCo with
# two clips, on which IIVCL builds.
projector = dict(
    type='ProjectionMLP', in_channels=2048, hidden_channels=2048, out_channels=128, num_layers=3
)
model = dict(
    heads=dict(
        intra=dict(type='MoCoHead', projector=projector, queue_size=65536, temperature=0.1),
        neighbour=dict(
            type='NeighbourHead', projector=projector, queue_size=65536, temperature=0.1
        ),
    ),
    momentum=0.994,
)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumScheduleHook')]

optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [{**_base_.param_scheduler[0], 'start_factor': 0.001 / 0.05}]
