"""The motion of videos: its values, its files, what an unfinished or a failed run leaves."""

import pickle

import cv2
import numpy as np
import pytest
from mmengine.fileio import LocalBackend, register_backend

from mmssl_video.datasets import UnlabeledVideoDataset, motion
from mmssl_video.datasets.motion import MotionReader, index_motion, measure_motion, read_grey
from mmssl_video.errors import UserError
from mmssl_video.video import VideoReader


def videos(root, ann_file='', key='video', **kwargs):
    return UnlabeledVideoDataset(
        [], str(ann_file), {key: str(root)}, **({'bad_videos': 'skip'} | kwargs)
    )


def motion_paths(dataset):
    return [dataset.get_data_info(i)['motion_path'] for i in range(len(dataset))]


# -- Measures --------------------------------------------------------------------------------


def mean_differences(frames, grid):
    """Mean absolute difference in each cell, from the shares of pixels in cells, in float64."""
    height, width = frames[0].shape
    shares = []
    for pixels in (height, width):
        cells, pixel = np.arange(grid)[:, None] * pixels / grid, np.arange(pixels)
        overlap = np.minimum(cells + pixels / grid, pixel + 1) - np.maximum(cells, pixel)
        shares.append(overlap.clip(min=0))
    differences = abs(np.diff(np.asarray(frames, float), axis=0))
    sums = np.einsum('ry,tyx,cx->trc', shares[0], differences, shares[1])
    return sums * grid**2 / (height * width)


@pytest.mark.parametrize('grid, shape', [(4, (8, 16)), (3, (8, 10)), (1, (5, 7)), (5, (5, 9))])
def test_difference_against_a_loop(grid, shape):
    """Also where the edges of cells cut pixels; float16 has 11 bits."""
    frames = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    found = measure_motion(iter(frames), 'difference', grid)
    assert found.shape == (3, grid, grid) and found.dtype == np.float16
    np.testing.assert_allclose(found, mean_differences(frames, grid), rtol=2**-10)


def texture(height, width):
    """Smooth noise, uint8."""
    noise = np.random.default_rng(0).standard_normal((height, width))
    noise = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.uint8(255 * (noise - noise.min()) / np.ptp(noise))


@pytest.mark.parametrize('measure', ['farneback', 'dis'])
def test_flow_of_a_shifted_picture(measure):
    """0, 1, 3 pixels to the right, then 2 down and 1 to the left, in every cell."""
    big = texture(100, 120)
    shifts = np.cumsum([(0, 0), (0, 0), (0, 1), (0, 3), (2, -1)], axis=0)
    frames = [np.ascontiguousarray(big[16 - y : 80 - y, 16 - x : 96 - x]) for y, x in shifts]
    found = measure_motion(frames, measure, 4)
    for cells, expected in zip(found, [0, 1, 3, 5**0.5], strict=True):
        assert cells.mean() == pytest.approx(expected, abs=0.15)
        np.testing.assert_allclose(cells[1:-1, 1:-1], expected, atol=0.15)


@pytest.mark.parametrize('measure', motion.MEASURES)
def test_motion_is_measured_where_it_is(measure):
    """A still picture in which one corner moves."""
    big = texture(64, 120)
    frames = [big[:64, :64].copy() for _ in range(2)]
    frames[1][:16, 48:] = big[:16, 46:62]
    cells = measure_motion(frames, measure, 4)[0].astype(float)
    assert cells.argmax() == 3 and cells[0, 3] > 0.7
    assert max(cells[2:].max(), cells[:, :2].max()) < 0.02 * cells[0, 3]


@pytest.mark.parametrize('num_frames', [0, 1])
def test_fewer_than_two_frames(num_frames):
    assert measure_motion([texture(9, 9)] * num_frames, grid=3).shape == (0, 3, 3)


# -- Reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_videos_are_read_in_order_and_in_parts(
    tmp_path, monkeypatch, write_numbered_video, frame_number, suffix
):
    """Each frame once; a few of them at a time."""
    codec = dict(codec='mpeg4') if suffix == '.avi' else {}
    write_numbered_video(tmp_path / f'a{suffix}', 22, **codec)
    asked = []
    load = VideoReader.frames
    monkeypatch.setattr(
        VideoReader, 'frames', lambda self, inds: asked.append(len(inds)) or load(self, inds)
    )
    frames = list(read_grey(videos(tmp_path).get_data_info(0), 48))
    assert [frame_number(np.repeat(frame[..., None], 3, axis=2)) for frame in frames] == [
        *range(22)
    ]
    assert all(frame.shape == (48, 64) and frame.dtype == np.uint8 for frame in frames)
    assert sum(asked) == 22 and max(asked) <= 8


@pytest.fixture
def frame_folder(tmp_path):
    """Five lossless frames of random blocks, 24 x 16 pixels, and what they show in grey, halved."""
    blocks = np.random.default_rng(0).integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    folder = tmp_path / 'frames' / 'a'
    folder.mkdir(parents=True)
    for i, frame in enumerate(np.kron(blocks, np.ones((1, 2, 2, 1), np.uint8)), 1):
        cv2.imwrite(str(folder / f'img_{i:05}.png'), frame[..., ::-1])
    return folder.parent, blocks @ [0.299, 0.587, 0.114]


