/* AVERAGE_POOL_2D and MAX_POOL_2D over what lies inside the image. */
#include "ek_kernels.h"

typedef int32_t Reduce(
    const int8_t *corner, int32_t height, int32_t width, int32_t row_step, int32_t step);

static int32_t average(
    const int8_t *corner, int32_t height, int32_t width, int32_t row_step, int32_t step) {
    int32_t sum = 0;
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            sum += corner[y * row_step + x * step];
        }
    }
    const int32_t count = height * width;
    return (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
}

static int32_t maximum(
    const int8_t *corner, int32_t height, int32_t width, int32_t row_step, int32_t step) {
    int32_t most = INT8_MIN;
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            const int32_t value = corner[y * row_step + x * step];
            most = value > most ? value : most;
        }
    }
    return most;
}

static void pool(const EkPool2d *op, const int8_t *image, int8_t *output, Reduce *reduce) {
    const int32_t row_step = op->input_width * op->depth;
    for (int32_t y = 0; y < op->output_height; y++) {
        const int32_t top = y * op->stride_height - op->padding_height;
        const EkSpan rows = ek_span(top, op->input_height, op->filter_height, 1);
        for (int32_t x = 0; x < op->output_width; x++) {
            const int32_t left = x * op->stride_width - op->padding_width;
            const EkSpan columns = ek_span(left, op->input_width, op->filter_width, 1);
            const int8_t *corner =
                image + (top + rows.first) * row_step + (left + columns.first) * op->depth;
            for (int32_t channel = 0; channel < op->depth; channel++) {
                const int32_t value = reduce(
                    corner + channel,
                    rows.end - rows.first,
                    columns.end - columns.first,
                    row_step,
                    op->depth);
                *output++ = ek_clamp(value, op->low, op->high);
            }
        }
    }
}

static void batches(const EkPool2d *op, const int8_t *input, int8_t *output, Reduce *reduce) {
    for (int32_t batch = 0; batch < op->batches; batch++) {
        pool(op, input, output, reduce);
        input += op->input_height * op->input_width * op->depth;
        output += op->output_height * op->output_width * op->depth;
    }
}

void ek_average_pool_2d(const EkPool2d *op, const int8_t *input, int8_t *output) {
    batches(op, input, output, average);
}

void ek_max_pool_2d(const EkPool2d *op, const int8_t *input, int8_t *output) {
    batches(op, input, output, maximum);
}
