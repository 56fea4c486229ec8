/* Runs the model on golden inputs and compares every byte of its answers.
 *
 * On a computer: prints and exits with 0 or 1. As firmware: the same through semihosting, or, built
 * with SEMIHOSTING=0, leaves the number of wrong samples in `golden_wrong` for a debugger to read.
 */
#include "golden_data.h"

#include <string.h>

#ifdef GOLDEN_FIRMWARE
#include "semihosting.h"
#include "startup.h"
#else
#include <stdio.h>
#endif

/* Samples whose answers differ; -1 until it is known. */
volatile int golden_wrong = -1;

static int run_sample(int sample) {
    for (int index = 0; index < EK_INPUT_COUNT; index++) {
        const size_t bytes = golden_input_bytes[index];
        memcpy(ek_input(index), golden_inputs[index] + (size_t)sample * bytes, bytes);
    }
    ek_invoke();
    for (int index = 0; index < EK_OUTPUT_COUNT; index++) {
        const size_t bytes = golden_output_bytes[index];
        if (memcmp(ek_output(index), golden_outputs[index] + (size_t)sample * bytes, bytes) != 0) {
            return 1;
        }
    }
    return 0;
}

static int run_all(void) {
    int wrong = 0;
    for (int sample = 0; sample < GOLDEN_SAMPLES; sample++) {
        wrong += run_sample(sample);
    }
    return wrong;
}

#ifdef GOLDEN_FIRMWARE

#if SEMIHOSTING
static void say(const char *before, uint64_t value, const char *after) {
    char number[21];
    semihosting_print(before);
    semihosting_print(semihosting_number(number, value));
    semihosting_print(after);
}

void on_fault(uint32_t cause, uint32_t address) {
    say("BAD: a fault, CFSR ", cause, ", ");
    say("BFAR ", address, "\n");
    semihosting_exit(2);
}
#endif

int main(void) {
    golden_wrong = run_all();
    if (stack_is_full()) {
        golden_wrong = GOLDEN_SAMPLES; /* It may have gone on into what is not its own. */
    }
#if SEMIHOSTING
    say(golden_wrong ? "BAD: " : "ok: ", (uint64_t)(GOLDEN_SAMPLES - golden_wrong), " of ");
    say("", GOLDEN_SAMPLES, " golden samples are right, ");
    say("", stack_used(), " bytes of stack were in use\n");
    semihosting_exit(golden_wrong ? 1 : 0);
#endif
    return 0;
}

#else

int main(void) {
    golden_wrong = run_all();
    printf("%s: %d of %d golden samples are right\n", golden_wrong ? "BAD" : "ok",
           GOLDEN_SAMPLES - golden_wrong, GOLDEN_SAMPLES);
    return golden_wrong ? 1 : 0;
}

#endif
