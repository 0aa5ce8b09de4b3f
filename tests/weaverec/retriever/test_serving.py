"""Exported retrievers in sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest

from harness.data.domain import Catalogue
from harness.methods.recommender import load_scorer
from tests.weaverec.decoders import decoder
from weaverec.lm.backbone import Backbone, find_backbone, load
from weaverec.merging.task_vectors import save_model
from weaverec.retriever.encoding import RetrieverSettings
from weaverec.retriever.serving import write_files

TEXTS = ("Star Wars (1977)", "The Empire Strikes Back", "film number 3 " * 20, "a")


@pytest.mark.parametrize("kind", ["minilm", "llama", "qwen2"])
def test_sentence_transformers_gives_the_vectors_that_score(kind: str, tmp_path: Path, monkeypatch) -> None:
    library = pytest.importorskip("sentence_transformers")
    monkeypatch.setattr("weaverec.lm.backbone.has_bfloat16", lambda _: False)
    base = find_backbone("minilm") if kind == "minilm" else decoder(kind, tmp_path / "base")
    folder = tmp_path / "exported"
    model, tokenizer = load(base, "states" if kind == "minilm" else "tokens")
    save_model(model, tokenizer, folder, base.name, [])
    card = write_files(folder, base, RetrieverSettings(max_tokens=12))
    scorer = load_scorer(folder, Catalogue(tuple("abcd"), TEXTS))
    served = library.SentenceTransformer(str(folder), device="cpu")
    texts = TEXTS if kind == "minilm" else [text + "\n" for text in TEXTS if len(text) < 30]
    assert ('text + "\\n"' in card) == (kind != "minilm")
    vectors = served.encode(list(texts))
    rows = [row for row, text in enumerate(TEXTS) if kind == "minilm" or len(text) < 30]
    np.testing.assert_allclose(vectors, scorer.item_vectors()[rows], atol=1e-5)
    assert Backbone("exported", folder).pooling == base.pooling
