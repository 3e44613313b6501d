_base_ = [
    '../_base_/models/small_masked.py',
    '../_base_/datasets/small_masked.py',
    '../_base_/schedules/small_masked_100e.py',
    '../_base_/default_runtime.py',
]
