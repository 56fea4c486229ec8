/* What the start-up code offers: the stack's use, and a hook for faults. */
#ifndef STARTUP_H
#define STARTUP_H

#include <stdint.h>

/* Bytes of stack that were in use at once since the start, the most there were. */
uint32_t stack_used(void);

/* Whether the last word of the stack was in use: what lies beyond it may be overwritten. */
int stack_is_full(void);

/* Define it to hear of a fault: the registers CFSR and BFAR. It may not return to what faulted. */
void on_fault(uint32_t cause, uint32_t address);

#endif
