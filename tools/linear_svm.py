"""Train a linear SVM on extracted features, and measure its accuracy."""

import argparse

from command_line import Parser, tool

DESCRIPTION = """\
Train a linear SVM on the features of one set of videos and measure its accuracy on another: the
linear evaluation of VCLR and SeCo (LIBLINEAR -s 2 -c 1: L2-regularised squared hinge loss, primal,
one class against the rest, raw features, no bias term).

TRAIN and TEST are features of tools/extract_features.py, both labelled. With features of clips, the
SVM learns from each clip of TRAIN, and averages the decision values of a video's clips in TEST."""
EXAMPLE = """\
example:
  python tools/linear_svm.py work_dirs/ucf101/train.npz work_dirs/ucf101/test.npz \\
      --out work_dirs/ucf101/svm.json"""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(DESCRIPTION, EXAMPLE)
    parser.add_argument('train', metavar='TRAIN', help='features to train on')
    parser.add_argument('test', metavar='TEST', help='features to classify')
    parser.add_allow_different()
    parser.add_argument('--out', required=True, metavar='JSON', help='file for the result')
    parser.add_argument('--cost', type=float, default=1.0, help='C of the SVM (default: 1)')
    parser.add_argument(
        '--l2-normalize', action='store_true', help='divide each feature by its norm first'
    )
    parser.add_argument(
        '--bias', action='store_true', help="add a regularised bias term, LIBLINEAR's -B 1"
    )
    return parser.parse_args()


@tool(parse_args)
def main(args: argparse.Namespace) -> None:
    """Load both sets, evaluate, write and print."""
    from mmssl_video.evaluation import linear_svm
    from mmssl_video.evaluation.classification import summary
    from mmssl_video.evaluation.features import load_pair
    from mmssl_video.files import write_json

    train, test = load_pair(args.train, args.test, args.allow_different)
    result = linear_svm(train, test, args.cost, l2_normalize=args.l2_normalize, bias=args.bias)
    write_json(args.out, result | {'arguments': vars(args)})
    print(f'linear SVM: {summary(result)}\nwritten to {args.out}')


if __name__ == '__main__':
    main()
