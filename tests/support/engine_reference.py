"""The reference of the engine's tests: PaddleNLP itself, on small random models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from tasks.config.settings import DecodeSettings
from tasks.engine.batch import Generated, Row
from tasks.engine.inference.random_numbers import draw_uniforms
from tasks.engine.paddle.runtime import Untyped, import_paddle, import_paddlenlp

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
PAD, CLS, SEP, MASK, UNK = range(5)
HIDDEN = -1e4


@dataclass(frozen=True)
class Recipe:
    """A small random model whose sequences differ and do not all reach the maximum length."""

    seed: int
    vocab_size: int = 400
    hidden_size: int = 48
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    hidden_act: str = "relu"
    normalize_before: bool = False
    max_position_embeddings: int = 320
    gain: float = 2.0  # of all matrices; above 1, attention affects the output
    sharpness: float = 1.0  # of the word embeddings, which also produce the logits
    eos_bias: float = 20.0

    def config(self) -> dict[str, Any]:
        names = [
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "hidden_act",
            "normalize_before",
            "max_position_embeddings",
        ]
        return {name: getattr(self, name) for name in names}


def make_checkpoint(folder: Path, recipe: Recipe) -> Path:
    """Write a model and its vocabulary as `save_pretrained` does; return the folder."""
    paddle, transformers = import_paddle(), import_paddlenlp().transformers
    paddle.seed(recipe.seed)
    config = transformers.UNIMOConfig(
        **recipe.config(),
        intermediate_size=2 * recipe.hidden_size,
        unk_token_id=UNK,
        pad_token_id=PAD,
        bos_token_id=CLS,
        eos_token_id=MASK,
        mask_token_id=MASK,
    )
    model = transformers.UNIMOLMHeadModel(config)
    for name, parameter in model.named_parameters():
        parameter.set_value(_random_weights(paddle, name, parameter, recipe))
    model.save_pretrained(str(folder))
    write_vocabulary(folder, recipe.vocab_size)
    return folder


def _random_weights(paddle: Untyped, name: str, parameter: Untyped, recipe: Recipe) -> Untyped:
    values = paddle.randn(parameter.shape)
    if name.endswith(("word_embeddings.weight", "decoder_weight")):
        values[MASK] *= 0.3  # so that the bias determines the probability of eos
        return values * recipe.sharpness
    if "embeddings" in name:
        return values
    if len(parameter.shape) == 2:
        return values * (recipe.gain / parameter.shape[0] ** 0.5)
    if name.endswith("decoder_bias"):
        values = values * 0.1
        values[MASK] += recipe.eos_bias
        return values
    return parameter + values * 0.1


def write_vocabulary(folder: Path, size: int) -> None:
    words = [*SPECIAL, *(chr(0x4E00 + number) for number in range(size - len(SPECIAL)))]
    lines = [f"{word}\t{index}\n" for index, word in enumerate(words)]
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")


def load_reference(folder: Path) -> Untyped:
    model = import_paddlenlp().transformers.UNIMOLMHeadModel.from_pretrained(str(folder))
    model.eval()
    return model


def make_rows(seed: int, count: int, vocab_size: int, longest: int = 300) -> list[Row]:
    """Return random rows of 5 to `longest` tokens, alternately short and long."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(rng.integers(5, 40 if number % 2 else longest + 1))
        words = rng.integers(UNK, vocab_size, length - 3).tolist()
        words[rng.integers(length - 3)] = MASK  # eos in the input must not end anything
        types = rng.integers(0, 2) if number % 3 == 0 else 0
        rows.append(Row([CLS, *words, SEP, CLS], [int(types)] * (length - 1) + [1], number))
    return rows


def read_passages(path: Path, count: int) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line) for line in lines]


def tokenized(checkpoint: Path, passages: Sequence[dict[str, str]]) -> list[Row]:
    """Tokenize as PaddleNLP's example does with template 1."""
    tokenizer = import_paddlenlp().transformers.UNIMOTokenizer.from_pretrained(str(checkpoint))
    rows = []
    for number, passage in enumerate(passages):
        source = f"答案：{passage['answer']}{tokenizer.sep_token}上下文：{passage['context']}"
        encoded = tokenizer.gen_encode(
            source, max_seq_len=512, max_target_len=30, add_start_token_for_decoding=True
        )
        rows.append(Row(encoded["input_ids"], encoded["token_type_ids"], number))
    return rows


