// The plain versions: what the vector versions are tested against.
#include "engine/kernels/attention_plain.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernels/number.h"
#include "engine/kernels/rows_plain.h"

namespace runnel::engine {
namespace {

constexpr int kKeyPanel = 16;

float value_of(float x) { return x; }
float value_of(std::uint16_t x) { return float_of_f16(x); }

void store(float x, float& to) { to = x; }
void store(float x, std::uint16_t& to) { to = f16_of(x); }

template <class T>
void one(const float* query, const AttendMemory& memory, int dim, float scale, float* scratch,
         float* out) noexcept {
  const T* keys = static_cast<const T*>(memory.keys);
  const T* values = static_cast<const T*>(memory.values);
  for (int i = 0; i < memory.n; ++i) {
    const T* key = keys + std::ptrdiff_t(i / kKeyPanel) * dim * kKeyPanel + i % kKeyPanel;
    float sum = 0;
    for (int d = 0; d < dim; ++d) sum += query[d] * value_of(key[d * kKeyPanel]);
    scratch[i] = sum;
  }
  plain_row_kernels().softmax(scratch, scale, memory.n);
  for (int d = 0; d < dim; ++d) {
    float sum = 0;
    for (int i = 0; i < memory.n; ++i) {
      sum += scratch[i] * value_of(values[std::ptrdiff_t(i) * dim + d]);
    }
    out[d] = sum;
  }
}

template <class T>
void few(const float* queries, std::ptrdiff_t stride, int count, const AttendMemory& memory,
         int dim, float scale, float* scratch, float* out, std::ptrdiff_t out_stride) noexcept {
  const std::ptrdiff_t padded = (memory.n + kKeyPanel - 1) / kKeyPanel * kKeyPanel;
  for (int q = 0; q < count; ++q) {
    one<T>(queries + q * stride, memory, dim, scale, scratch + q * padded, out + q * out_stride);
  }
}

template <class T>
void gathered(const float* query, const AttendRows& context, int dim, float scale, float* scratch,
              float* out) noexcept {
  const T* keys = static_cast<const T*>(context.keys);
  const T* values = static_cast<const T*>(context.values);
  for (int i = 0; i < context.n; ++i) {
    const T* key = keys + context.rows[i] * context.stride;
    float sum = 0;
    for (int d = 0; d < dim; ++d) sum += query[d] * value_of(key[d]);
    scratch[i] = sum;
  }
  plain_row_kernels().softmax(scratch, scale, context.n);
  for (int d = 0; d < dim; ++d) {
    float sum = 0;
    for (int i = 0; i < context.n; ++i) {
      sum += scratch[i] * value_of(values[context.rows[i] * context.stride + d]);
    }
    out[d] = sum;
  }
}

template <class T>
void pack_keys(const float* k, std::ptrdiff_t stride, int n, int dim, void* out) noexcept {
  T* to = static_cast<T*>(out);
  for (int first = 0; first < n; first += kKeyPanel) {
    for (int d = 0; d < dim; ++d) {
      for (int i = first; i < first + kKeyPanel; ++i) {
        store(i < n ? k[i * stride + d] : 0.0f, *to++);
      }
    }
  }
}

void window(const float* q, std::ptrdiff_t q_stride, int first, int count, const AttendWindow& w,
            int dim, float scale, float* scratch, float* out, std::ptrdiff_t out_stride) noexcept {
  for (int i = 0; i < count; ++i) {
    const int begin = std::max(0, first + i - w.past);
    const int n = std::min(w.rows - 1, first + i + w.future) - begin + 1;
    for (int j = 0; j < n; ++j) {
      float sum = 0;
      for (int d = 0; d < dim; ++d)
        sum += q[i * q_stride + d] * w.keys[d * w.key_stride + begin + j];
      scratch[j] = sum;
    }
    plain_row_kernels().softmax(scratch, scale, n);
    for (int d = 0; d < dim; ++d) {
      float sum = 0;
      for (int j = 0; j < n; ++j) sum += scratch[j] * w.values[(begin + j) * w.value_stride + d];
      out[i * out_stride + d] = sum;
    }
  }
}

void many(const float* q, std::ptrdiff_t q_stride, int first, int count, int queries,
          const float* k, const float* v, std::ptrdiff_t kv_stride, int keys, int dim, float scale,
          bool causal, float* scratch, float* out, std::ptrdiff_t out_stride) noexcept {
  for (int i = first; i < first + count; ++i) {
    const int seen = causal ? std::min(keys, i + 1 + keys - queries) : keys;
    float* y = out + i * out_stride;
    std::fill(y, y + dim, 0.0f);
    if (seen <= 0) continue;
    for (int j = 0; j < seen; ++j) {
      float sum = 0;
      for (int d = 0; d < dim; ++d) sum += q[i * q_stride + d] * k[j * kv_stride + d];
      scratch[j] = sum;
    }
    plain_row_kernels().softmax(scratch, scale, seen);
    for (int j = 0; j < seen; ++j) {
      for (int d = 0; d < dim; ++d) y[d] += scratch[j] * v[j * kv_stride + d];
    }
  }
}

void pieces(const float* q, std::ptrdiff_t q_stride, int count, const AttendPiece* pieces,
            int piece_count, int dim, float scale, float* scratch, float* out,
            std::ptrdiff_t out_stride) noexcept {
  const auto over_keys = [&](const auto& use) {
    float* weight = scratch;
    for (const AttendPiece* piece = pieces; piece < pieces + piece_count; ++piece) {
      for (int j = 0; j < piece->n; ++j) use(*piece, j, *weight++);
    }
    return int(weight - scratch);
  };
  for (int i = 0; i < count; ++i) {
    const float* const query = q + i * q_stride;
    const int keys = over_keys([&](const AttendPiece& piece, int j, float& weight) {
      const float* key = piece.keys + std::ptrdiff_t(j / 4) * dim * 4 + j % 4;
      float sum = 0;
      for (int d = 0; d < dim; ++d) sum += query[d] * key[4 * d];
      weight = sum * scale + piece.bias;
    });
    plain_row_kernels().softmax(scratch, 1.0f, keys);
    float* y = out + i * out_stride;
    std::fill(y, y + dim, 0.0f);
    over_keys([&](const AttendPiece& piece, int j, float& weight) {
      const float* value = piece.values + std::ptrdiff_t(j) * piece_columns(dim);
      for (int d = 0; d < dim; ++d) y[d] += weight * value[d];
    });
  }
}

}  // namespace

const AttentionKernels& plain_attention_kernels() {
  static const AttentionKernels kTable{.one_f32 = one<float>,
                                       .one_f16 = one<std::uint16_t>,
                                       .few_f32 = few<float>,
                                       .few_f16 = few<std::uint16_t>,
                                       .gathered_f32 = gathered<float>,
                                       .gathered_f16 = gathered<std::uint16_t>,
                                       .pack_keys_f32 = pack_keys<float>,
                                       .pack_keys_f16 = pack_keys<std::uint16_t>,
                                       .window = window,
                                       .many = many,
                                       .pieces = pieces};
  return kTable;
}

}  // namespace runnel::engine
