/* int8 kernels that give, bit by bit, what LiteRT's reference kernels give. C11, no library.
 *
 * Tensors are in row-major order, images as [batch, height, width, depth]. A real value is
 * scale * (stored - zero point); an "offset" is what is added to a stored value.
 */
#ifndef EK_KERNELS_H
#define EK_KERNELS_H

#include <stdint.h>

enum { EK_MOST_AXES = 6 };

/* real = multiplier / 2^31 * 2^shift */

/* a * b / 2^31, rounded to the nearest, as gemmlowp's SaturatingRoundingDoublingHighMul. */
static inline int32_t ek_high_multiply(int32_t a, int32_t b) {
    const int64_t product = (int64_t)a * b;
    const int64_t nudge = product >= 0 ? (1 << 30) : 1 - (1 << 30);
    return (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

/* value / 2^exponent, halves away from zero. */
static inline int32_t ek_divide_by_pot(int32_t value, int32_t exponent) {
    const int32_t mask = (int32_t)(((int64_t)1 << exponent) - 1);
    const int32_t remainder = value & mask;
    const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
    return (value >> exponent) + (remainder > threshold ? 1 : 0);
}

static inline int32_t ek_multiply(int32_t value, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = shift > 0 ? 0 : -shift;
    return ek_divide_by_pot(ek_high_multiply(value * ((int32_t)1 << left), multiplier), right);
}

static inline int8_t ek_clamp(int32_t value, int32_t low, int32_t high) {
    return (int8_t)(value < low ? low : value > high ? high : value);
}

/* The sum of (input + offset) * (weight + offset), four at a time. */
static inline int32_t ek_dot(
    const int8_t *input, int32_t input_offset, const int8_t *weights, int32_t weights_offset,
    int32_t size) {
    int32_t sum = 0;
    for (; size >= 4; size -= 4) {
        sum += (input[0] + input_offset) * (weights[0] + weights_offset);
        sum += (input[1] + input_offset) * (weights[1] + weights_offset);
        sum += (input[2] + input_offset) * (weights[2] + weights_offset);
        sum += (input[3] + input_offset) * (weights[3] + weights_offset);
        input += 4;
        weights += 4;
    }
    for (int32_t i = 0; i < size; i++) {
        sum += (input[i] + input_offset) * (weights[i] + weights_offset);
    }
    return sum;
}

typedef struct {
    int32_t batches, input_height, input_width, input_depth;
    int32_t output_height, output_width, output_depth;
    int32_t filter_height, filter_width, groups;
    int32_t stride_height, stride_width, dilation_height, dilation_width;
    int32_t padding_height, padding_width;
    int32_t input_offset, output_offset, low, high;
    const int8_t *weights;
    const int32_t *biases;
    const int32_t *multipliers;
    const int8_t *shifts;
} EkConv2d;

void ek_conv_2d(const EkConv2d *op, const int8_t *input, int8_t *output);
void ek_depthwise_conv_2d(const EkConv2d *op, const int8_t *input, int8_t *output);

typedef struct {
    int32_t batches, input_depth, output_depth;
    int32_t input_offset, weights_offset, output_offset, low, high;
    const int8_t *weights;
    const int32_t *biases;
    const double *scales;
    int32_t scale_step; /* 1: each output has a scale; 0: all have the first */
} EkFullyConnected;

void ek_fully_connected(const EkFullyConnected *op, const int8_t *input, int8_t *output);

typedef struct {
    int32_t batches, depth, input_height, input_width, output_height, output_width;
    int32_t filter_height, filter_width, stride_height, stride_width;
    int32_t padding_height, padding_width, low, high;
} EkPool2d;

void ek_average_pool_2d(const EkPool2d *op, const int8_t *input, int8_t *output);
void ek_max_pool_2d(const EkPool2d *op, const int8_t *input, int8_t *output);

typedef struct {
    int32_t sizes[EK_MOST_AXES], a_steps[EK_MOST_AXES], b_steps[EK_MOST_AXES];
    int32_t a_offset, b_offset, output_offset, low, high;
    int32_t a_multiplier, a_shift, b_multiplier, b_shift, multiplier, shift;
} EkArithmetic;

void ek_add(const EkArithmetic *op, const int8_t *a, const int8_t *b, int8_t *output);
void ek_sub(const EkArithmetic *op, const int8_t *a, const int8_t *b, int8_t *output);
void ek_mul(const EkArithmetic *op, const int8_t *a, const int8_t *b, int8_t *output);

typedef struct {
    int32_t outputs, count;
    int32_t kept_sizes[EK_MOST_AXES], kept_steps[EK_MOST_AXES];
    int32_t summed_sizes[EK_MOST_AXES], summed_steps[EK_MOST_AXES];
    int32_t input_zero_point, output_offset, multiplier, shift;
} EkMean;

void ek_mean(const EkMean *op, const int8_t *input, int8_t *output);

typedef struct {
    int32_t rows, depth, steps;
    const int32_t *exponentials;
} EkSoftmax;

void ek_softmax(const EkSoftmax *op, const int8_t *input, int8_t *output);

typedef struct {
    int32_t sizes[EK_MOST_AXES], input_steps[EK_MOST_AXES], output_steps[EK_MOST_AXES];
} EkCopy;

void ek_copy(const EkCopy *op, const int8_t *input, int8_t *output);
void ek_fill(int8_t *output, int32_t size, int8_t value);

/* `table` has the answer for -128 first. */
void ek_lookup(const int8_t *table, int32_t size, const int8_t *input, int8_t *output);

/* How far from the start element `index` lies, for elements counted along the first `axes` axes. */
static inline int32_t ek_distance(
    int32_t index, const int32_t *sizes, const int32_t *steps, int32_t axes) {
    int32_t distance = 0;
    for (int32_t axis = axes - 1; axis >= 0 && index > 0; axis--) {
        distance += index % sizes[axis] * steps[axis];
        index /= sizes[axis];
    }
    return distance;
}

/* How many elements there are along the first `axes` axes. */
static inline int32_t ek_count(const int32_t *sizes, int32_t axes) {
    int32_t count = 1;
    for (int32_t axis = 0; axis < axes; axis++) {
        count *= sizes[axis];
    }
    return count;
}

/* The part [first, end) of a filter along one axis that lies on an image of `size`. */
typedef struct {
    int32_t first, end;
} EkSpan;

static inline EkSpan ek_span(int32_t origin, int32_t size, int32_t filter, int32_t dilation) {
    EkSpan span = {0, filter};
    if (origin < 0) {
        span.first = (-origin + dilation - 1) / dilation;
    }
    if (origin + (filter - 1) * dilation >= size) {
        span.end = (size - origin + dilation - 1) / dilation;
    }
    return span;
}

#endif
