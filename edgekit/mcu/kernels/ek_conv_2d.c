/* CONV_2D: where the filter's columns lie side by side in the image, a whole row is one run. */
#include "ek_kernels.h"

static void pixel(
    const EkConv2d *op, const int8_t *image, int32_t top, int32_t left, int8_t *output) {
    const EkSpan rows = ek_span(top, op->input_height, op->filter_height, op->dilation_height);
    const EkSpan columns = ek_span(left, op->input_width, op->filter_width, op->dilation_width);
    const int32_t depth = op->input_depth / op->groups;
    const int32_t per_group = op->output_depth / op->groups;
    const int joined = op->groups == 1 && op->dilation_width == 1;
    const int32_t run = joined ? (columns.end - columns.first) * depth : depth;
    const int32_t runs = joined ? 1 : columns.end - columns.first;
    const int32_t jump = op->dilation_width * op->input_depth;
    for (int32_t channel = 0; channel < op->output_depth; channel++) {
        int32_t sum = op->biases[channel];
        for (int32_t row = rows.first; row < rows.end; row++) {
            const int32_t y = top + row * op->dilation_height;
            const int32_t x = left + columns.first * op->dilation_width;
            const int8_t *from = image + (y * op->input_width + x) * op->input_depth;
            const int8_t *weights =
                op->weights +
                ((channel * op->filter_height + row) * op->filter_width + columns.first) * depth;
            from += channel / per_group * depth;
            for (int32_t i = 0; i < runs; i++) {
                sum += ek_dot(from + i * jump, op->input_offset, weights + i * depth, 0, run);
            }
        }
        sum = ek_multiply(sum, op->multipliers[channel], op->shifts[channel]);
        output[channel] = ek_clamp(sum + op->output_offset, op->low, op->high);
    }
}

void ek_conv_2d(const EkConv2d *op, const int8_t *input, int8_t *output) {
    for (int32_t batch = 0; batch < op->batches; batch++) {
        for (int32_t y = 0; y < op->output_height; y++) {
            for (int32_t x = 0; x < op->output_width; x++) {
                const int32_t top = y * op->stride_height - op->padding_height;
                const int32_t left = x * op->stride_width - op->padding_width;
                pixel(op, input, top, left, output);
                output += op->output_depth;
            }
        }
        input += op->input_height * op->input_width * op->input_depth;
    }
}
