# CVRL: SGD, batch 1024, 200 epochs. As in the authors' code: a warm-up of 2.5 % from 0, which ends
# on a cosine over the whole run, and weight decay only on kernels.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=200)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.32, momentum=0.9, weight_decay=1e-6),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='WarmupCosineLR',
        warmup=5,
        cosine_from='start',
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(enable=False, base_batch_size=1024)
