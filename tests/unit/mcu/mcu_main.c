/* Runs the generated model on every sample of stdin and writes the answers to stdout. */
#include "ek_model.h"

#include <stdio.h>

static const size_t input_bytes[EK_INPUT_COUNT] = INPUT_BYTES;
static const size_t output_bytes[EK_OUTPUT_COUNT] = OUTPUT_BYTES;

int main(void) {
    for (;;) {
        for (int i = 0; i < EK_INPUT_COUNT; i++) {
            if (fread(ek_input(i), 1, input_bytes[i], stdin) != input_bytes[i]) {
                return i > 0;
            }
        }
        ek_invoke();
        for (int i = 0; i < EK_OUTPUT_COUNT; i++) {
            fwrite(ek_output(i), 1, output_bytes[i], stdout);
        }
    }
}
