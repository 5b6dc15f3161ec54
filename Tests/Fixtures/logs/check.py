"""Reads events.golden with TensorBoard's own package and checks what it finds.

The file is what the test `theFileIsTheOneThatTensorBoardRead` writes; to write it anew, run that test
with MVAR_WRITE_GOLDEN_EVENTS=Tests/Fixtures/logs/events.golden, and then this.
    pip install tensorboard pillow
"""
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

with tempfile.TemporaryDirectory() as folder:
    shutil.copy(Path(__file__).with_name("events.golden"), Path(folder) / "events.out.tfevents.1700000000.host.7.0")
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["scalars"] == ["train/loss", "train/usage/scale1"], tags
    assert tags["images"] == ["samples"] and tags["tensors"] == ["settings"], tags
    # What was recorded after step 300 was taken back.
    loss = [(e.step, round(e.value, 4), e.wall_time) for e in events.Scalars("train/loss")]
    assert [l[:2] for l in loss] == [(100, 1.0), (200, 0.5), (300, 0.3333), (301, 0.25)], loss
    assert loss[0][2] == 1_700_000_001, loss
    text = events.Tensors("settings")[0].tensor_proto
    assert text.string_val[0].decode() == "# Settings\n\nβ 0.25"
    image = events.Images("samples")[0]
    assert (image.step, image.width, image.height) == (200, 3, 2), image
    picture = Image.open(io.BytesIO(image.encoded_image_string)).convert("RGB")
    pixels = [picture.getpixel((x, y)) for y in range(2) for x in range(3)]
    assert pixels[:2] == [(255, 0, 0), (0, 255, 0)] and pixels[-1] == (70, 80, 90), pixels
    print("good")
