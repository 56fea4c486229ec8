/* Runs the model on every sample of in.bin, in an emulator: answers to out.bin, counts to counts.txt.
 *
 * The build gives INPUT_BYTES and OUTPUT_BYTES, the sizes of the tensors: `{64, 12}`. The lines of
 * counts.txt are a word and a number each; the last one is `end`, so a file that was cut is known.
 */
#include "counter.h"
#include "ek_model.h"
#include "semihosting.h"
#include "startup.h"

#include <string.h>

enum { GOOD = 0, NO_FILE = 20, SHORT_FILE = 21, NOT_WRITTEN = 22, FAULT = 23, STACK_FULL = 24 };

static const uint32_t input_bytes[EK_INPUT_COUNT] = INPUT_BYTES;
static const uint32_t output_bytes[EK_OUTPUT_COUNT] = OUTPUT_BYTES;

void on_fault(uint32_t cause, uint32_t address) {
    char number[21];
    semihosting_print("fault ");
    semihosting_print(semihosting_number(number, cause));
    semihosting_print(" ");
    semihosting_print(semihosting_number(number, address));
    semihosting_print("\n");
    semihosting_exit(FAULT);
}

/* 1: there is a sample; 0: the file ends here. */
static int read_sample(int32_t file) {
    for (int index = 0; index < EK_INPUT_COUNT; index++) {
        const uint32_t found = semihosting_read(file, ek_input(index), input_bytes[index]);
        if (index == 0 && found == 0) {
            return 0;
        }
        if (found != input_bytes[index]) {
            semihosting_exit(SHORT_FILE);
        }
    }
    return 1;
}

static void write_sample(int32_t file) {
    for (int index = 0; index < EK_OUTPUT_COUNT; index++) {
        const uint32_t bytes = output_bytes[index];
        if (semihosting_write(file, ek_output(index), bytes) != bytes) {
            semihosting_exit(NOT_WRITTEN);
        }
    }
}

static void say(int32_t file, const char *word, uint64_t value) {
    char line[64];
    strcpy(line, word);
    strcat(line, " ");
    semihosting_number(line + strlen(line), value);
    strcat(line, "\n");
    if (semihosting_write(file, line, (uint32_t)strlen(line)) != strlen(line)) {
        semihosting_exit(NOT_WRITTEN);
    }
}

int main(void) {
    const int32_t in = semihosting_open("in.bin", SEMIHOSTING_READ);
    const int32_t out = semihosting_open("out.bin", SEMIHOSTING_WRITE);
    const int32_t counts = semihosting_open("counts.txt", SEMIHOSTING_WRITE);
    if (in < 0 || out < 0 || counts < 0) {
        semihosting_exit(NO_FILE);
    }
    say(counts, "exact", (uint64_t)counter_start());
    uint64_t samples = 0;
    while (read_sample(in)) {
        const uint64_t instructions = counter_count(ek_invoke);
        if (stack_is_full()) { /* The board ignores what is written below its RAM. */
            semihosting_exit(STACK_FULL);
        }
        write_sample(out);
        say(counts, "instructions", instructions);
        samples++;
    }
    say(counts, "stack", stack_used());
    say(counts, "samples", samples);
    say(counts, "end", 0);
    semihosting_close(out);
    semihosting_close(counts);
    semihosting_exit(GOOD);
}
