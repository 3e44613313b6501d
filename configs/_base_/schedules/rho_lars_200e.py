# The ρ family with LARS. Biases and batch normalisation have plain SGD without weight decay.
_base_ = 'rho_200e.py'

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='LARS',
        lr=0.6,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-6,
        trust_coefficient=1e-3,
    ),
    paramwise_cfg=dict(bias_decay_mult=0.0),
)
param_scheduler = [{**_base_.param_scheduler[0], 'start_factor': 0.001 / 0.6}]
