"""Retrieval sheets: the right frame of the right video, marked right or wrong."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageColor

from mmssl_video.errors import UserError
from mmssl_video.evaluation import FeatureSet, retrieval
from mmssl_video.visualization import Sheet, Tile, middle_frame, retrieval_sheets, save_sheet
from mmssl_video.visualization.sheets import RIGHT, UNKNOWN, WRONG

CLIPS = Path(__file__).parents[2].parent / 'shared' / 'data' / 'clips'


def write_video(path, grays, size=(32, 48)):
    """Write one frame per gray level; ``size`` is (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=10, options={'crf': '10', 'g': '4'})
        stream.height, stream.width, stream.pix_fmt = *size, 'yuv420p'
        for gray in grays:
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), gray, np.uint8), 'rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_middle_frame_of_a_video(tmp_path):
    write_video(tmp_path / 'v.mp4', [20 * i for i in range(11)], size=(64, 128))
    image = middle_frame(tmp_path / 'v.mp4', max_size=32)
    assert (image.shape, image.dtype) == ((16, 32, 3), np.uint8)
    # Half of 1.1 s lies within frame 5.
    assert abs(image.mean() - 100) < 4
    write_video(tmp_path / 'v.mp4', [80])
    image = middle_frame(tmp_path / 'v.mp4')
    assert image.shape == (32, 48, 3) and abs(image.mean() - 80) < 4


def test_middle_frame_of_raw_frames(tmp_path):
    for i in range(5):
        Image.new('RGB', (8, 6), (0, 0, 50 * i)).save(tmp_path / f'img_{i:05d}.png')
        Image.new('L', (8, 6), 255).save(tmp_path / f'flow_x_{i:05d}.png')
    np.testing.assert_array_equal(middle_frame(tmp_path), np.full((6, 8, 3), [0, 0, 100]))


def test_unreadable_videos_are_named(tmp_path):
    (tmp_path / 'text.mp4').write_text('no video')
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'folder').mkdir()
    for name in ('text.mp4', 'empty.mp4', 'folder', 'absent.mp4'):
        with pytest.raises(UserError, match=f'{name} cannot be read'):
            middle_frame(tmp_path / name)


@pytest.mark.skipif(not CLIPS.is_dir(), reason='no real videos beside the repository')
@pytest.mark.parametrize('name', ['test.avi', 'h265_video.mp4'])
def test_middle_frame_of_real_videos(name):
    image = middle_frame(CLIPS / name)
    with av.open(str(CLIPS / name)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]

    def distance(index):
        reference = frames[index].resize(image.shape[1::-1])
        return np.abs(np.asarray(reference).astype(float) - image).mean()

    # No exact number is promised: at most one key frame interval of these files away.
    nearest = min(range(len(frames)), key=distance)
    assert abs(nearest - len(frames) / 2) <= 15
    assert distance(nearest) < 5


def feature_set(features, labels, names):
    return FeatureSet(np.asarray(features, np.float32), np.asarray(labels), np.array(names))


def test_sheets_follow_the_retrieval(tmp_path):
    for gray, name in ((10, 'g/a.mp4'), (60, 'g/b.mp4'), (120, 'q/x.mp4')):
        write_video(tmp_path / name, [gray] * 3)
    gallery = feature_set([[1, 0], [1, 1], [0, 1]], [0, 1, 1], ['a.mp4', 'b.mp4', 'lost.mp4'])
    query = feature_set([[1, 0.1], [0.1, 1]], [1, 1], ['q/x.mp4', 'q/lost.mp4'])
    result = retrieval(gallery, query, [1, 2])
    sheets = retrieval_sheets(
        gallery,
        query,
        result.indices,
        result.similarities,
        gallery_root=tmp_path / 'g',
        query_root=tmp_path,
        class_names=['walk', 'jump'],
    )
    assert [sheet.query.name for sheet in sheets] == ['q/x.mp4', 'q/lost.mp4']
    first, second = (sheet.neighbours for sheet in sheets)
    assert [(t.name, t.caption, t.correct) for t in first] == [
        ('a.mp4', 'walk', False),
        ('b.mp4', 'jump', True),
    ]
    assert [(t.name, t.correct) for t in second] == [('lost.mp4', True), ('b.mp4', True)]
    assert sheets[0].query.correct is None
    np.testing.assert_allclose([t.similarity for t in first], result.similarities[0])
    for tile, gray in ((sheets[0].query, 120), (first[0], 10), (first[1], 60)):
        assert abs(tile.image.mean() - gray) < 4
    assert sheets[1].query.image is None and second[0].image is None
    few_names = retrieval_sheets(
        gallery, query, result.indices, result.similarities, class_names=['walk']
    )
    assert [tile.caption for tile in few_names[0].neighbours] == ['walk', 'class 1']


