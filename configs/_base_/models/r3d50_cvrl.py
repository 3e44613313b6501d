# CVRL's R3D-50: SlowOnly-50 with a stem of temporal kernel 5 and stride 2.
_base_ = 'slowonly_r50.py'

model = dict(backbone=dict(conv1_kernel=(5, 7, 7), conv1_stride_t=2))
# Batch normalisation uses the statistics of all GPUs.
sync_bn = 'torch'