def test_raw_frames(frame_folder, tmp_path):
    """Grey and small, from files to files against the loop; a list may leave the last out."""
    root, expected = frame_folder
    dataset = videos(root, key='img', filename_tmpl='img_{:05}.png')
    found = np.array(list(read_grey(dataset.get_data_info(0), 8)))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 0.51
    (tmp_path / 'list.txt').write_text('a 4 1\n')
    dataset = videos(root, tmp_path / 'list.txt', 'img', filename_tmpl='img_{:05}.png')
    assert index_motion(dataset, size=8, grid=4) == {}
    found = np.load(tmp_path / 'list.motion' / 'a.npy')
    np.testing.assert_allclose(found, mean_differences(expected[:4], 4), atol=0.6)


# -- Files -----------------------------------------------------------------------------------


def test_paths(video_folder, tmp_path, monkeypatch):
    """Beside the list or the folder, as the dataset and the transform both know it."""
    names = ['UPPER.MP4', 'a.mkv', 'b/one.avi', 'b/with space/two words.mp4', 'z.mp4']
    expected = [f'{video_folder}.motion/{name}.npy' for name in names]
    assert motion_paths(videos(video_folder)) == expected
    assert motion_paths(videos(f'{video_folder}/')) == expected
    monkeypatch.chdir(video_folder)
    assert motion_paths(videos('.')) == expected

    ann_file = tmp_path / 'lists.v2' / 'train.txt'
    ann_file.parent.mkdir()
    folder = tmp_path / 'lists.v2' / 'train.motion'
    ann_file.write_text('z.mp4 1\nb/with space/two words.mp4\n')
    expected = [f'{folder}/z.mp4.npy', f'{folder}/b/with space/two words.mp4.npy']
    assert motion_paths(videos(video_folder, ann_file)) == expected
    relative = videos('b', 'train.txt', data_root=str(video_folder), lazy_init=True)
    assert relative.motion_folder == f'{video_folder}/train.motion'

    # Nothing leaves the folder.
    ann_file.write_text(f'../a.mkv\n{video_folder}/z.mp4\n')
    expected = [f'{folder}/__/a.mkv.npy', f'{folder}{video_folder}/z.mp4.npy']
    assert motion_paths(videos(video_folder / 'b', ann_file)) == expected
    ann_file.write_text(f'{video_folder}/z.mp4\n')
    assert motion_paths(videos('', ann_file)) == expected[1:]


def test_one_value_per_pair_of_frames(tmp_path, write_numbered_video):
    """All videos of a folder; one of a single frame has no motion."""
    counts = (1, 2, 9)
    for count in counts:
        write_numbered_video(tmp_path / 'set' / 'sub' / f'{count}.mp4', count)
    dataset = videos(tmp_path / 'set')
    assert index_motion(dataset, grid=4) == {}
    for number, (count, path) in enumerate(zip(counts, motion_paths(dataset), strict=True)):
        saved = np.load(path)
        assert saved.shape == (count - 1, 4, 4) and saved.dtype == np.float16
        frames = read_grey(dataset.get_data_info(number))
        np.testing.assert_array_equal(saved, measure_motion(frames, grid=4))
    # Bit 0 of a frame's number is its left eighth and changes from each frame to the next.
    left = saved[:, :, 0].astype(float)
    assert left.min() > 60 and saved[0, :, 1:].max() < 10


@pytest.fixture
def listed(video_folder, tmp_path):
    """Two of the videos."""
    (tmp_path / 'list.txt').write_text('z.mp4\na.mkv\n')
    return videos(video_folder, tmp_path / 'list.txt')


def test_parallel_equals_serial(video_folder, tmp_path):
    """Two processes write the same bytes."""
    contents = []
    for jobs in (1, 2):
        ann_file = tmp_path / f'list{jobs}.txt'
        ann_file.write_text('z.mp4\nb/one.avi\na.mkv\nUPPER.MP4\n')
        assert index_motion(videos(video_folder, ann_file), 'dis', 48, 8, jobs) == {}
        folder = tmp_path / f'list{jobs}.motion'
        files = sorted(path for path in folder.rglob('*') if path.is_file())
        contents.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert contents[0] == contents[1] and len(contents[0]) == 5


def test_workers_may_be_spawned(listed):
    """What a worker process gets survives pickling, and does the same."""
    reader = MotionReader(listed, 'dis', 48, 8)
    ((path, expected),) = reader(0)
    ((other, found),) = pickle.loads(pickle.dumps(reader))(0)
    assert other == path
    np.testing.assert_array_equal(found, expected)


