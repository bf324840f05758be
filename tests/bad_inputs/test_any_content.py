"""Whatever stands in a file that a user may write: it is read, or refused in lines that name the file."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lab_ddpm.data.conditions import load_conditions, parse_condition, read_labels
from lab_ddpm.data.iclevr import OBJECTS
from lab_ddpm.data.images import read_image, read_mask
from lab_ddpm.data.metadata import read_metadata
from lab_ddpm.generation.placing import parse_place
from lab_ddpm.tools.errors import UserError
from lab_ddpm.training.config_parser import make_config, parse_config
from lab_ddpm.training.presets import read_preset

many = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.sampled_from(OBJECTS) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | names
content = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
DEEP = b"[" * 100_000


def refusal(read: Callable[..., Any], *arguments: Any) -> list[str]:
    """The lines of the user's error that it raises; none where it raises none."""
    try:
        read(*arguments)
    except UserError as error:
        return str(error).splitlines() or [""]
    return []


def check(read: Callable[..., Any], path: Path, data: bytes, *arguments: Any) -> None:
    """Read a file of these bytes: every line about it names it, or another one beside it."""
    path.write_bytes(data)
    assert all(str(path.parent) in line for line in refusal(read, path, *arguments))


@many
@given(st.binary(max_size=60) | content.map(lambda value: json.dumps(value).encode()))
@example(DEEP)
@example(b'[["red cube"], ["' + b"9" * 5000 + b'"]]')
@example(b"[" + b"9" * 5000 + b"]")
def test_any_condition_list_and_label_file(tmp_path: Path, data: bytes) -> None:
    check(load_conditions, tmp_path / "list.json", data, OBJECTS)
    check(read_labels, tmp_path / "labels.json", data, OBJECTS)


@many
@given(st.text(max_size=30) | st.lists(names, max_size=4).map(", ".join))
def test_any_words_for_a_condition_or_a_place(words: str) -> None:
    assert all(name == name.strip() for name in parse_condition(words, OBJECTS))
    assert len(refusal(parse_place, words)) <= 1


lines = st.lists(
    st.fixed_dictionaries({}, optional={"file_name": scalars, "labels": content}) | content, max_size=4
).map(lambda entries: "\n".join(map(json.dumps, entries)).encode())


@many
@given(st.binary(max_size=60) | lines)
@example(DEEP)
@example(b'{"file_name": "a\\u0000.png", "labels": ["x"]}')
@example(b'{"file_name": "a\\nb.png", "labels": ["x\\ny"]}')
def test_any_metadata(tmp_path: Path, data: bytes) -> None:
    check(read_metadata, tmp_path / "metadata.jsonl", data)
    check(read_metadata, tmp_path / "metadata.csv", data)
    check(read_metadata, tmp_path / "metadata.csv", b"file_name,labels\n" + data)


keys = st.sampled_from(["name", "epochs", "seed", "data", "model", "loss", "sampling", "extends"])
configs = st.dictionaries(keys | names, content | st.dictionaries(names, scalars, max_size=3), max_size=4)


@many
@given(st.binary(max_size=60) | configs.map(lambda value: yaml.safe_dump(value).encode()))
@example(b"[" * 2000)
@example(b"seed: 2020-13-45")
@example(b"seed: !!python/object/apply:os.system ['true']")
@example(b"a: &a [1, 1]\nb: &b [*a, *a]\nname: [*b, *b]")
@example(b"name: &a [*a]")
@example(b"? [1, 2]\n: 3")
@example(b"1: 2")
@example(b"epochs: .nan")
@example(b"name: null")
@example(b"epochs: 1" + b"0" * 5000)
def test_any_config(tmp_path: Path, data: bytes) -> None:
    config = tmp_path / "config.yaml"
    config.write_bytes(data)
    assert len(refusal(parse_config, ["--config", str(config)])) <= 1  # a wrong value is named by its key alone
    check(read_preset, tmp_path / "preset.yaml", data)


@many
@given(keys, st.text(max_size=12))
def test_any_value_on_the_command_line(key: str, value: str) -> None:
    assert len(refusal(make_config, {}, [f"--{key}", value])) <= 1


def image_bytes(form: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


IMAGES = {form: image_bytes(form) for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")}


@pytest.mark.filterwarnings("ignore:::PIL", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("form", IMAGES)
@many
@given(data=st.data())
def test_any_damage_to_an_image(tmp_path: Path, form: str, data: st.DataObject) -> None:
    image = bytearray(IMAGES[form])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, min(len(image), 80) - 1))  # the header, mostly
        image[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(image)))
    for read in (read_image, read_mask):
        check(read, tmp_path / "image", bytes(image), 8)
        check(read, tmp_path / "image", bytes(image[:cut]), 8)
