"""A model of sentence-transformers in a folder: a BERT of one small layer with random weights, and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

WIDTH = 16
_WORDS = "[PAD] [UNK] [CLS] [SEP] query : the sea is a cold and deep place where old ships sleep".split()  # noqa: SIM905


def write_bert(folder: Path, *, pooling: str = "mean", prompt: str | None = None, seed: int = 0) -> Path:
    """The same weights from the same seed."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    listed = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in ("cls_token", "mean_tokens", "max_tokens")}
    pooled = {"word_embedding_dimension": WIDTH} | modes
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooled))
    if prompt is not None:
        prompts = {"prompts": {"default": prompt}, "default_prompt_name": "default"}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder
