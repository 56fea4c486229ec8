/* Moves bytes from one layout to another: PAD, CONCATENATION and TRANSPOSE. */
#include "ek_kernels.h"

#include <string.h>

enum { LAST = EK_MOST_AXES - 1 };

void ek_copy(const EkCopy *op, const int8_t *input, int8_t *output) {
    const int32_t rows = ek_count(op->sizes, LAST);
    const int32_t size = op->sizes[LAST];
    const int joined = size == 1 || (op->input_steps[LAST] == 1 && op->output_steps[LAST] == 1);
    for (int32_t row = 0; row < rows; row++) {
        const int8_t *from = input + ek_distance(row, op->sizes, op->input_steps, LAST);
        int8_t *to = output + ek_distance(row, op->sizes, op->output_steps, LAST);
        if (joined) {
            memcpy(to, from, (size_t)size);
            continue;
        }
        for (int32_t i = 0; i < size; i++) {
            to[i * op->output_steps[LAST]] = from[i * op->input_steps[LAST]];
        }
    }
}

void ek_fill(int8_t *output, int32_t size, int8_t value) {
    memset(output, value, (size_t)size);
}
