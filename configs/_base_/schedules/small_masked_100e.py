# Masked prediction needs more epochs than contrast: 100, which take a quarter of an hour for 600
# videos. It is for a CPU, where a fused AdamW needs torch 2.4.
_base_ = 'videomae_1600e.py'

train_cfg = dict(max_epochs=100)
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=False))
param_scheduler = [{**_base_.param_scheduler[0], 'warmup': 5, 'eta_min': 0.0}]
auto_scale_lr = dict(base_batch_size=16)
