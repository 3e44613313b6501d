r"""Convert weights of torchvision, MoCo v2, VCLR's authors, SlowFast or VideoMAE to this package.

    python tools/convert_weights.py moco_v2_200ep_pretrain.pth.tar work_dirs/mocov2_r50.pth
    python tools/train.py configs/vclr/vclr_r50_8x64-3seg-400e_kinetics400-rgb.py \
        --cfg-options load_from=work_dirs/mocov2_r50.pth

Keys are mapped by name. The backbone also fits MMAction2's recognizers: a ResNet, or for SlowFast's
checkpoints (.pyth, including the models of the rho family) a ResNet3dSlowOnly or ResNet3dSlowFast.
SlowFast's .pkl files are in Caffe2's format and cannot be read. MoCo v2's MLP initialises the
projector of every head; the heads of a VCLR checkpoint go to the heads of the same objective.

SlowFast's networks expect frames of mean 0.45 * 255 and standard deviation 0.225 * 255; our configs
have ImageNet's. Commands that use the converted weights need

    --cfg-options model.data_preprocessor.mean="[114.75,114.75,114.75]" \
        model.data_preprocessor.std="[57.375,57.375,57.375]"

VideoMAE's vision transformers are read in the layout of the released files and in Hugging Face's
(`pytorch_model.bin`, or `model.safetensors` after `pip install safetensors`), pretrained or
fine-tuned. A classifier becomes that of MMAction2's recognizer; a decoder is left out.

Unknown and missing keys are errors. For the opposite direction, from our names to those of other
projects, see export_backbone.py.
"""

import argparse
import sys

from command_line import Parser, short_warnings, tool


def parse_args() -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument(
        'source', help='checkpoint of torchvision, MoCo v2, VCLR, SlowFast or VideoMAE'
    )
    parser.add_argument('out', help='checkpoint to write')
    parser.add_argument(
        '--heads',
        nargs='*',
        default=['inter', 'intra', 'video', 'order'],
        metavar='NAME',
        help="names of the heads that MoCo v2's MLP initialises (default: VCLR's four)",
    )
    parser.add_conversion()
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    import torch

    from mmssl_video.checkpoints.conversion import SLOWFAST_PIXELS, convert_weights, detect_format
    from mmssl_video.checkpoints.fitting import tensors_of
    from mmssl_video.checkpoints.loading import load_checkpoint_file
    from mmssl_video.errors import UserError
    from mmssl_video.files import atomic_path

    short_warnings()
    checkpoint = load_checkpoint_file(args.source, trust=args.trust)
    try:
        tensors = convert_weights(
            checkpoint,
            args.heads,
            allow_unknown=args.allow_unknown,
            allow_missing=args.allow_missing,
        )
    except UserError as error:
        raise UserError(f'{args.source}: {error}') from None
    with atomic_path(args.out) as temporary:
        torch.save({'state_dict': tensors}, temporary)
    heads = sorted(
        {'.'.join(key.split('.')[:3]) for key in tensors if key[:6] == 'heads.'}
        | {'cls_head' for key in tensors if key.startswith('cls_head.')}
    )
    print(f'{args.out}: {len(tensors)} tensors for the backbone and {heads or "no head"}')
    if detect_format(tensors_of(checkpoint)) == 'slowfast':
        print(
            f"note: SlowFast's mean and std differ from our configs'; use it with {SLOWFAST_PIXELS}"
        )


if __name__ == '__main__':
    sys.exit(main())
