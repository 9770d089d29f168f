// The passes of a training step that torch makes many of, or makes slowly, on a processor:
// attention with dropout, GELU, dropout, and dropout with the sum and the normalisation after it,
// forward and backward; and AdamW. Each is one pass over its numbers, and none writes down what it
// can compute again: masks come back from a seed, attention weights from the queries and keys.
//
// Plain C++ with the vector types of GCC and Clang, without torch's headers: it compiles in
// seconds, for whatever processor this is. Matrices are row by row, `cols` numbers a row.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

// Numbers in a vector, and vectors that the processor has registers for.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif
constexpr int kDraw = 32;         // numbers that one draw of noise decides about
constexpr int kVectors = kDraw / kLanes;
constexpr int kQueryBlock = 32;   // queries whose scores are in the cache at one time

inline int64_t threads() {
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

inline int64_t thread() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));
typedef uint64_t Longs __attribute__((vector_size(64)));

struct bfloat16 {
  uint16_t bits;
};

// ---- loading and storing: the compiler makes one instruction of each memcpy ----

inline Floats load(const float* from) {
  Floats numbers;
  std::memcpy(&numbers, from, sizeof numbers);
  return numbers;
}

inline Floats load(const bfloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  return (Floats)(__builtin_convertvector(halves, Words) << 16);
}

inline void store(float* to, Floats numbers) { std::memcpy(to, &numbers, sizeof numbers); }

inline void store(bfloat16* to, Floats numbers) {
  // To the nearest, to even where two are as near. A processor's own NaN stays one.
  const Words bits = (Words)numbers;
  const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Halves halves = __builtin_convertvector(rounded, Halves);
  std::memcpy(to, &halves, sizeof halves);
}

inline Floats all(float number) { return number - Floats{}; }

inline float sum(Floats numbers) {
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += numbers[i];
  return total;
}

inline Floats larger(Floats left, Floats right) { return left > right ? left : right; }

// e to the power of numbers that are not positive, to within two units in the last place (the
// polynomial of Cephes' expf).
inline Floats exponential(Floats numbers) {
  // Bounded to where the power is a float; what isn't a number stays so.
  numbers = numbers < -87.0f ? all(-87.0f) : numbers;
  numbers = numbers > 0.0f ? all(0.0f) : numbers;
  const Floats shifted = numbers * 1.44269504088896341f + 12582912.0f;  // rounds: 1.5 * 2^23
  const Floats power = shifted - 12582912.0f;
  const Floats rest = (numbers - power * 0.693359375f) + power * 2.12194440e-4f;
  Floats result = rest * 1.9875691500e-4f + 1.3981999507e-3f;
  result = result * rest + 8.3334519073e-3f;
  result = result * rest + 4.1665795894e-2f;
  result = result * rest + 1.6666665459e-1f;
  result = result * rest + 5.0000001201e-1f;
  result = result * rest * rest + rest + 1.0f;
  const Ints whole = __builtin_convertvector(power, Ints);
  return result * (Floats)((whole + 127) << 23);
}

// ---- noise ----

// Which numbers are dropped: of each, 16 random bits are below `level`. The bits are those of
// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) at the number's own place, so that whoever needs
// them again, in whatever order, draws the same.
struct Noise {
  uint64_t seed;
  uint32_t level;

  // For 32 numbers of a row from `column` on: all bits set where a number is kept.
  inline void draw(int64_t row, int64_t column, Ints* kept) const {
    if (level == 0) {
      for (int i = 0; i < kVectors; ++i) kept[i] = ~Ints{};
      return;
    }
    const uint64_t first = (static_cast<uint64_t>(row) << 16) + static_cast<uint64_t>(column / 4);
    Longs bits = Longs{1, 2, 3, 4, 5, 6, 7, 8} + first;
    bits = bits * 0x9E3779B97F4A7C15ull + seed;
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9ull;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EBull;
    bits ^= bits >> 31;
    Halves halves[kVectors];
    std::memcpy(halves, &bits, sizeof halves);
    for (int i = 0; i < kVectors; ++i) {
      kept[i] = (Ints)(__builtin_convertvector(halves[i], Words) >= level);
    }
  }
};

