"""Write only the backbone of a pretraining (or MMAction2) checkpoint to a file.

    python tools/export_backbone.py work_dirs/vclr/epoch_400.pth vclr_r50.pth
    python tools/export_backbone.py work_dirs/vclr/epoch_400.pth resnet50.pth --format torchvision

A checkpoint of pretraining also holds heads, queues, a target network and the optimiser's state.
--format chooses the names of the tensors:

mmaction (default)        MMAction2's after 'backbone.', for every backbone
torchvision, mocov2       2D ResNets; torchvision has conv1.weight, layer1.0.downsample.0.weight
slowfast                  3D ResNets (ResNet3dSlowOnly, ResNet3dSlowFast)
videomae, huggingface     vision transformers, which keep the classifier of a fine-tuned recognizer

The tensors of a TSM get the names of a plain ResNet. extract_features.py and grad_cam.py read the
format mmaction with any config of the network, also TSM. Training can load the file in these ways:

load_from=OUT                    mmaction, every backbone. For a TSM the config needs the
                                 BackboneLoadHook, which knows the names of the shift; all of
                                 configs/downstream have it.
backbone.init_cfg=dict(          mmaction, for a ResNet and others that MMEngine initialises. A
    type='Pretrained',           ResNet3d, SlowOnly or C3D does not read init_cfg (the hook warns),
    checkpoint=OUT,              and a TSM would miss its first convolutions: use load_from.
    prefix='backbone.')
backbone.pretrained=OUT          torchvision: a ResNet or TSM loads it unchanged, a ResNet3d or
                                 SlowOnly inflates it. The format mmaction does not work here: a
                                 ResNet raises KeyError, and the others would stay random, which
                                 the BackboneLoadHook reports as an error.

For the opposite direction, from weights of other projects to ours, see convert_weights.py.
"""

import argparse
import sys

from command_line import Parser, short_warnings, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'checkpoint', help='checkpoint of pretraining or of an MMAction2 recognizer'
    )
    parser.add_argument('out', help='file to write')
    parser.add_argument(
        '--branch',
        choices=('online', 'target'),
        default='online',
        help='the trained network (default), or its momentum copy',
    )
    parser.add_argument(
        '--format',
        choices=('mmaction', 'torchvision', 'mocov2', 'slowfast', 'videomae', 'huggingface'),
        default='mmaction',
        help='naming of the tensors (default mmaction)',
    )
    parser.add_conversion()
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    import torch

    from mmssl_video.checkpoints.conversion import to_layout
    from mmssl_video.checkpoints.fitting import select_backbone, tensors_of
    from mmssl_video.checkpoints.loading import load_checkpoint_file
    from mmssl_video.errors import UserError
    from mmssl_video.files import atomic_path

    short_warnings()
    checkpoint = load_checkpoint_file(args.checkpoint, trust=args.trust)
    try:
        backbone = select_backbone(checkpoint, args.branch)
        if args.format == 'mmaction':
            meta = checkpoint.get('meta', {})
            exported = {
                'state_dict': {f'backbone.{key}': value for key, value in backbone.items()},
                'meta': {'source': args.checkpoint, 'branch': args.branch}
                | {key: meta[key] for key in ('experiment_name', 'epoch', 'iter') if key in meta},
            }
        else:
            classifier = {
                key.removeprefix('cls_head.fc_cls.'): value
                for key, value in tensors_of(checkpoint).items()
                if key.startswith('cls_head.fc_cls.')
            }
            exported = to_layout(
                backbone,
                args.format,
                allow_missing=args.allow_missing,
                allow_unknown=args.allow_unknown,
                classifier=classifier,
            )
    except UserError as error:
        raise UserError(f'{args.checkpoint}: {error}') from None
    with atomic_path(args.out) as temporary:
        torch.save(exported, temporary)
    print(f'{args.out}: {len(backbone)} tensors of the {args.branch} backbone')


if __name__ == '__main__':
    sys.exit(main())
