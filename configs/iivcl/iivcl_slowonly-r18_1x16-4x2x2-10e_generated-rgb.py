_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_5e.py',
    '../_base_/default_runtime.py',
]

# Fractions of the data: a longer queue would hold the query's own video.
projector = _base_.projector
model = dict(
    heads=dict(
        intra=dict(type='MoCoHead', projector=projector, queue_size=128, temperature=0.1),
        neighbour=dict(type='NeighbourHead', projector=projector, queue_size=256),
    )
)