inline Floats where(Ints kept, Floats numbers) { return (Floats)((Ints)numbers & kept); }

// ---- dropout ----

template <typename T>
void dropout(const T* input, T* output, int64_t rows, int64_t cols, Noise noise, float scale) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const T* from = input + row * cols;
    T* to = output + row * cols;
    for (int64_t column = 0; column < cols; column += kDraw) {
      Ints kept[kVectors];
      noise.draw(row, column, kept);
      for (int i = 0; i < kVectors && column + i * kLanes < cols; ++i) {
        const int64_t at = column + i * kLanes;
        if (at + kLanes <= cols) {
          store(to + at, where(kept[i], load(from + at)) * scale);
          continue;
        }
        T numbers[kLanes] = {}, results[kLanes];
        std::memcpy(numbers, from + at, (cols - at) * sizeof(T));
        store(results, where(kept[i], load(numbers)) * scale);
        std::memcpy(to + at, results, (cols - at) * sizeof(T));
      }
    }
  }
}

// ---- GELU ----

// The normal distribution function, to within 1.5e-7 / 2 (Abramowitz and Stegun, 7.1.26), and
// e^(-x^2 / 2).
inline void normal_distribution(Floats numbers, Floats* below, Floats* bell) {
  const Floats size = numbers < 0 ? -numbers : numbers;
  const Floats t = 1.0f / (size * (0.3275911f * 0.70710678118654752f) + 1.0f);
  Floats tail = t * 1.061405429f - 1.453152027f;
  tail = tail * t + 1.421413741f;
  tail = tail * t - 0.284496736f;
  tail = tail * t + 0.254829592f;
  *bell = exponential(numbers * numbers * -0.5f);
  tail *= t * *bell * 0.5f;
  *below = numbers < 0 ? tail : 1.0f - tail;
}

constexpr int64_t kChunk = 1 << 15;  // numbers that one thread takes at a time

// Calls `pass` with the place of each vector; `count` is a multiple of the lanes.
template <typename Pass>
inline void for_each_vector(int64_t count, Pass pass) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < count; first += kChunk)
    for (int64_t at = first; at < std::min(count, first + kChunk); at += kLanes) pass(at);
}

template <typename T>
void gelu(const T* input, T* output, int64_t count) {
  for_each_vector(count, [&](int64_t at) {
    const Floats numbers = load(input + at);
    Floats below, bell;
    normal_distribution(numbers, &below, &bell);
    store(output + at, numbers * below);
  });
}

template <typename T>
void gelu_backward(const T* gradient, const T* input, T* by_input, int64_t count) {
  for_each_vector(count, [&](int64_t at) {
    const Floats numbers = load(input + at);
    Floats below, bell;
    normal_distribution(numbers, &below, &bell);
    store(by_input + at, load(gradient + at) * (below + numbers * bell * 0.39894228040143268f));
  });
}

// ---- dropout, sum, normalisation ----

template <typename T>
void norm_forward(const T* input, const float* residual, const float* weight, const float* bias,
                  float* output, T* normal, float* inverse, int64_t rows, int64_t cols,
                  Noise noise, float scale, float epsilon) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const T* from = input + row * cols;
    float* to = output + row * cols;
    Floats total = {};
    for (int64_t column = 0; column < cols; column += kDraw) {
      Ints kept[kVectors];
      noise.draw(row, column, kept);
      for (int i = 0; i < kVectors && column + i * kLanes < cols; ++i) {
        const int64_t at = column + i * kLanes;
        const Floats numbers =
            where(kept[i], load(from + at)) * scale + load(residual + row * cols + at);
        store(to + at, numbers);
        total += numbers;
      }
    }
    const float mean = sum(total) / cols;
    Floats squares = {};
    for (int64_t at = 0; at < cols; at += kLanes) {
      const Floats apart = load(to + at) - mean;
      squares += apart * apart;
    }
    const float by = 1.0f / std::sqrt(sum(squares) / cols + epsilon);
    inverse[row] = by;
    for (int64_t at = 0; at < cols; at += kLanes) {
      const Floats numbers = (load(to + at) - mean) * by;
      store(normal + row * cols + at, numbers);
      store(to + at, numbers * load(weight + at) + load(bias + at));
    }
  }
}

