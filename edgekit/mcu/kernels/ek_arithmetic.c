/* ADD, SUB and MUL; a step of 0 repeats an input along an axis. */
#include "ek_kernels.h"

enum { LEFT_SHIFT = 20, LAST = EK_MOST_AXES - 1 };

typedef int32_t Combine(const EkArithmetic *op, int32_t a, int32_t b);

static int32_t a_scaled(const EkArithmetic *op, int32_t a) {
    return ek_multiply(a * (1 << LEFT_SHIFT), op->a_multiplier, op->a_shift);
}

static int32_t b_scaled(const EkArithmetic *op, int32_t b) {
    return ek_multiply(b * (1 << LEFT_SHIFT), op->b_multiplier, op->b_shift);
}

static int32_t sum(const EkArithmetic *op, int32_t a, int32_t b) {
    return a_scaled(op, a) + b_scaled(op, b);
}

static int32_t difference(const EkArithmetic *op, int32_t a, int32_t b) {
    return a_scaled(op, a) - b_scaled(op, b);
}

static int32_t product(const EkArithmetic *op, int32_t a, int32_t b) {
    (void)op;
    return a * b;
}

static void apply(
    const EkArithmetic *op, const int8_t *a, const int8_t *b, int8_t *output, Combine *combine) {
    const int32_t rows = ek_count(op->sizes, LAST);
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *left = a + ek_distance(row, op->sizes, op->a_steps, LAST);
        const int8_t *right = b + ek_distance(row, op->sizes, op->b_steps, LAST);
        for (int32_t i = 0; i < op->sizes[LAST]; i++) {
            const int32_t raw = combine(op, *left + op->a_offset, *right + op->b_offset);
            const int32_t value = ek_multiply(raw, op->multiplier, op->shift) + op->output_offset;
            *output++ = ek_clamp(value, op->low, op->high);
            left += op->a_steps[LAST];
            right += op->b_steps[LAST];
        }
    }
}

void ek_add(const EkArithmetic *op, const int8_t *a, const int8_t *b, int8_t *output) {
    apply(op, a, b, output, sum);
}

void ek_sub(const EkArithmetic *op, const int8_t *a, const int8_t *b, int8_t *output) {
    apply(op, a, b, output, difference);
}

void ek_mul(const EkArithmetic *op, const int8_t *a, const int8_t *b, int8_t *output) {
    apply(op, a, b, output, product);
}
