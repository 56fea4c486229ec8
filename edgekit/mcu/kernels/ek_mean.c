/* MEAN over any axes: the multiplier divides by their size. */
#include "ek_kernels.h"

enum { LAST = EK_MOST_AXES - 1 };

static int32_t sum(const EkMean *op, const int8_t *input) {
    const int32_t rows = ek_count(op->summed_sizes, LAST);
    int32_t total = 0;
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *from = input + ek_distance(row, op->summed_sizes, op->summed_steps, LAST);
        for (int32_t i = 0; i < op->summed_sizes[LAST]; i++) {
            total += *from;
            from += op->summed_steps[LAST];
        }
    }
    return total;
}

void ek_mean(const EkMean *op, const int8_t *input, int8_t *output) {
    for (int32_t i = 0; i < op->outputs; i++) {
        const int32_t start = ek_distance(i, op->kept_sizes, op->kept_steps, EK_MOST_AXES);
        const int32_t total = sum(op, input + start) - op->input_zero_point * op->count;
        const int32_t value = ek_multiply(total, op->multiplier, op->shift) + op->output_offset;
        output[i] = ek_clamp(value, INT8_MIN, INT8_MAX);
    }
}
