"""Initial weights with which the tiny UNIMO can find and copy names from the first step.

A model of this size takes very long to learn how to copy a name that it has never seen, and where
to copy it from. Both are written into the weights here; everything else starts at random and is
learned.

Copying: the first layer stores at every token the token before it. The last layer attends to the
position that follows an earlier occurrence of the current token, and outputs the token there.
Finding: the first two layers mark every token that also occurs in the answer, which always begins
at position 4, and the third layer spreads the mark to the tokens shortly before it, where the
subject is.

The hidden vector is divided: the first three heads' worth of numbers encodes the token, the last
head's worth encodes the position.
"""

import numpy as np
import numpy.typing as npt
import paddle
from paddlenlp.transformers import UNIMOLMHeadModel

Matrix = npt.NDArray[np.float32]

HEAD = 32  # numbers per attention head
TOKEN_HEADS = 3
TOKEN = slice(0, TOKEN_HEADS * HEAD)
PLACE = slice(TOKEN_HEADS * HEAD, (TOKEN_HEADS + 1) * HEAD)
SCALE = 0.1  # standard deviation of the embeddings
ANSWER = slice(4, 9)  # positions of most answers, after [CLS]答案：
NOISE = 0.3  # factor of the random weights where a rule is written


def _turn_rates() -> Matrix:
    """Return the angle per token of each of the 16 waves, float32 [16], from fast to slow."""
    steps = np.linspace(0, 1, HEAD // 2)
    return np.asarray(2.5 * 0.004**steps, "float32")


def _waves(count: int) -> Matrix:
    """Return sine and cosine of every position, float32 [count, 32]."""
    angles = np.arange(count)[:, None] * _turn_rates()
    waves: Matrix = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype("float32")
    return waves


def _turn(steps: int) -> Matrix:
    """Return the rotation from a position's waves to those ``steps`` later, float32 [32, 32]."""
    cos, sin = np.diag(np.cos(steps * _turn_rates())), np.diag(np.sin(steps * _turn_rates()))
    return np.block([[cos, -sin], [sin, cos]]).astype("float32")


def _head(index: int) -> slice:
    return slice(index * HEAD, (index + 1) * HEAD)


def _write(layer: paddle.nn.Linear, rows: slice, columns: slice, rule: Matrix) -> None:
    """Add ``rule`` to [rows, columns] of the layer's weight, which is scaled down first."""
    weight = layer.weight.numpy()
    weight[rows, columns] = weight[rows, columns] * NOISE + rule
    layer.weight.set_value(weight)


def _set_embeddings(model: UNIMOLMHeadModel, random: np.random.Generator) -> None:
    embeddings = model.unimo.embeddings
    words = np.zeros(embeddings.word_embeddings.weight.shape, "float32")
    words[:, TOKEN] = random.normal(0, SCALE, words[:, TOKEN].shape)
    embeddings.word_embeddings.weight.set_value(words)
    places = np.zeros(embeddings.position_embeddings.weight.shape, "float32")
    places[:, PLACE] = _waves(len(places)) * SCALE * 2**0.5
    embeddings.position_embeddings.weight.set_value(places)


def _attend_to_previous_token(attention: paddle.nn.MultiHeadAttention, mixed: Matrix) -> None:
    """Make three heads output the previous token, through the rotation ``mixed``."""
    eye = np.eye(HEAD, dtype="float32")
    for index in range(TOKEN_HEADS):
        head = _head(index)
        _write(attention.q_proj, PLACE, head, 3 * _turn(-1))
        _write(attention.k_proj, PLACE, head, eye)
        _write(attention.v_proj, head, head, eye)
        _write(attention.out_proj, head, TOKEN, mixed[head])


def _replace(layer: paddle.nn.Linear, values: Matrix, column: int) -> None:
    """Replace one column of the layer's weight with ``values`` [128]."""
    weight = layer.weight.numpy()
    weight[:, column] = values
    layer.weight.set_value(weight)


def _prefer(attention: paddle.nn.MultiHeadAttention, head: int, feature: Matrix, by: float) -> None:
    """Use the head's last number for ``feature`` [128], and raise the scores of tokens with it."""
    last = _head(head).stop - 1
    _replace(attention.q_proj, np.zeros_like(feature), last)
    _replace(attention.k_proj, feature, last)
    bias = attention.q_proj.bias.numpy()
    bias[last] = by * HEAD**0.5
    attention.q_proj.bias.set_value(bias)


def _pass_on(
    attention: paddle.nn.MultiHeadAttention, head: int, feature: Matrix, mark: Matrix
) -> None:
    """Use the head's first number to add ``mark`` [128] where it attends to ``feature`` [128]."""
    first = _head(head).start
    _replace(attention.v_proj, feature, first)
    weight = attention.out_proj.weight.numpy()
    weight[first] = mark
    attention.out_proj.weight.set_value(weight)


def _in_answer() -> Matrix:
    """Return a feature [128] that is about 1 at the answer's positions and 0 elsewhere."""
    feature = np.zeros((TOKEN_HEADS + 1) * HEAD, "float32")
    kernel = _waves(ANSWER.stop)[ANSWER].mean(axis=0)
    kernel[np.tile(_turn_rates() < 0.15, 2)] = 0  # slow waves do not distinguish near from far
    feature[PLACE] = kernel / 8
    return feature


def _mark_answer(
    attention: paddle.nn.MultiHeadAttention, head: int, tokens: slice, mark: Matrix
) -> None:
    """Make the head look for its token in the answer, and add ``mark`` if it occurs there."""
    eye = np.eye(HEAD, dtype="float32")
    _write(attention.q_proj, tokens, _head(head), 1.4 * eye)
    _write(attention.k_proj, tokens, _head(head), 1.4 * eye)
    _prefer(attention, head, _in_answer(), by=5)
    _pass_on(attention, head, _in_answer(), mark)


def _spread_mark(
    attention: paddle.nn.MultiHeadAttention, head: int, mark: Matrix, spread: Matrix
) -> None:
    """Make the head look for ``mark`` shortly ahead, and add ``spread`` if it finds it."""
    broad = np.diag(np.tile((_turn_rates() < 1) & (_turn_rates() > 0.02), 2)).astype("float32")
    _write(attention.q_proj, PLACE, _head(head), 1.5 * _turn(6) @ broad)
    _write(attention.k_proj, PLACE, _head(head), broad)
    _prefer(attention, head, mark / (mark @ mark), by=5)
    _pass_on(attention, head, mark / (mark @ mark), spread)


def _copy_what_followed(
    attention: paddle.nn.MultiHeadAttention, mixed: Matrix, spread: Matrix
) -> None:
    """Make three heads attend to positions after the current token, and output their tokens."""
    eye = np.eye(HEAD, dtype="float32")
    for index in range(TOKEN_HEADS):
        head = _head(index)
        _write(attention.q_proj, TOKEN, head, 1.5 * mixed[:, head])
        _write(attention.k_proj, head, head, 1.5 * eye)
        _write(attention.v_proj, head, head, eye)
        _write(attention.out_proj, head, head, eye)
        _prefer(attention, index, spread / (spread @ spread), by=2)


def set_initial_weights(model: UNIMOLMHeadModel, seed: int) -> None:
    """Write the rules described above into a new model of hidden size 128 with four heads."""
    random = np.random.default_rng(seed)
    _set_embeddings(model, random)
    size = TOKEN_HEADS * HEAD
    mixed = np.linalg.qr(random.normal(size=(size, size)))[0].astype("float32")
    marks = random.normal(0, 0.5, (2, size + HEAD)).astype("float32")
    marks[:, PLACE] = 0
    layers = [layer.self_attn for layer in model.unimo.encoder.layers]
    _attend_to_previous_token(layers[0], mixed)
    _mark_answer(layers[0], TOKEN_HEADS, _head(0), marks[0])
    for index in range(TOKEN_HEADS):
        _mark_answer(layers[1], index, _head(index), marks[0] / 2)
    _spread_mark(layers[2], TOKEN_HEADS, marks[0], marks[1])
    _copy_what_followed(layers[3], mixed, marks[1])
    for layer in model.unimo.encoder.layers:
        layer.linear2.weight.set_value(layer.linear2.weight * NOISE)
    everything = slice(None)
    width = model.unimo.config.hidden_size
    _write(model.lm_head.transform, everything, everything, np.eye(width, dtype="float32"))