// by_weight and by_bias are null where nobody asks for them. Each thread adds up its own rows, and
// the threads' sums are added in their order: the result is the same in each run.
template <typename T>
void norm_backward(const float* gradient, const T* normal, const float* inverse,
                   const float* weight, float* by_residual, T* by_input, float* by_weight,
                   float* by_bias, int64_t rows, int64_t cols, Noise noise, float scale) {
  std::vector<float> sums(by_weight ? threads() * 2 * cols : 0, 0.0f);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = gradient + row * cols;
    const T* x = normal + row * cols;
    float* mine = by_weight ? &sums[thread() * 2 * cols] : nullptr;
    Floats first = {}, second = {};
    for (int64_t at = 0; at < cols; at += kLanes) {
      const Floats arriving = load(from + at), numbers = load(x + at);
      const Floats weighted = arriving * load(weight + at);
      first += weighted;
      second += weighted * numbers;
      if (mine) {
        store(mine + at, load(mine + at) + arriving * numbers);
        store(mine + cols + at, load(mine + cols + at) + arriving);
      }
    }
    const float mean = sum(first) / cols, along = sum(second) / cols;
    for (int64_t column = 0; column < cols; column += kDraw) {
      Ints kept[kVectors];
      noise.draw(row, column, kept);
      for (int i = 0; i < kVectors && column + i * kLanes < cols; ++i) {
        const int64_t at = column + i * kLanes;
        Floats numbers = load(from + at) * load(weight + at) - mean - load(x + at) * along;
        numbers *= inverse[row];
        store(by_residual + row * cols + at, numbers);
        store(by_input + row * cols + at, where(kept[i], numbers) * scale);
      }
    }
  }
  for (size_t at = 0; at < sums.size(); ++at) {
    const int64_t column = at % (2 * cols);
    (column < cols ? by_weight[column] : by_bias[column - cols]) += sums[at];
  }
}

// ---- attention ----

// How a number of a meets a vector of b's.
struct Single {
  static Floats step(Floats sums, const float* left, Floats right) { return sums + *left * right; }
};

#ifdef __AVX512BF16__
// The same with two bfloat16 in the place of each float: two products a lane, summed in 32 bits.
struct Pairs {
  static Floats step(Floats sums, const float* left, Floats right) {
    int32_t pair;
    std::memcpy(&pair, left, sizeof pair);
    return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)_mm512_set1_epi32(pair),
                                    (__m512bh)right);
  }
};
#endif

