/* SOFTMAX in fixed point, as gemmlowp's; exp() comes from a table. */
#include "ek_kernels.h"

enum { SUM_INTEGER_BITS = 12 };

static int32_t leading_zeros(uint32_t value) {
    int32_t count = 0;
    while (count < 32 && !(value >> (31 - count))) {
        count++;
    }
    return count;
}

/* 1 / (1 + x) for x in [0, 1) with 31 fractional bits, by three steps of Newton's method. */
static int32_t one_over_one_plus(int32_t x) {
    const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t result = 1515870810 + ek_high_multiply(half_denominator, -1010580540);
    for (int step = 0; step < 3; step++) { /* numbers with 2 integer and 29 fractional bits */
        const int32_t rest = (1 << 29) - ek_high_multiply(half_denominator, result);
        result += ek_high_multiply(result, rest) * 4;
    }
    return result > INT32_MAX / 2 ? INT32_MAX : result * 2;
}

/* exp of how far a value lies below the largest; -1 where that counts as 0. */
static int32_t exponential(const EkSoftmax *op, int8_t value, int8_t largest) {
    const int32_t distance = largest - value;
    return distance < op->steps ? op->exponentials[distance] : -1;
}

static void row(const EkSoftmax *op, const int8_t *input, int8_t *output) {
    int8_t largest = INT8_MIN;
    for (int32_t i = 0; i < op->depth; i++) {
        largest = input[i] > largest ? input[i] : largest;
    }
    int32_t sum = 0;
    for (int32_t i = 0; i < op->depth; i++) {
        const int32_t exp = exponential(op, input[i], largest);
        sum += exp < 0 ? 0 : ek_divide_by_pot(exp, SUM_INTEGER_BITS);
    }
    const int32_t headroom = leading_zeros((uint32_t)sum);
    const int32_t scale = one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - (1u << 31)));
    const int32_t exponent = SUM_INTEGER_BITS - headroom + 31 - 8;
    for (int32_t i = 0; i < op->depth; i++) {
        const int32_t exp = exponential(op, input[i], largest);
        const int32_t share =
            exp < 0 ? 0 : ek_divide_by_pot(ek_high_multiply(scale, exp), exponent);
        output[i] = ek_clamp(share + INT8_MIN, INT8_MIN, INT8_MAX);
    }
}

void ek_softmax(const EkSoftmax *op, const int8_t *input, int8_t *output) {
    for (int32_t i = 0; i < op->rows; i++) {
        row(op, input + i * op->depth, output + i * op->depth);
    }
}