def test_resume_keeps_what_is_there(listed, tmp_path, monkeypatch):
    """A marked file is not measured again, a missing one is; a stop leaves no half file."""

    def stop(file, array):
        file.write(b'half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(motion.np, 'save', stop)
        with pytest.raises(KeyboardInterrupt):
            index_motion(listed)
    assert [path.name for path in (tmp_path / 'list.motion').iterdir()] == ['settings.json']
    index_motion(listed)
    kept, missing = motion_paths(listed)
    content = open(missing, 'rb').read()
    np.save(kept, np.float16([42]))
    (tmp_path / 'list.motion' / 'a.mkv.npy').unlink()
    index_motion(listed)
    assert np.load(kept) == [42] and open(missing, 'rb').read() == content


def test_other_settings_in_one_folder_are_refused(listed, tmp_path):
    for settings, message in (
        (dict(measure='flow'), "unknown measure 'flow'; choose from difference, farneback, dis"),
        (dict(grid=65), 'grid is 65, size 64'),
        (dict(grid=0), 'grid is 0'),
        (dict(jobs=0), 'jobs 0'),
    ):
        with pytest.raises(UserError, match=message):
            index_motion(listed, **settings)
    assert not (tmp_path / 'list.motion').exists()
    index_motion(listed)
    index_motion(listed, measure='difference', size=64, grid=8)
    for key, there, value in (('measure', 'difference', 'dis'), ('size', 64, 32), ('grid', 8, 4)):
        with pytest.raises(UserError) as error:
            index_motion(listed, **{key: value})
        message = str(error.value)
        assert message.startswith(
            f'{tmp_path}/list.motion holds motion of other settings ({key}: {there} and {value}); '
        )
        assert message.endswith('move or delete this folder') and '\n' not in message


@pytest.mark.parametrize('jobs', [1, 2])
def test_unreadable_videos(tmp_path, write_numbered_video, left_out, jobs):
    """Named, left out, and tried again; those that are no video at all are named too."""
    root = tmp_path / 'set'
    for name in 'abc':
        write_numbered_video(root / f'{name}.mp4', 30)
    sound = (root / 'b.mp4').read_bytes()
    damaged = bytearray(sound)
    start, end = sound.find(b'mdat') + 200, sound.find(b'moov') - 4
    damaged[start:end] = np.random.default_rng(3).bytes(end - start)
    (root / 'b.mp4').write_bytes(damaged)
    (root / 'text.mp4').write_text('text')

    dataset = videos(root)
    found = index_motion(dataset, jobs=jobs)
    assert list(found) == [f'{root}/text.mp4', f'{root}/b.mp4']
    names = tmp_path / 'set.motion' / 'bad_videos.txt'
    assert dict(line.split('\t') for line in names.read_text().splitlines()) == found
    assert left_out[1] == f'{root}/b.mp4 cannot be read ({found[f"{root}/b.mp4"]})'
    assert len(left_out) == 2 and '\n' not in left_out[1]
    for name in 'ac':
        assert np.load(tmp_path / 'set.motion' / f'{name}.mp4.npy').shape == (29, 8, 8)
    assert (tmp_path / 'set.motion' / 'b.mp4.npy').read_bytes() == b''

    (tmp_path / 'bad.txt').write_text('b.mp4\nb.mp4\n./b.mp4\n')
    with pytest.raises(UserError, match='none of the videos can be read'):
        index_motion(videos(root, tmp_path / 'bad.txt'), jobs=jobs)

    (root / 'b.mp4').write_bytes(sound)
    (root / 'text.mp4').unlink()
    assert index_motion(videos(root), jobs=jobs) == {}
    assert np.load(tmp_path / 'set.motion' / 'b.mp4.npy').shape == (29, 8, 8)
    assert not names.exists()


class Store(LocalBackend):
    """Another place for videos than the local disk."""

    def get(self, filepath):
        return super().get(filepath.removeprefix('store://'))


register_backend('store', Store, prefixes='store', force=True)


@pytest.mark.parametrize('prefix, backend_args', [('store://', None), ('', dict(backend='store'))])
def test_videos_in_another_store(video_folder, tmp_path, left_out, prefix, backend_args):
    """Read there by a URI or a backend; the motion lies beside the list, or where it is told to."""
    (tmp_path / 'list.txt').write_text('a.mkv\ngone.mp4\nb/one.avi\n')
    dataset = videos(f'{prefix}{video_folder}', tmp_path / 'list.txt', backend_args=backend_args)
    found = index_motion(dataset, grid=4)
    assert list(found) == [f'{prefix}{video_folder}/gone.mp4'] and len(left_out) == 1
    local = videos(video_folder, tmp_path / 'list.txt')
    for number, name in enumerate(('a.mkv', 'b/one.avi')):
        saved = np.load(tmp_path / 'list.motion' / f'{name}.npy')
        frames = read_grey(local.get_data_info(number))
        np.testing.assert_array_equal(saved, measure_motion(frames, grid=4))


def test_folder_that_cannot_be_written(listed, tmp_path):
    """The cause is no fault of the videos."""
    (tmp_path / 'list.motion').write_text('a file')
    with pytest.raises(UserError, match='list.motion/settings.json: cannot be written'):
        index_motion(listed)