// c (+)= a b for a block of `kRows` rows and `kCols` vectors of columns, all of it in registers.
// Element (m, k) of a lies at a[m * a_row + k * a_col]; b and c are row by row.
template <typename How, int kRows, int kCols>
inline void multiply_block(int64_t depth, const float* a, int64_t a_row, int64_t a_col,
                           const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  Floats sums[kRows][kCols];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
    for (int n = 0; n < kCols; ++n)
      sums[m][n] = add ? load(c + m * c_row + n * kLanes) : Floats{};
  for (int64_t k = 0; k < depth; ++k) {
    Floats right[kCols];
#pragma GCC unroll 4
    for (int n = 0; n < kCols; ++n) right[n] = load(b + k * b_row + n * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
#pragma GCC unroll 4
      for (int n = 0; n < kCols; ++n)
        sums[m][n] = How::step(sums[m][n], a + m * a_row + k * a_col, right[n]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m)
#pragma GCC unroll 4
    for (int n = 0; n < kCols; ++n) store(c + m * c_row + n * kLanes, sums[m][n]);
}

template <typename How, int kCols>
inline void multiply_columns(int64_t rows, int64_t depth, const float* a, int64_t a_row,
                             int64_t a_col, const float* b, int64_t b_row, float* c,
                             int64_t c_row, bool add) {
  constexpr int kMost = std::min(8, kRegisters / 2 / kCols);
  int64_t m = 0;
  for (; m + kMost <= rows; m += kMost)
    multiply_block<How, kMost, kCols>(depth, a + m * a_row, a_row, a_col, b, b_row,
                                         c + m * c_row, c_row, add);
  for (; m + 2 <= rows; m += 2)
    multiply_block<How, 2, kCols>(depth, a + m * a_row, a_row, a_col, b, b_row, c + m * c_row,
                                     c_row, add);
  for (; m < rows; ++m)
    multiply_block<How, 1, kCols>(depth, a + m * a_row, a_row, a_col, b, b_row, c + m * c_row,
                                     c_row, add);
}

// c (+)= a b; `cols`, the columns of b and c, are a multiple of the lanes.
template <typename How = Single>
inline void multiply(int64_t rows, int64_t cols, int64_t depth, const float* a, int64_t a_row,
                     int64_t a_col, const float* b, int64_t b_row, float* c, int64_t c_row,
                     bool add) {
  int64_t n = 0;
  constexpr int kMost = kRegisters == 32 ? 4 : 2;
  for (; n + kMost * kLanes <= cols; n += kMost * kLanes)
    multiply_columns<How, kMost>(rows, depth, a, a_row, a_col, b + n, b_row, c + n, c_row, add);
  for (; n + 2 * kLanes <= cols; n += 2 * kLanes)
    multiply_columns<How, 2>(rows, depth, a, a_row, a_col, b + n, b_row, c + n, c_row, add);
  for (; n < cols; n += kLanes)
    multiply_columns<How, 1>(rows, depth, a, a_row, a_col, b + n, b_row, c + n, c_row, add);
}

inline int64_t up_to(int64_t number, int64_t step) { return (number + step - 1) / step * step; }

// What a thread needs at one time, kept from call to call.
class Scratch {
 public:
  // Starts handing out memory again; all of it together is at most `count` numbers.
  void start(int64_t count) {
    constexpr int64_t kAlign = 64 / sizeof(float);
    if (static_cast<int64_t>(memory_.size()) < count + kAlign) memory_.resize(count + kAlign);
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    next_ = memory_.data() + (up_to(address, 64) - address) / sizeof(float);
  }
  float* take(int64_t count) {
    float* taken = next_;
    next_ += count;
    return taken;
  }

 private:
  std::vector<float> memory_;
  float* next_ = nullptr;
};

thread_local Scratch scratch;

inline float one(float number) { return number; }

inline float one(bfloat16 number) {
  const uint32_t bits = static_cast<uint32_t>(number.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// Where a head's numbers lie in a matrix of tokens: `width` of each token's.
template <typename T>
struct Head {
  T* first;
  int64_t stride;
  int64_t width;

  // Copies the head's numbers of some tokens, a row each; zeros follow up to `padded` columns.
  void read(int64_t tokens, float* to, int64_t padded) const {
    for (int64_t token = 0; token < tokens; ++token, to += padded) {
      const T* from = first + token * stride;
      int64_t at = 0;
      for (; at + kLanes <= width; at += kLanes) store(to + at, load(from + at));
      for (; at < padded; ++at) to[at] = at < width ? one(from[at]) : 0.0f;
    }
  }

  void write(int64_t tokens, const float* from, int64_t padded, float scale) const {
    for (int64_t token = 0; token < tokens; ++token, from += padded) {
      T* to = first + token * stride;
      int64_t at = 0;
      for (; at + kLanes <= width; at += kLanes) store(to + at, load(from + at) * scale);
      if (at < width) {
        T last[kLanes];
        store(last, load(from + at) * scale);
        std::memcpy(to + at, last, sizeof(T) * (width - at));
      }
    }
  }
};

// Texts that lie end to end in matrices of one row a token, and attend to themselves alone.
struct Texts {
  int64_t count, heads, width;
  const int64_t* spans;  // four numbers a text: first query, queries, first key, keys

  int64_t items() const { return count * heads; }
  int64_t most_keys() const {
    int64_t most = 1;
    for (int64_t text = 0; text < count; ++text) most = std::max(most, spans[4 * text + 3]);
    return up_to(most, kDraw);
  }
  template <typename T>
  Head<T> head(T* matrix, int64_t token, int64_t head) const {
    const int64_t stride = heads * width;
    return {matrix + token * stride + head * width, stride, width};
  }
};

// The products of some tokens with others, all with all: of queries with keys, and of gradients
// with values. One side is packed with a token a row, the other with a token a column.
template <typename T>
struct Products {
  static void pack_rows(Head<T> head, int64_t tokens, float* to, int64_t wide) {
    head.read(tokens, to, wide);
  }
  static void pack_columns(Head<T> head, int64_t tokens, float* to, int64_t padded) {
    for (int64_t i = 0; i < head.width; ++i, to += padded) {
      for (int64_t token = 0; token < tokens; ++token)
        to[token] = one(head.first[token * head.stride + i]);
      std::fill(to + tokens, to + padded, 0.0f);
    }
  }
  static void multiply_packed(int64_t block, int64_t padded, int64_t width, const float* rows,
                              int64_t wide, const float* columns, float* products) {
    multiply(block, padded, width, rows, wide, 1, columns, padded, products, padded, false);
  }
};

#ifdef __AVX512BF16__
// Without a conversion, two numbers of a token side by side.
template <>
struct Products<const bfloat16> {
  using T = const bfloat16;
  static void pack_rows(Head<T> head, int64_t tokens, float* to, int64_t wide) {
    for (int64_t token = 0; token < tokens; ++token, to += wide) {
      std::memset(to, 0, wide * sizeof(float));
      std::memcpy(to, head.first + token * head.stride, head.width * sizeof(T));
    }
  }
  static void pack_columns(Head<T> head, int64_t tokens, float* to, int64_t padded) {
    auto* numbers = reinterpret_cast<bfloat16*>(to);
    std::memset(to, 0, up_to(head.width, 2) * padded * sizeof(T));
    for (int64_t i = 0; i < head.width; ++i)
      for (int64_t token = 0; token < tokens; ++token)
        numbers[(i / 2 * padded + token) * 2 + i % 2] = head.first[token * head.stride + i];
  }
  static void multiply_packed(int64_t block, int64_t padded, int64_t width, const float* rows,
                              int64_t wide, const float* columns, float* products) {
    multiply<Pairs>(block, padded, up_to(width, 2) / 2, rows, wide, 1, columns, padded, products,
                    padded, false);
  }
};
#endif

// Turns a row of scores, times `scaling`, into e to the power of each less the largest; returns the
// largest and the sum of the powers.
struct Powers {
  float most, total;
};

inline Powers raise(float* scores, int64_t keys, int64_t padded, float scaling) {
  std::fill(scores + keys, scores + padded, scores[0]);
  Floats most = load(scores);
  for (int64_t at = kLanes; at < padded; at += kLanes) most = larger(most, load(scores + at));
  float top = most[0];
  for (int i = 1; i < kLanes; ++i) top = std::max(top, most[i]);
  Floats total = {};
  for (int64_t at = 0; at < padded; at += kLanes) {
    const Floats powers = exponential((load(scores + at) - top) * scaling);
    store(scores + at, powers);
    if (at + kLanes <= keys) total += powers;
  }
  float rest = 0;
  for (int64_t key = keys / kLanes * kLanes; key < keys; ++key) rest += scores[key];
  return {top * scaling, sum(total) + rest};
}

// output = dropped(softmax(scaling * query key^T)) value; logarithms, of each query and head, is
// the logarithm of the sum that softmax divides by.
template <typename T>
void attention_forward(const T* query, const T* key, const T* value, T* output, float* logarithms,
                       Texts texts, Noise noise, float scaling, float keep_scale) {
  using Dot = Products<const T>;
  const int64_t wide = up_to(texts.width, kLanes), longest = texts.most_keys();
#pragma omp parallel for schedule(dynamic)
  for (int64_t item = 0; item < texts.items(); ++item) {
    const int64_t* span = texts.spans + 4 * (item / texts.heads);
    const int64_t head = item % texts.heads, keys = span[3], padded = up_to(keys, kDraw);
    scratch.start(2 * longest * wide + kQueryBlock * (2 * wide + longest));
    float* key_columns = scratch.take(padded * wide);
    float* values = scratch.take(padded * wide);
    float* queries = scratch.take(kQueryBlock * wide);
    float* result = scratch.take(kQueryBlock * wide);
    float* weights = scratch.take(kQueryBlock * padded);
    Dot::pack_columns(texts.head(key, span[2], head), keys, key_columns, padded);
    texts.head(value, span[2], head).read(keys, values, wide);
    for (int64_t first = 0; first < span[1]; first += kQueryBlock) {
      const int64_t block = std::min<int64_t>(kQueryBlock, span[1] - first);
      const int64_t token = span[0] + first;
      Dot::pack_rows(texts.head(query, token, head), block, queries, wide);
      Dot::multiply_packed(block, padded, texts.width, queries, wide, key_columns, weights);
      float inverse[kQueryBlock];
      for (int64_t i = 0; i < block; ++i) {
        const int64_t row = (token + i) * texts.heads + head;
        const Powers powers = raise(weights + i * padded, keys, padded, scaling);
        logarithms[row] = powers.most + std::log(powers.total);
        inverse[i] = keep_scale / powers.total;
        for (int64_t column = 0; column < padded; column += kDraw) {
          Ints kept[kVectors];
          noise.draw(row, column, kept);
          for (int j = 0; j < kVectors; ++j) {
            float* at = weights + i * padded + column + j * kLanes;
            store(at, where(kept[j], load(at)));
          }
        }
      }
      multiply(block, wide, keys, weights, padded, 1, values, wide, result, wide, false);
      for (int64_t i = 0; i < block; ++i)
        for (int64_t at = 0; at < wide; at += kLanes)
          store(result + i * wide + at, load(result + i * wide + at) * inverse[i]);
      texts.head(output, token, head).write(block, result, wide, 1.0f);
    }
  }
}

// The weights are computed again, from the logarithms: what they are in forward, to the last bits.
template <typename T>
void attention_backward(const T* gradient, const T* query, const T* key, const T* value,
                        const float* logarithms, T* by_query, T* by_key, T* by_value, Texts texts,
                        Noise noise, float scaling, float keep_scale) {
  using Dot = Products<const T>;
  const int64_t wide = up_to(texts.width, kLanes), longest = texts.most_keys();
#pragma omp parallel for schedule(dynamic)
  for (int64_t item = 0; item < texts.items(); ++item) {
    const int64_t* span = texts.spans + 4 * (item / texts.heads);
    const int64_t head = item % texts.heads, keys = span[3], padded = up_to(keys, kDraw);
    scratch.start(5 * longest * wide + kQueryBlock * (4 * wide + 2 * longest));
    float* key_columns = scratch.take(padded * wide);
    float* value_columns = scratch.take(padded * wide);
    float* key_rows = scratch.take(padded * wide);
    float* key_sums = scratch.take(padded * wide);
    float* value_sums = scratch.take(padded * wide);
    float* queries = scratch.take(kQueryBlock * wide);
    float* arriving = scratch.take(kQueryBlock * wide);
    float* packed = scratch.take(kQueryBlock * wide);
    float* result = scratch.take(kQueryBlock * wide);
    float* weights = scratch.take(kQueryBlock * padded);
    float* changes = scratch.take(kQueryBlock * padded);
    Dot::pack_columns(texts.head(key, span[2], head), keys, key_columns, padded);
    Dot::pack_columns(texts.head(value, span[2], head), keys, value_columns, padded);
    texts.head(key, span[2], head).read(keys, key_rows, wide);
    std::fill(key_sums, key_sums + padded * wide, 0.0f);
    std::fill(value_sums, value_sums + padded * wide, 0.0f);
    for (int64_t first = 0; first < span[1]; first += kQueryBlock) {
      const int64_t block = std::min<int64_t>(kQueryBlock, span[1] - first);
      const int64_t token = span[0] + first;
      texts.head(query, token, head).read(block, queries, wide);
      texts.head(gradient, token, head).read(block, arriving, wide);
      Dot::pack_rows(texts.head(query, token, head), block, packed, wide);
      Dot::multiply_packed(block, padded, texts.width, packed, wide, key_columns, weights);
      Dot::pack_rows(texts.head(gradient, token, head), block, packed, wide);
      Dot::multiply_packed(block, padded, texts.width, packed, wide, value_columns, changes);
      for (int64_t i = 0; i < block; ++i) {
        const int64_t row = (token + i) * texts.heads + head;
        // The mean of the changes, weighted by the weights: both are at hand for all keys.
        Floats products = {};
        for (int64_t column = 0; column < padded; column += kDraw) {
          Ints kept[kVectors];
          noise.draw(row, column, kept);
          for (int j = 0; j < kVectors; ++j) {
            float* at = weights + i * padded + column + j * kLanes;
            float* change = changes + i * padded + column + j * kLanes;
            const Floats weight = exponential(load(at) * scaling - logarithms[row]);
            const Floats arrives = where(kept[j], load(change)) * keep_scale;
            products += weight * arrives;
            store(change, arrives);
            // Its sign tells that the weight was dropped: a weight is never negative.
            store(at, kept[j] ? weight : -weight);
          }
        }
        const float mean = sum(products);
        for (int64_t at = i * padded; at < (i + 1) * padded; at += kLanes) {
          const Floats weight = load(weights + at);
          const Floats size = weight < 0 ? -weight : weight;
          store(changes + at, size * (load(changes + at) - mean));
          store(weights + at, weight < 0 ? Floats{} : weight);
        }
      }
      multiply(keys, wide, block, weights, 1, padded, arriving, wide, value_sums, wide, true);
      multiply(keys, wide, block, changes, 1, padded, queries, wide, key_sums, wide, true);
      multiply(block, wide, keys, changes, padded, 1, key_rows, wide, result, wide, false);
      texts.head(by_query, token, head).write(block, result, wide, scaling);
    }
    texts.head(by_key, span[2], head).write(keys, key_sums, wide, scaling);
    texts.head(by_value, span[2], head).write(keys, value_sums, wide, keep_scale);
  }
}

// ---- AdamW ----

// The sum of squares, in an order that doesn't depend on the threads.
template <typename T>
double sum_of_squares(const T* numbers, int64_t count) {
  const int64_t chunks = (count + kChunk - 1) / kChunk;
  std::vector<double> sums(chunks);
#pragma omp parallel for schedule(static)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t end = std::min(count, (chunk + 1) * kChunk);
    int64_t at = chunk * kChunk;
    Floats squares = {};
    for (; at + kLanes <= end; at += kLanes) {
      const Floats loaded = load(numbers + at);
      squares += loaded * loaded;
    }
    double total = sum(squares);
    for (; at < end; ++at) total += static_cast<double>(one(numbers[at])) * one(numbers[at]);
    sums[chunk] = total;
  }
  double total = 0;
  for (double part : sums) total += part;
  return total;
}

struct Adam {
  float decay;           // 1 - rate * weight decay
  float first, second;   // 1 less each of the two betas
  float step;            // rate / (1 - first^t)
  float correction;      // sqrt(1 - second^t)
  float epsilon, excess;
};

inline Floats root(Floats numbers) {
  for (int i = 0; i < kLanes; ++i) numbers[i] = std::sqrt(numbers[i]);
  return numbers;
}

// One update; `rounded`, unless null, is the weights' copy in 16 bits.
template <typename T>
void adam(float* weights, const T* gradients, float* means, float* squares, bfloat16* rounded,
          int64_t count, Adam how) {
  const auto update = [&](int64_t at) {
    const Floats gradient = load(gradients + at) / how.excess;
    const Floats mean = load(means + at) + (gradient - load(means + at)) * how.first;
    const Floats before = load(squares + at);
    const Floats square = before + (gradient * gradient - before) * how.second;
    const Floats denominator = root(square) / how.correction + how.epsilon;
    const Floats weight = load(weights + at) * how.decay - mean / denominator * how.step;
    store(means + at, mean);
    store(squares + at, square);
    store(weights + at, weight);
    if (rounded) store(rounded + at, weight);
  };
  const int64_t whole = count / kLanes * kLanes;
  for_each_vector(whole, update);
  if (whole < count) {
    // The last few, by way of a vector of their own.
    const int64_t few = count - whole;
    float w[kLanes] = {}, m[kLanes] = {}, s[kLanes] = {};
    T g[kLanes] = {};
    bfloat16 r[kLanes];
    std::memcpy(w, weights + whole, few * sizeof *w);
    std::memcpy(m, means + whole, few * sizeof *m);
    std::memcpy(s, squares + whole, few * sizeof *s);
    std::memcpy(g, gradients + whole, few * sizeof *g);
    adam(w, g, m, s, r, kLanes, how);
    std::memcpy(weights + whole, w, few * sizeof *w);
    std::memcpy(means + whole, m, few * sizeof *m);
    std::memcpy(squares + whole, s, few * sizeof *s);
    if (rounded) std::memcpy(rounded + whole, r, few * sizeof *r);
  }
}

}  // namespace

// What Python calls, by way of ctypes: each function once for 32-bit floats and once for bfloat16.
#define FOR_TYPE(T, NAME)                                                                          \
  void dropout_##NAME(const T* input, T* output, int64_t rows, int64_t cols, uint64_t seed,        \
                      uint32_t level, float scale) {                                               \
    dropout(input, output, rows, cols, {seed, level}, scale);                                      \
  }                                                                                                \
  void norm_forward_##NAME(const T* input, const float* residual, const float* weight,             \
                           const float* bias, float* output, T* normal, float* inverse,            \
                           int64_t rows, int64_t cols, uint64_t seed, uint32_t level, float scale, \
                           float epsilon) {                                                        \
    norm_forward(input, residual, weight, bias, output, normal, inverse, rows, cols,               \
                 {seed, level}, scale, epsilon);                                                   \
  }                                                                                                \
  void norm_backward_##NAME(const float* gradient, const T* normal, const float* inverse,          \
                            const float* weight, float* by_residual, T* by_input,                  \
                            float* by_weight, float* by_bias, int64_t rows, int64_t cols,          \
                            uint64_t seed, uint32_t level, float scale) {                          \
    norm_backward(gradient, normal, inverse, weight, by_residual, by_input, by_weight, by_bias,    \
                  rows, cols, {seed, level}, scale);                                               \
  }                                                                                                \
  void attention_forward_##NAME(const T* query, const T* key, const T* value, T* output,           \
                                float* logarithms, const int64_t* spans, int64_t texts,            \
                                int64_t heads, int64_t width, uint64_t seed, uint32_t level,       \
                                float scaling, float keep_scale) {                                 \
    attention_forward(query, key, value, output, logarithms, {texts, heads, width, spans},         \
                      {seed, level}, scaling, keep_scale);                                         \
  }                                                                                                \
  void attention_backward_##NAME(const T* gradient, const T* query, const T* key, const T* value,  \
                                 const float* logarithms, T* by_query, T* by_key, T* by_value,     \
                                 const int64_t* spans, int64_t texts, int64_t heads,               \
                                 int64_t width, uint64_t seed, uint32_t level, float scaling,      \
                                 float keep_scale) {                                               \
    attention_backward(gradient, query, key, value, logarithms, by_query, by_key, by_value,        \
                       {texts, heads, width, spans}, {seed, level}, scaling, keep_scale);          \
  }                                                                                                \
  void gelu_##NAME(const T* input, T* output, int64_t count) { gelu(input, output, count); }       \
  void gelu_backward_##NAME(const T* gradient, const T* input, T* by_input, int64_t count) {       \
    gelu_backward(gradient, input, by_input, count);                                               \
  }                                                                                                \
  double sum_of_squares_##NAME(const T* numbers, int64_t count) {                                  \
    return sum_of_squares(numbers, count);                                                         \
  }                                                                                                \
  void adam_##NAME(float* weights, const T* gradients, float* means, float* squares,               \
                   bfloat16* rounded, int64_t count, float decay, float first, float second,       \
                   float step, float correction, float epsilon, float excess) {                    \
    adam(weights, gradients, means, squares, rounded, count,                                       \
         {decay, first, second, step, correction, epsilon, excess});                               \
  }

extern "C" {
// Of this thread's parallel regions from now on: the library may have come with an OpenMP runtime
// of its own, which doesn't know what torch was told.
void use_threads(int64_t count) {
#ifdef _OPENMP
  omp_set_num_threads(static_cast<int>(count));
#else
  (void)count;
#endif
}
FOR_TYPE(float, float32)
FOR_TYPE(bfloat16, bfloat16)
}
