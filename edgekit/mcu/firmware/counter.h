/* Counts the instructions of a function exactly, in QEMU's boards mps2 with `-icount shift=0`. */
#ifndef COUNTER_H
#define COUNTER_H

#include <stdint.h>

/* Starts the timer. Returns 0 where it does not count what a known loop has. */
int counter_start(void);

/* The instructions that the function executes, its return included. */
uint64_t counter_count(void (*function)(void));

#endif
