/* The calls of Arm's semihosting (BKPT 0xAB): an operation's number, and a block of words. */
#include "semihosting.h"

#include <string.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    APPLICATION_EXIT = 0x20026
};

static int32_t call(uint32_t operation, const void *block) {
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = block;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

int32_t semihosting_open(const char *name, int32_t mode) {
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, (uint32_t)mode, (uint32_t)strlen(name)};
    return call(SYS_OPEN, block);
}

uint32_t semihosting_read(int32_t file, void *into, uint32_t bytes) {
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)(uintptr_t)into, bytes};
    return bytes - (uint32_t)call(SYS_READ, block); /* It says how many are left. */
}

uint32_t semihosting_write(int32_t file, const void *from, uint32_t bytes) {
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)(uintptr_t)from, bytes};
    return bytes - (uint32_t)call(SYS_WRITE, block);
}

void semihosting_close(int32_t file) {
    const uint32_t block[1] = {(uint32_t)file};
    (void)call(SYS_CLOSE, block);
}

void semihosting_print(const char *text) {
    (void)call(SYS_WRITE0, text);
}

char *semihosting_number(char *into, uint64_t value) {
    char digits[21];
    int count = 0;
    do {
        digits[count++] = (char)('0' + (int)(value % 10u));
        value /= 10u;
    } while (value);
    for (int place = 0; place < count; place++) {
        into[place] = digits[count - 1 - place];
    }
    into[count] = '\0';
    return into;
}

void semihosting_exit(int32_t code) {
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)code};
    (void)call(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}
