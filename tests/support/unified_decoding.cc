// The operator of FasterTransformer that tests run instead of PaddleNLP's, which needs a GPU.
//
// It has the name, the inputs, the attributes and the outputs of PaddleNLP 2.8.1's
// fusion_unified_decoding, refuses arguments that would mean something else to that one, and
// answers with made-up sequences in the layout of its buffers: time first, finished beams before
// alive ones, parents that have to be followed, and rubbish where that one leaves memory as it is.
//
// Sequence k of a row is the row's own words, special tokens left out, from number k on and round
// again; it has min_length + (words + k) % 5 tokens, then the eos token. WENTI_OPERATOR_DUMP names
// a file that gets every argument.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "paddle/extension.h"

namespace {

using paddle::DataType;
using paddle::Tensor;
using Shape = std::vector<int64_t>;
using Tensors = std::vector<Tensor>;

constexpr int kRubbish = -7;

#define EXPECT(condition)                                            \
  if (!(condition)) {                                                \
    PD_THROW("fusion_unified_decoding: not so: " #condition);        \
  }

double element(const Tensor& tensor, int64_t place) {
  switch (tensor.dtype()) {
    case DataType::FLOAT32: return tensor.data<float>()[place];
    case DataType::FLOAT16: return static_cast<float>(tensor.data<paddle::float16>()[place]);
    case DataType::INT32: return tensor.data<int>()[place];
    default: PD_THROW("fusion_unified_decoding: a tensor of another type");
  }
}

class Dump {
 public:
  Dump() {
    if (const char* path = std::getenv("WENTI_OPERATOR_DUMP")) file_.open(path);
  }

  void add(const std::string& name, const Tensors& tensors) {
    for (const Tensor& tensor : tensors) {
      if (!file_.is_open()) return;
      file_ << "tensor " << name << " " << phi::DataTypeToString(tensor.dtype());
      for (int64_t size : tensor.shape()) file_ << " " << size;
      file_ << "\n";
      for (int64_t place = 0; place < tensor.numel(); ++place) {
        file_ << std::hexfloat << element(tensor, place) << " ";
      }
      file_ << "\n";
    }
  }

  template <typename T>
  void set(const std::string& name, const T& value) {
    if (file_.is_open()) file_ << std::defaultfloat << "attribute " << name << " " << value << "\n";
  }

 private:
  std::ofstream file_;
};

// One row's sequences, as the answer will have them.
class Row {
 public:
  Row(std::vector<int> words, int min_length, int max_length, int eos)
      : words_(std::move(words)), min_(min_length), max_(max_length), eos_(eos) {
    EXPECT(!words_.empty());
  }

  int length(int number) const {
    return std::min(min_ + static_cast<int>(words_.size() + number) % 5, max_);
  }
  bool ends(int number) const { return length(number) < max_; }
  // The step, from 1, in which the sequence is complete.
  int last_step(int number) const { return ends(number) ? length(number) + 1 : max_; }
  int word(int number, int step) const { return words_[(number + step - 1) % words_.size()]; }
  int token(int number, int step) const {
    return ends(number) && step > length(number) ? eos_ : word(number, step);
  }

 private:
  std::vector<int> words_;
  int min_, max_, eos_;
};

struct Answer {
  Tensor ids, parents, lengths, scores;
};

Tensor filled(const Shape& shape, DataType type, float value) {
  return paddle::full(shape, value, type, paddle::CPUPlace());
}

// Two queues for each row, as in beam_search_v3: finished sequences, best first, then alive ones.
Answer search_beams(const std::vector<Row>& rows, int beams, int max_length) {
  const int count = static_cast<int>(rows.size()), slots = 2 * beams;
  Answer answer{filled({max_length, count, slots}, DataType::INT32, kRubbish),
                filled({max_length, count, slots}, DataType::INT32, kRubbish),
                filled({count * slots}, DataType::INT32, 0),
                filled({count, slots}, DataType::FLOAT32, std::nanf(""))};
  int steps = 0;
  for (const Row& row : rows) {
    for (int number = 0; number < beams; ++number) {
      steps = std::max(steps, row.last_step(number));
    }
  }
  for (int index = 0; index < count; ++index) {
    const Row& row = rows[index];
    std::vector<int> finished;
    const auto alive = [&](int number, int step) { return beams + (number + step) % beams; };
    for (int step = 1; step <= steps; ++step) {
      int* ids = answer.ids.data<int>() + ((step - 1) * count + index) * slots;
      int* parents = answer.parents.data<int>() + ((step - 1) * count + index) * slots;
      int* lengths = answer.lengths.data<int>() + index * slots;
      // Parents are numbered through all rows, except of what was finished before.
      const auto parent = [&](int number) { return index * slots + alive(number, step - 1); };
      std::vector<int> grown;
      for (int number = 0; number < beams; ++number) {
        if (row.last_step(number) <= step) grown.push_back(number);
        ids[alive(number, step)] = row.word(number, step);
        parents[alive(number, step)] = parent(number);
        lengths[alive(number, step)] = step;
      }
      for (int slot = 0; slot < beams; ++slot) {
        ids[slot] = slot < static_cast<int>(grown.size()) ? row.token(grown[slot], step) : kRubbish;
        parents[slot] = -1;
        if (slot >= static_cast<int>(grown.size())) continue;
        const auto before = std::find(finished.begin(), finished.end(), grown[slot]);
        parents[slot] = before == finished.end() ? parent(grown[slot])
                                                 : static_cast<int>(before - finished.begin());
        lengths[slot] = row.last_step(grown[slot]);
      }
      finished = grown;
    }
  }
  // Only about half of the scores are ever written.
  std::fill_n(answer.scores.data<float>(), count * beams, -1.0f);
  return answer;
}

Answer sample(const std::vector<Row>& rows, bool counts_eos, int max_length) {
  const int count = static_cast<int>(rows.size());
  Answer answer{filled({max_length, count}, DataType::INT32, kRubbish),
                filled({1}, DataType::INT32, 0),
                filled({count}, DataType::INT32, 0),
                filled({count}, DataType::FLOAT32, -1)};
  for (int index = 0; index < count; ++index) {
    for (int step = 1; step <= max_length; ++step) {
      answer.ids.data<int>()[(step - 1) * count + index] = rows[index].token(0, step);
    }
    answer.lengths.data<int>()[index] =
        counts_eos ? rows[index].last_step(0) : rows[index].length(0);
  }
  return answer;
}

void expect_shape(const Tensor& tensor, const Shape& shape, DataType type, const char* name) {
  if (tensor.shape() != shape || tensor.dtype() != type) {
    PD_THROW("fusion_unified_decoding: ", name, " is of another shape or type");
  }
}

void expect_shapes(const Tensors& tensors, size_t count, const Shape& shape, DataType type,
                   const char* name) {
  if (tensors.size() != count) PD_THROW("fusion_unified_decoding: ", name, " is not one a layer");
  for (const Tensor& tensor : tensors) expect_shape(tensor, shape, type, name);
}

}  // namespace

std::vector<Tensor> Forward(
    const Tensor& input_ids, const Tensor& attn_mask, const Tensor& mem_seq_len,
    const Tensor& type_ids, const Tensor& dec_type_ids, const Tensor& logits_mask,
    const Tensor& word_embedding, const Tensors& self_ln_weight, const Tensors& self_ln_bias,
    const Tensors& self_q_weight, const Tensors& self_q_bias, const Tensors& self_k_weight,
    const Tensors& self_k_bias, const Tensors& self_v_weight, const Tensors& self_v_bias,
    const Tensors& self_out_weight, const Tensors& self_out_bias, const Tensors& ffn_ln_weight,
    const Tensors& ffn_ln_bias, const Tensors& ffn_inter_weight, const Tensors& ffn_inter_bias,
    const Tensors& ffn_out_weight, const Tensors& ffn_out_bias, const Tensor& decoder_ln_weight,
    const Tensor& decoder_ln_bias, const Tensor& trans_weight, const Tensor& trans_bias,
    const Tensor& lm_ln_weight, const Tensor& lm_ln_bias, const Tensor& emb_weight,
    const Tensor& emb_bias, const Tensor& position_embedding, const Tensor& type_embedding,
    const Tensor& role_ids, const Tensor& dec_role_ids, const Tensor& role_embedding,
    const Tensor& position_ids, const Tensor& dec_position_ids,
    const std::string& decoding_strategy, const int& beam_size, const int& topk,
    const float& topp, const int& n_head, const int& size_per_head, const int& num_layer,
    const int& bos_id, const int& eos_id, const int64_t& max_len,
    const float& beam_search_diversity_rate, const int& unk_id, const int& mask_id,
    const float& temperature, const float& len_penalty, const bool& normalize_before,
    const bool& pos_bias, const std::string& hidden_act, const bool& rel_len,
    const bool& early_stopping, const int& min_length, const int& tensor_para_size,
    const int& layer_para_size, const int& layer_para_batch_size) {
  Dump dump;
  dump.add("InputIds", {input_ids});
  dump.add("AttnMask", {attn_mask});
  dump.add("MemSeqLen", {mem_seq_len});
  dump.add("TypeIds", {type_ids});
  dump.add("DecTypeIds", {dec_type_ids});
  dump.add("LogitsMask", {logits_mask});
  dump.add("WordEmbedding", {word_embedding});
  dump.add("SelfLayernormWeight", self_ln_weight);
  dump.add("SelfLayernormBias", self_ln_bias);
  dump.add("SelfQueryWeight", self_q_weight);
  dump.add("SelfQueryBias", self_q_bias);
  dump.add("SelfOutWeight", self_out_weight);
  dump.add("SelfOutBias", self_out_bias);
  dump.add("FFNLayernormWeight", ffn_ln_weight);
  dump.add("FFNLayernormBias", ffn_ln_bias);
  dump.add("FFNInterWeight", ffn_inter_weight);
  dump.add("FFNInterBias", ffn_inter_bias);
  dump.add("FFNOutWeight", ffn_out_weight);
  dump.add("FFNOutBias", ffn_out_bias);
  dump.add("DecoderLayernormWeight", {decoder_ln_weight});
  dump.add("DecoderLayernormBias", {decoder_ln_bias});
  dump.add("TransWeight", {trans_weight});
  dump.add("TransBias", {trans_bias});
  dump.add("LMLayernormWeight", {lm_ln_weight});
  dump.add("LMLayernormBias", {lm_ln_bias});
  dump.add("EmbWeight", {emb_weight});
  dump.add("EmbBias", {emb_bias});
  dump.add("PositionEncEmb", {position_embedding});
  dump.add("TypeEmb", {type_embedding});
  dump.set("decoding_strategy", decoding_strategy);
  dump.set("beam_size", beam_size);
  dump.set("topk", topk);
  dump.set("topp", topp);
  dump.set("bos_id", bos_id);
  dump.set("eos_id", eos_id);
  dump.set("max_len", max_len);
  dump.set("beam_search_diversity_rate", beam_search_diversity_rate);
  dump.set("temperature", temperature);
  dump.set("len_penalty", len_penalty);
  dump.set("normalize_before", normalize_before);
  dump.set("hidden_act", hidden_act);
  dump.set("early_stopping", early_stopping);
  dump.set("min_length", min_length);
  dump.set("unk_id", unk_id);
  dump.set("mask_id", mask_id);

  EXPECT(input_ids.place() == paddle::CPUPlace());
  EXPECT(input_ids.shape().size() == 2);
  const int count = input_ids.shape()[0], width = input_ids.shape()[1];
  const int hidden = n_head * size_per_head, vocabulary = logits_mask.numel();
  const DataType type = word_embedding.dtype(), int32 = DataType::INT32;
  EXPECT(type == DataType::FLOAT32 || type == DataType::FLOAT16);
  EXPECT(size_per_head == 32 || size_per_head == 64 || size_per_head == 128);
  EXPECT(min_length >= 0 && max_len >= 1 && min_length <= max_len);
  EXPECT(tensor_para_size == 1 && layer_para_size == 1);
  EXPECT(!pos_bias && !rel_len && !normalize_before);
  EXPECT(role_ids.numel() == 0 && dec_role_ids.numel() == 0);
  EXPECT(position_ids.numel() == 0 && dec_position_ids.numel() == 0);

  expect_shape(input_ids, {count, width}, int32, "InputIds");
  expect_shape(type_ids, {count, width}, int32, "TypeIds");
  expect_shape(dec_type_ids, {count, 1}, int32, "DecTypeIds");
  expect_shape(mem_seq_len, {count}, int32, "MemSeqLen");
  expect_shape(attn_mask, {count, 1, width, width}, type, "AttnMask");
  expect_shape(logits_mask, {vocabulary}, type, "LogitsMask");
  expect_shape(word_embedding, {vocabulary, hidden}, type, "WordEmbedding");
  expect_shape(emb_weight, {hidden, vocabulary}, type, "EmbWeight");
  expect_shape(emb_bias, {vocabulary}, type, "EmbBias");
  expect_shape(trans_weight, {hidden, hidden}, type, "TransWeight");
  for (const Tensor* vector : {&decoder_ln_weight, &decoder_ln_bias, &trans_bias, &lm_ln_weight,
                               &lm_ln_bias}) {
    expect_shape(*vector, {hidden}, type, "a vector of the model");
  }
  EXPECT(!ffn_inter_weight.empty());
  const int64_t inner = ffn_inter_weight[0].shape()[1];
  EXPECT(inner % hidden == 0);
  expect_shapes(self_q_weight, num_layer, {hidden, 3 * hidden}, type, "SelfQueryWeight");
  expect_shapes(self_q_bias, num_layer, {3 * hidden}, type, "SelfQueryBias");
  expect_shapes(self_out_weight, num_layer, {hidden, hidden}, type, "SelfOutWeight");
  expect_shapes(ffn_inter_weight, num_layer, {hidden, inner}, type, "FFNInterWeight");
  expect_shapes(ffn_inter_bias, num_layer, {inner}, type, "FFNInterBias");
  expect_shapes(ffn_out_weight, num_layer, {inner, hidden}, type, "FFNOutWeight");
  for (const Tensors* vectors : {&self_ln_weight, &self_ln_bias, &self_out_bias, &ffn_ln_weight,
                                 &ffn_ln_bias, &ffn_out_bias}) {
    expect_shapes(*vectors, num_layer, {hidden}, type, "a vector of a layer");
  }
  // Queries, keys and values are in one matrix; the others are fillers.
  for (const Tensors* fillers : {&self_k_weight, &self_k_bias, &self_v_weight, &self_v_bias}) {
    expect_shapes(*fillers, num_layer, {1, 1}, type, "a filler");
  }

  const bool has_beams = decoding_strategy == "beam_search_v3";
  EXPECT(has_beams || decoding_strategy == "topk_sampling" || decoding_strategy == "topp_sampling");
  const int beams = has_beams ? beam_size : 1;
  EXPECT(count % beams == 0);
  if (decoding_strategy == "topk_sampling") EXPECT(topk > 0 && topk <= 64 && topp == 0);
  if (decoding_strategy == "topp_sampling") EXPECT(topk == 0 && topp > 0);

  std::vector<Row> rows;
  for (int index = 0; index < count; ++index) {
    const int length = mem_seq_len.data<int>()[index], padding = width - length;
    EXPECT(length >= 1 && padding >= 0);
    for (int row = 0; row < width; ++row) {
      for (int column = 0; column < width; ++column) {
        const bool is_seen = row >= padding && column >= padding;
        const int64_t place = (static_cast<int64_t>(index) * width + row) * width + column;
        EXPECT(element(attn_mask, place) == (is_seen ? 1 : 0));
      }
    }
    const int* ids = input_ids.data<int>() + index * width;
    const int* first = input_ids.data<int>() + (index - index % beams) * width;
    EXPECT(std::equal(ids, ids + width, first));  // a row's beams stand together
    if (index % beams != 0) continue;
    std::vector<int> words;
    for (int column = padding; column < width; ++column) {
      EXPECT(ids[column] >= 0 && ids[column] < vocabulary);
      if (ids[column] != eos_id && element(logits_mask, ids[column]) == 0) {
        words.push_back(ids[column]);
      }
    }
    rows.emplace_back(words, min_length, static_cast<int>(max_len), eos_id);
  }
  const Answer answer = has_beams ? search_beams(rows, beams, max_len)
                                  : sample(rows, decoding_strategy == "topk_sampling", max_len);
  return {answer.ids, answer.parents, answer.lengths, answer.scores};
}

// Paddle's macro hands over the shapes of all inputs, vectors of them for the inputs of a layer.
std::vector<Shape> InferShape(
    const Shape& input_ids, const Shape&, const Shape&, const Shape&, const Shape&, const Shape&,
    const Shape&, const std::vector<Shape>&, const std::vector<Shape>&, const std::vector<Shape>&,
    const std::vector<Shape>&, const std::vector<Shape>&, const std::vector<Shape>&,
    const std::vector<Shape>&, const std::vector<Shape>&, const std::vector<Shape>&,
    const std::vector<Shape>&, const std::vector<Shape>&, const std::vector<Shape>&,
    const std::vector<Shape>&, const std::vector<Shape>&, const std::vector<Shape>&,
    const std::vector<Shape>&, const Shape&, const Shape&, const Shape&, const Shape&, const Shape&,
    const Shape&, const Shape&, const Shape&, const Shape&, const Shape&, const Shape&,
    const Shape&, const Shape&, const Shape&, const Shape&, const std::string& decoding_strategy,
    const int& beam_size, const int&, const float&, const int&, const int&, const int&, const int&,
    const int&, const int64_t& max_len, const float&, const int&, const int&, const float&,
    const float&, const bool&, const bool&, const std::string&, const bool&, const bool&,
    const int&, const int&, const int&, const int&) {
  const int64_t count = input_ids[0];
  if (decoding_strategy != "beam_search_v3") return {{max_len, count}, {1}, {count}, {count}};
  const int64_t rows = count == -1 ? -1 : count / beam_size;
  const int64_t lengths = count == -1 ? -1 : 2 * count;
  const Shape ids{max_len, rows, 2 * beam_size};
  return {ids, ids, {lengths}, {rows, 2 * beam_size}};
}

using Types = std::vector<DataType>;

std::vector<DataType> InferTypes(
    const DataType&, const DataType&, const DataType&, const DataType&, const DataType&,
    const DataType&, const DataType&, const Types&, const Types&, const Types&, const Types&,
    const Types&, const Types&, const Types&, const Types&, const Types&, const Types&,
    const Types&, const Types&, const Types&, const Types&, const Types&, const Types&,
    const DataType&, const DataType&, const DataType&, const DataType&, const DataType&,
    const DataType&, const DataType&, const DataType&, const DataType&, const DataType&,
    const DataType&, const DataType&, const DataType&, const DataType&, const DataType&) {
  return {DataType::INT32, DataType::INT32, DataType::INT32, DataType::FLOAT32};
}

PD_BUILD_OP(fusion_unified_decoding)
    .Inputs({"InputIds", "AttnMask", "MemSeqLen", "TypeIds", "DecTypeIds", "LogitsMask",
             "WordEmbedding", paddle::Vec("SelfLayernormWeight"), paddle::Vec("SelfLayernormBias"),
             paddle::Vec("SelfQueryWeight"), paddle::Vec("SelfQueryBias"),
             paddle::Vec("SelfKeyWeight"), paddle::Vec("SelfKeyBias"),
             paddle::Vec("SelfValueWeight"), paddle::Vec("SelfValueBias"),
             paddle::Vec("SelfOutWeight"), paddle::Vec("SelfOutBias"),
             paddle::Vec("FFNLayernormWeight"), paddle::Vec("FFNLayernormBias"),
             paddle::Vec("FFNInterWeight"), paddle::Vec("FFNInterBias"),
             paddle::Vec("FFNOutWeight"), paddle::Vec("FFNOutBias"), "DecoderLayernormWeight",
             "DecoderLayernormBias", "TransWeight", "TransBias", "LMLayernormWeight",
             "LMLayernormBias", "EmbWeight", "EmbBias", "PositionEncEmb", "TypeEmb", "RoleIds",
             "DecRoleIds", "RoleEmbedding", "PositionIds", "DecPositionIds"})
    .Outputs({"OutputIds", "ParentIds", "SequenceLength", "OutputScores"})
    .Attrs({"decoding_strategy: std::string", "beam_size: int", "topk: int", "topp: float",
            "n_head: int", "size_per_head: int", "num_layer: int", "bos_id: int", "eos_id: int",
            "max_len: int64_t", "beam_search_diversity_rate: float", "unk_id: int",
            "mask_id: int", "temperature: float", "len_penalty: float", "normalize_before: bool",
            "pos_bias: bool", "hidden_act: std::string", "rel_len: bool", "early_stopping: bool",
            "min_length: int", "tensor_para_size: int", "layer_para_size: int",
            "layer_para_batch_size: int"})
    .SetKernelFn(PD_KERNEL(Forward))
    .SetInferShapeFn(PD_INFER_SHAPE(InferShape))
    .SetInferDtypeFn(PD_INFER_DTYPE(InferTypes));
