"""The Try it tab for runs on images: what it shows, what it answers, and what it refuses of a browser's."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from gradio.utils import get_upload_folder
from PIL import Image

from dept.data.images import decode
from dept.evaluation.load_run import load_run, predict_texts
from dept.runs.settings import TrainConfig
from dept.tasks.sample import sample_rows
from dept.training.loop import train
from lab.service.limits import Limits
from lab.ui.site import PageConfig, Site
from lab.ui.try_it.rows import image_of
from lab.ui.try_it.tab import _TryIt
from tests.dept.vision_helpers import save_tower

REQUEST: Any = SimpleNamespace(username=None)
Tab = tuple[_TryIt, dict[str, str]]


@pytest.fixture(scope="module")
def runs(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vqa-dept, vqa-pt, captions and sst2, as `dept train` leaves them in the page's folder."""
    root = tmp_path_factory.mktemp("runs")
    tower = str(save_tower(tmp_path_factory.mktemp("clip")))
    small: dict[str, Any] = {
        **{"backbone": str(tiny_t5), "data": "sample", "budget_tokens": 10, "max_seq_length": 64, "max_steps": 2},
        **{"batch_size": 4, "max_train_rows": 8, "max_validation_rows": 4, "max_test_rows": 4},
        **{"prompt_lr": 0.3, "low_rank_lr": 0.1},
    }
    chosen: dict[str, dict[str, Any]] = {
        "vqa-dept": {"task": "vqa", "num_virtual_tokens": 4, "vision_backbone": tower},
        "vqa-pt": {"task": "vqa", "method": "prompt_tuning", "vision_backbone": tower},
        "captions": {"task": "coco_captions", "num_virtual_tokens": 4, "vision_backbone": tower},
        "sst2": {"task": "sst2", "num_virtual_tokens": 4},
    }
    for name, settings in chosen.items():
        train(TrainConfig(**small, **settings, output_dir=str(root / name)), test=False)
    return root