def test_queries_are_spread_over_the_classes_not_chosen_by_result():
    labels = [2, 2, 2, 0, 0, 1, 2, 0]
    names = [str(i) for i in range(8)]
    query = feature_set(np.ones((8, 2)), labels, names)
    gallery = feature_set([[1, 1]], [0], ['g'])
    found = np.zeros((8, 1), np.int64), np.ones((8, 1), np.float32)

    def chosen(query, count):
        sheets = retrieval_sheets(gallery, query, *found, num_sheets=count)
        return [int(sheet.query.name) for sheet in sheets], sheets

    assert chosen(query, 3)[0] == [3, 5, 0]
    assert chosen(query, 5)[0] == [3, 4, 5, 0, 1]
    assert chosen(query, 99)[0] == [3, 4, 7, 5, 0, 1, 2, 6]
    assert chosen(query, 1)[1][0].query.caption == 'class 0'

    unlabelled = feature_set(np.ones((8, 2)), [-1] * 8, names)
    rows, sheets = chosen(unlabelled, 3)
    assert rows == [0, 4, 7]
    assert sheets[0].neighbours[0].correct is None
    assert sheets[0].query.caption == '0'


def test_picture_has_green_and_red_frames(tmp_path):
    image = np.full((20, 30, 3), 128, np.uint8)
    tiles = [Tile(image, '$x_1', correct=c, similarity=0.5) for c in (True, False, None)]
    sheets = [
        Sheet(Tile(image, 'query'), tiles),
        Sheet(Tile(None, 'q'), [Tile(None, 'c', correct=True)]),
    ]
    save_sheet(tmp_path / 'sheet.png', sheets, dpi=100)
    picture = np.asarray(Image.open(tmp_path / 'sheet.png').convert('RGB')).astype(int)
    assert picture.shape == (364, 590, 3)  # rows of 182; columns of 140 and two gaps

    # The middles of the four tiles' left, right, upper and lower edges, and what is within.
    frames = {1: RIGHT, 2: WRONG, 3: UNKNOWN}
    for column, color in frames.items():
        left, top = 30 + 140 * column, 22
        for x, y in ((0, 65), (129, 65), (65, 0), (65, 129)):
            near = picture[top + y - 1 : top + y + 3, left + x - 1 : left + x + 3].reshape(-1, 3)
            distances = np.abs(near - ImageColor.getrgb(color)).max(axis=1)
            assert distances.min() < 40, (column, x, y)
        np.testing.assert_array_equal(picture[top + 65, left + 65], [128] * 3)
    # Green and red are in these two tiles, in the lower row and in no other place.
    for color, tiles in ((RIGHT, {(0, 1), (1, 1)}), (WRONG, {(0, 2)})):
        ys, xs = np.nonzero((picture == ImageColor.getrgb(color)).all(axis=-1))
        assert set(zip(ys // 182, (xs - 25) // 140, strict=True)) == tiles

    save_sheet(tmp_path / 'sheet.PDF', sheets)
    assert (tmp_path / 'sheet.PDF').read_bytes().startswith(b'%PDF')
    for name in ('sheet.xyz', 'sheet'):
        with pytest.raises(UserError, match=f'{name}: pictures end in .png, .jpg, .pdf, .svg'):
            save_sheet(tmp_path / name, sheets)


def test_names_that_are_not_utf_8_are_drawn_with_question_marks(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    pictures = []
    for name in ('b\udcff.mp4', 'b?.mp4', 'b!.mp4'):
        save_sheet(tmp_path / 'sheet.png', [Sheet(Tile(image, name, name), [])])
        pictures.append((tmp_path / 'sheet.png').read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
