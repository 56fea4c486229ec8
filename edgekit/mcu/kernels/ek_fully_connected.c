/* FULLY_CONNECTED: the reference kernel scales each sum in double precision, so this one does. */
#include "ek_kernels.h"

/* Rounds sum * scale, halves away from zero; comparing leaves no product to fuse with a sum. */
static int32_t scaled(int32_t sum, double scale) {
    const double product = (double)sum * scale;
    const int32_t whole = (int32_t)product;
    if (product >= (double)whole + 0.5) {
        return whole + 1;
    }
    return product <= (double)whole - 0.5 ? whole - 1 : whole;
}

void ek_fully_connected(const EkFullyConnected *op, const int8_t *input, int8_t *output) {
    for (int32_t batch = 0; batch < op->batches; batch++) {
        const int8_t *weights = op->weights;
        for (int32_t channel = 0; channel < op->output_depth; channel++) {
            int32_t sum = op->biases[channel];
            sum += ek_dot(
                input, op->input_offset, weights, op->weights_offset, op->input_depth);
            weights += op->input_depth;
            sum = scaled(sum, op->scales[channel * op->scale_step]) + op->output_offset;
            *output++ = ek_clamp(sum, op->low, op->high);
        }
        input += op->input_depth;
    }
}