def left_padded(rows: Sequence[Row]) -> dict[str, Untyped]:
    """Return the inputs that PaddleNLP's example passes to `generate`: left-padded, dense mask."""
    width = max(len(row.input_ids) for row in rows)
    ids, types, positions = (np.zeros((len(rows), width), np.int64) for _ in range(3))
    ids[:] = PAD
    mask = np.full((len(rows), 1, width, width), HIDDEN, np.float32)
    for index, row in enumerate(rows):
        start = width - len(row.input_ids)
        ids[index, start:] = row.input_ids
        types[index, start:] = row.token_type_ids
        positions[index, start:-1] = np.arange(width - 1 - start)
        mask[index, 0, start:, start:-1] = 0
        mask[index, 0, -1, -1] = 0
    to_tensor = import_paddle().to_tensor
    return {
        "input_ids": to_tensor(ids),
        "token_type_ids": to_tensor(types),
        "position_ids": to_tensor(positions),
        "attention_mask": to_tensor(mask),
    }


def generate(model: Untyped, rows: Sequence[Row], decode: DecodeSettings) -> Generated:
    """Return PaddleNLP's result in the form of a session's."""
    with multinomial_draws(rows, decode):
        found, scores = model.generate(
            **left_padded(rows),
            num_return_sequences=decode.num_return_sequences,
            repetition_penalty=decode.repetition_penalty,
            max_length=decode.max_dec_len,
            min_length=decode.min_dec_len,
            bos_token_id=CLS,
            eos_token_id=MASK,
            **strategy_options(decode),
        )
    shape = (len(rows), decode.num_return_sequences)
    tokens = np.full((shape[0] * shape[1], decode.max_dec_len), PAD, np.int32)
    tokens[:, : found.shape[1]] = found.numpy()
    return Generated(tokens.reshape(*shape, -1), scores.numpy().reshape(shape))


def strategy_options(decode: DecodeSettings) -> dict[str, Any]:
    if decode.is_greedy:
        return {"decode_strategy": "greedy_search"}
    if decode.is_sampling:
        options = {"top_k": decode.topk, "top_p": decode.topp, "temperature": decode.temperature}
        return {"decode_strategy": "sampling", **options}
    names = ("num_beams", "length_penalty", "diversity_rate", "early_stopping")
    return {"decode_strategy": "beam_search", **{name: getattr(decode, name) for name in names}}


@contextmanager
def multinomial_draws(rows: Sequence[Row], decode: DecodeSettings) -> Iterator[None]:
    """Patch `paddle.multinomial` to draw with the random numbers that belong to these rows."""
    paddle = import_paddle()
    uniforms = draw_uniforms(np.array([row.number for row in rows]), decode)
    steps = iter(uniforms.reshape(-1, decode.max_dec_len).T.astype(np.float64))

    def multinomial(probabilities: Untyped) -> Untyped:
        sums = np.cumsum(probabilities.numpy().astype(np.float64), axis=1)
        shares = next(steps)[:, None] * sums[:, -1:]
        return paddle.to_tensor((sums <= shares).sum(axis=1, keepdims=True))

    with patch.object(paddle, "multinomial", multinomial):
        yield


def generate_in_batches(
    model: Untyped, rows: Sequence[Row], decode: DecodeSettings, batch_size: int = 16
) -> Generated:
    """Generate in batches of similar length, because padding makes `generate` slow."""
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].input_ids))
    batches = [order[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    parts = joined([generate(model, [rows[row] for row in batch], decode) for batch in batches])
    places = np.argsort(order)
    return Generated(parts.tokens[places], parts.scores[places])


def joined(parts: Sequence[Generated]) -> Generated:
    return Generated(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def logits_of(model: Untyped, row: Row, body: Sequence[int]) -> Untyped:
    """Return PaddleNLP's logits after the start token and after each token of `body`."""
    to_tensor = import_paddle().to_tensor
    source, given = len(row.input_ids) - 1, [row.input_ids[-1], *body]
    width = source + len(given)
    mask = np.full((1, 1, width, width), HIDDEN, np.float32)
    mask[..., :source] = 0
    mask[..., source:, source:] = np.triu(np.full((len(given), len(given)), HIDDEN), 1)
    types = [*row.token_type_ids, *[row.token_type_ids[-1]] * len(body)]
    positions = [*range(source), *range(len(given))]
    ids = [*row.input_ids[:-1], *given]
    logits = model(*(to_tensor([values]) for values in (ids, types, positions)), to_tensor(mask))
    return model.adjust_logits_during_generation(logits[0, source:])


def score_of(model: Untyped, row: Row, tokens: Sequence[int], decode: DecodeSettings) -> float:
    """Return the beam-search score of a sequence, computed by PaddleNLP's model in one pass."""
    body = [token for token in tokens if token not in (MASK, PAD)]
    ends = MASK in tokens
    logits = logits_of(model, row, body).numpy().astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    for place, scores in enumerate(logs):
        seen = sorted({*row.input_ids, *body[:place]})
        penalty = decode.repetition_penalty
        scores[seen] = np.where(scores[seen] < 0, scores[seen] * penalty, scores[seen] / penalty)
    wanted = [*body, MASK] if ends else body
    total = sum(logs[place, token] for place, token in enumerate(wanted))
    return float(total / ((len(body) + 5) / 6) ** decode.length_penalty)
