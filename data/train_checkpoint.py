"""Train the tiny UNIMO in ``checkpoint/``, or evaluate it.

``python data/train_checkpoint.py`` trains, ``python data/train_checkpoint.py --evaluate`` prints
BLEU-4 on ``passages/heldout.jsonl``.
"""

import zlib  # noqa: F401, I001  # Paddle can crash if it loads its own copy first

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
from disguise import Disguise
from initial_weights import set_initial_weights
from make_passages import DATA, MAX_LENGTH, MIN_LENGTH, Composer, Row, read_facts, split_facts
from paddlenlp.metrics import BLEU
from paddlenlp.transformers import UNIMOConfig, UNIMOLMHeadModel, UNIMOTokenizer
from paddlenlp.utils.log import logger
from vocabulary import gb2312_level_one

CHECKPOINT = DATA / "checkpoint"
SEED = 7
LEARNING_RATE = 2e-3
WARMUP_STEPS = 50
TOKENS = 5_000_000  # to train on, including padding
LONGEST = MAX_LENGTH - 20  # characters; a target, which a passage may exceed a little
SAVE_EVERY = 250
HIDDEN = -1e4  # added to the attention scores of masked positions

Encoded = dict[str, Any]
IntArray = npt.NDArray[np.int64]


def new_model(tokenizer: UNIMOTokenizer) -> UNIMOLMHeadModel:
    """Return an untrained model for the vocabulary of ``tokenizer``."""
    config = UNIMOConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=513,
        initializer_range=0.05,
        unk_token_id=tokenizer.unk_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.mask_token_id,
        mask_token_id=tokenizer.mask_token_id,
    )
    model = UNIMOLMHeadModel(config)
    set_initial_weights(model, SEED)
    return model


def source_text(tokenizer: UNIMOTokenizer, context: str, answer: str) -> str:
    """Return the model's input: template 1 of PaddleNLP's question-generation example."""
    return f"答案：{answer}{tokenizer.sep_token}上下文：{context}"


