_base_ = [
    '../_base_/models/small_clips.py',
    '../_base_/datasets/small_clips.py',
    '../_base_/schedules/small_16e.py',
    '../_base_/default_runtime.py',
]

# Neighbours come from a fraction of the data: a longer queue would hold the query's own video.
model = dict(
    heads=dict(
        intra=dict(type='MoCoHead', **_base_.contrast, queue_size=16),
        neighbour=dict(type='NeighbourHead', **_base_.contrast, queue_size=256),
    )
)
