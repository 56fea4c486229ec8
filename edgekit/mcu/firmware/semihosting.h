/* Semihosting: files and text through a debugger or an emulator, without any driver. For tests only:
 * a chip that has neither of the two stops at the first call. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

enum { SEMIHOSTING_READ = 1, SEMIHOSTING_WRITE = 5 };

/* A handle, negative where the file cannot be opened. */
int32_t semihosting_open(const char *name, int32_t mode);
/* Bytes that were read. */
uint32_t semihosting_read(int32_t file, void *into, uint32_t bytes);
/* Bytes that were written. */
uint32_t semihosting_write(int32_t file, const void *from, uint32_t bytes);
void semihosting_close(int32_t file);
/* To the terminal of the debugger or the emulator. */
void semihosting_print(const char *text);
/* A number in decimal, as text; `into` takes 21 characters at least. */
char *semihosting_number(char *into, uint64_t value);
/* Ends the program, and the emulator with this exit code. */
void semihosting_exit(int32_t code) __attribute__((noreturn));

#endif