@pytest.fixture
def tab(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Tab:
    """The tab, and the operator, whose runs they are."""
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    site = Site(PageConfig(runs, Limits(upload_bytes=200_000)))
    return _TryIt(site), {"key": site.operator_key}


def shown(outputs: list[Any]) -> dict[str, Any]:
    names = ("picture", "box", "box 1", "box 2", "box 3", "next", "pictures", "file")
    return dict(zip(names, outputs, strict=True))


def event(index: Any) -> Any:
    return SimpleNamespace(index=index)


def test_a_question_and_its_picture_are_offered(tab: Tab) -> None:
    does, operator = tab
    found = shown(does.opened(operator, "vqa-dept", REQUEST))
    rows = sample_rows("vqa", "test", 20)
    assert found["box"]["label"] == "question" and found["box"]["value"] == rows[0]["question"]
    assert not found["box 1"]["visible"] and not found["file"]["visible"]
    path = Path(found["picture"]["value"])
    assert path.read_bytes() == rows[0]["image"]["bytes"] and path.is_relative_to(get_upload_folder())
    assert len(found["pictures"]["value"]) == 8
    different = list(dict.fromkeys(row["image"]["bytes"] for row in rows))
    picked = does.pick(operator, "vqa-dept", event(3), REQUEST)
    assert Path(picked[0]["value"]).read_bytes() == different[3]
    assert picked[1]["value"] == next(row["question"] for row in rows if row["image"]["bytes"] == different[3])
    for index in ("x", [1], None, 2.5, -1, 99):
        assert does.pick(operator, "vqa-dept", event(index), REQUEST)[1]["value"] == rows[0]["question"]
    assert does.example(operator, "vqa-dept", "x", REQUEST)[1]["value"] == rows[0]["question"]


def test_a_caption_needs_no_text_and_a_text_task_no_picture(tab: Tab) -> None:
    does, operator = tab
    captions = shown(does.opened(operator, "captions", REQUEST))
    assert captions["picture"]["visible"] and not captions["box"]["visible"]
    assert "answer" in does.predict(REQUEST, operator, "captions", captions["picture"]["value"], "", "", "", "")
    text = shown(does.opened(operator, "sst2", REQUEST))
    assert not text["picture"]["visible"] and not text["pictures"]["visible"]
    assert text["box"]["label"] == "sentence" and text["file"]["visible"]
    assert "positive" in does.predict(REQUEST, operator, "sst2", None, "a gorgeous film", "", "", "")


def test_every_side_answers_as_dept_predict_does(tab: Tab, runs: Path, tmp_path: Path) -> None:
    does, operator = tab
    picture, question = tmp_path / "one.png", "what color is the circle ?"
    picture.write_bytes(sample_rows("vqa", "test", 2)[1]["image"]["bytes"])
    html = does.predict(REQUEST, operator, "vqa-dept", str(picture), question, "", "", "")
    assert [name in html for name in ("DePT", "PT", "untrained prompt")] == [True] * 3
    for name in ("vqa-dept", "vqa-pt"):
        (prediction,) = predict_texts(load_run(runs / name), [question], images=[str(picture)])
        assert f"<strong>{prediction.text or '(nothing)'}</strong>" in html
    hostile = '{"question": "what ?", "image": "/etc/passwd"}'  # a question like any other
    assert "passwd" not in does.predict(REQUEST, operator, "vqa-dept", str(picture), hostile, "", "", "")


def png(width: int, height: int) -> bytes:
    """A PNG of one colour, however large, in few bytes."""
    raw = zlib.compress(b"".join(b"\0" + b"\0" * ((width + 7) // 8) for _ in range(height)), 9)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", raw) + chunk(b"IEND", b"")


def svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def cut() -> bytes:
    target = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(target, "JPEG")
    return target.getvalue()[:3000]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (svg, "no image of a known format"),
        (cut, "damaged"),
        (lambda: b"", "empty, or larger than"),
        (lambda: b"x" * 200_001, "empty, or larger than"),
        (lambda: png(20_000, 20_000), "pixels"),
        (lambda: png(4_001, 4_000), "4001 x 4000 pixels"),
        (lambda: b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "no image of a known format"),
    ],
)
def test_what_is_no_picture_is_said_without_its_place(
    tab: Tab, tmp_path: Path, content: Callable[[], bytes], message: str
) -> None:
    does, operator = tab
    path = tmp_path / "picture.png"
    path.write_bytes(content())
    html = does.predict(REQUEST, operator, "vqa-dept", str(path), "what ?", "", "", "")
    assert message in html and "notice wrong" in html and str(tmp_path) not in html


def test_a_large_picture_is_handed_on_small(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for size, kept in (((1024, 800), (1024, 800)), ((4000, 4000), (1024, 1024)), ((3000, 300), (1024, 102))):
        path.write_bytes(png(*size))
        found = image_of(str(path), 200_000)
        assert decode(found).size == kept
        assert (found == path.read_bytes()) == (size == kept)


def test_the_helper_makes_real_pictures() -> None:
    assert decode(png(300, 20)).size == (300, 20)


def test_a_picture_or_a_question_that_is_missing_is_asked_for(tab: Tab, tmp_path: Path) -> None:
    does, operator = tab
    path = tmp_path / "picture.png"
    for picture in (None, ["/etc/passwd"], {"path": "/etc/passwd"}):
        assert "bring an image" in does.predict(REQUEST, operator, "vqa-dept", picture, "what ?", "", "", "")
    gone = does.predict(REQUEST, operator, "vqa-dept", str(path), "what ?", "", "", "")
    assert "bring it again" in gone and str(tmp_path) not in gone
    path.write_bytes(png(8, 8))
    assert "type or paste" in does.predict(REQUEST, operator, "vqa-dept", str(path), " ", "", "", "")


def test_rows_that_would_name_files_of_this_machine_are_refused(tab: Tab, tmp_path: Path) -> None:
    does, operator = tab
    file = tmp_path / "rows.jsonl"
    file.write_text('{"question": "what ?", "image": "/etc/passwd"}\n')
    _, html = does.predict_file(operator, "vqa-dept", str(file), REQUEST)
    assert "dept predict" in html and "passwd" not in html