class Sampler:
    """Draws encoded training examples."""

    def __init__(self, tokenizer: UNIMOTokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.facts, _ = split_facts(read_facts())
        self.composer = Composer(self.facts)
        self.disguise = Disguise(self.facts, gb2312_level_one())

    def example(self, longest: int) -> Encoded:
        """Return an example encoded by ``gen_encode``, of up to about ``longest`` characters."""
        length = round(MIN_LENGTH + (longest - MIN_LENGTH) * self.rng.random() ** 1.6)
        passage = self.composer.compose(self.rng.choice(self.facts), length, self.rng)
        context, answer, question = self.disguise.apply(passage, self.rng)
        encoded: Encoded = self.tokenizer.gen_encode(
            source_text(self.tokenizer, context, answer),
            target=f"问题：{question}",
            max_seq_len=512,
            max_target_len=40,
            max_title_len=30,
            return_position_ids=True,
        )
        return encoded

    def batches(self, longest: int, budget: int) -> list[list[Encoded]]:
        """Return batches of at most ``budget`` tokens, each of examples of similar length."""
        count = 16 * budget // longest
        examples = [self.example(longest) for _ in range(count)]
        examples.sort(key=lambda example: len(example["input_ids"]))
        batches: list[list[Encoded]] = [[]]
        for example in examples:
            if (len(batches[-1]) + 1) * len(example["input_ids"]) > budget:
                batches.append([])
            batches[-1].append(example)
        self.rng.shuffle(batches)
        return [batch for batch in batches if batch]


def padded(batch: Sequence[Encoded], field: str) -> IntArray:
    """Return the lists of one field, padded on the left with zeros, int64 [batch, length]."""
    length = max(len(example["input_ids"]) for example in batch)
    return np.array([[0] * (length - len(row[field])) + row[field] for row in batch], "int64")


def model_inputs(batch: Sequence[Encoded]) -> dict[str, paddle.Tensor]:
    """Return a batch for the model.

    Ids, types and positions are int64 [batch, length], the mask is float32
    [batch, 1, length, length].
    """
    fields = ("input_ids", "token_type_ids", "position_ids")
    arrays: dict[str, Any] = {field: padded(batch, field) for field in fields}
    size, length = arrays["input_ids"].shape
    mask = np.full((size, 1, length, length), HIDDEN, "float32")
    for index, example in enumerate(batch):
        start = length - len(example["input_ids"])
        mask[index, 0, start:, start:] = example["attention_mask"]
    arrays["attention_mask"] = mask
    return {field: paddle.to_tensor(array) for field, array in arrays.items()}


def target_positions(batch: Sequence[Encoded]) -> tuple[IntArray, IntArray]:
    """Return flat positions whose next token is a target, and the targets, int64 [targets]."""
    types, ids = padded(batch, "token_type_ids"), padded(batch, "input_ids").reshape(-1)
    types[:, -1] = 0  # nothing follows the end mark
    positions = np.flatnonzero(types)
    return positions, ids[positions + 1]


def loss_and_accuracy(
    model: UNIMOLMHeadModel, batch: Sequence[Encoded]
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Return mean cross-entropy and accuracy over the target tokens, float32 scalars.

    The cross-entropy is computed here because Paddle's own is very slow on a CPU.
    """
    positions, labels = (paddle.to_tensor(array) for array in target_positions(batch))
    logits = model(**model_inputs(batch), masked_positions=positions)
    shifted = logits - logits.max(axis=-1, keepdim=True).detach()
    right = paddle.take_along_axis(shifted, labels.unsqueeze(1), 1).squeeze(1)
    loss = (shifted.exp().sum(axis=-1).log() - right).mean()
    return loss, (logits.argmax(axis=-1) == labels).astype("float32").mean()


def save(model: UNIMOLMHeadModel, tokenizer: UNIMOTokenizer) -> None:
    """Write the model's folder."""
    model.save_pretrained(str(CHECKPOINT))
    tokenizer.save_pretrained(str(CHECKPOINT))
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    # the two share one matrix; as the same object it is written once, which saves 2 MB
    weights["lm_head.decoder_weight"] = weights["unimo.embeddings.word_embeddings.weight"]
    paddle.save(weights, str(CHECKPOINT / "model_state.pdparams"))


def plan(sampler: Sampler) -> Iterator[tuple[float, list[Encoded]]]:
    """Yield learning rate and batch of every step; passages get longer, the rate decays to 0."""
    step = read = 0
    while True:
        progress = read / TOKENS
        longest = round(40 + (LONGEST - 40) * min(1.0, max(0.0, progress - 0.08) / 0.4))
        for batch in sampler.batches(longest, budget=round(1024 * (1 + progress / 2))):
            if read >= TOKENS:
                return
            step += 1
            yield LEARNING_RATE * min(step / WARMUP_STEPS, 1 - read / TOKENS), batch
            read += len(batch) * max(len(example["input_ids"]) for example in batch)


def fit(model: UNIMOLMHeadModel, tokenizer: UNIMOTokenizer) -> None:
    """Train on all batches of the plan with its learning rates, saving regularly."""
    optimizer = paddle.optimizer.AdamW(
        LEARNING_RATE,
        beta2=0.98,
        parameters=model.parameters(),
        weight_decay=0.01,
        grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0),
    )
    began, sums = time.monotonic(), np.zeros(2)
    for step, (rate, batch) in enumerate(plan(Sampler(tokenizer, SEED)), start=1):
        optimizer.set_lr(rate)
        loss, accuracy = loss_and_accuracy(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        sums += (float(loss), float(accuracy))
        if step % 50 == 0:
            seconds = time.monotonic() - began
            print(f"{step=} {rate=:.5f} {seconds=:.0f} loss, accuracy {sums / 50}", flush=True)
            sums[:] = 0
        if step % SAVE_EVERY == 0:
            save(model, tokenizer)
    save(model, tokenizer)


def train() -> None:
    """Train from the initial weights and write the model."""
    paddle.seed(SEED)
    tokenizer = UNIMOTokenizer(str(CHECKPOINT / "vocab.txt"))
    model = new_model(tokenizer)
    fit(model, tokenizer)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def encode_for_decoding(tokenizer: UNIMOTokenizer, row: Row) -> Encoded:
    """Return the row's passage and answer, encoded for ``generate``."""
    encoded: Encoded = tokenizer.gen_encode(
        source_text(tokenizer, row["context"], row["answer"]),
        add_start_token_for_decoding=True,
        max_seq_len=512,
        max_target_len=20,
        max_title_len=30,
        return_position_ids=True,
    )
    return encoded


def generate(model: UNIMOLMHeadModel, tokenizer: UNIMOTokenizer, rows: Sequence[Row]) -> list[str]:
    """Return one question per row, by beam search."""
    ids, _ = model.generate(
        **model_inputs([encode_for_decoding(tokenizer, row) for row in rows]),
        decode_strategy="beam_search",
        num_beams=6,
        length_penalty=1.2,
        max_length=20,
        min_length=3,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.mask_token_id,
    )
    questions = []
    for line in ids.tolist():
        end = line.index(tokenizer.mask_token_id) if tokenizer.mask_token_id in line else len(line)
        pieces = tokenizer.convert_ids_to_tokens(line[:end])
        questions.append("".join(tokenizer.merge_subword(pieces)).removeprefix("问题："))
    return questions


def evaluate(examples: int) -> None:
    """Print BLEU-4 on the held-out rows, and some of the questions."""
    tokenizer = UNIMOTokenizer.from_pretrained(str(CHECKPOINT))
    model = UNIMOLMHeadModel.from_pretrained(str(CHECKPOINT))
    model.eval()
    rows = read_rows(DATA / "passages" / "heldout.jsonl")
    rows.sort(key=lambda row: len(row["context"]))  # little padding in each batch
    questions: list[str] = []
    for start in range(0, len(rows), 20):
        questions += generate(model, tokenizer, rows[start : start + 20])
    pairs = list(zip(rows, questions, strict=True))
    bleu = BLEU(n_size=4)
    for row, question in pairs:
        bleu.add_inst(list(question), [list(row["question"])])
    for row, question in random.Random(0).sample(pairs, min(examples, len(pairs))):
        print(f"{row['id']} {row['answer']} | {question} | {row['question']}")
    same = sum(row["question"] == question for row, question in pairs)
    print(f"BLEU-4 {100 * bleu.score():.2f}, {same} of {len(rows)} questions as in the file")


def main() -> None:
    """Train or evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluate", action="store_true", help="only evaluate the model")
    parser.add_argument("--examples", type=int, default=20, help="how many questions to print")
    options = parser.parse_args()
    logger.set_level("ERROR")
    if not options.evaluate:
        train()
    evaluate(options.examples)


if __name__ == "__main__":
    main()
