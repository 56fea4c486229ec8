/* An exact clock from a coarse timer.
 *
 * With `-icount shift=0` an instruction takes 1 ns, and the timer of 25 MHz counts down once in 40
 * of them. It is read 40 times, each time 3 instructions later: because 3 and 40 have no common
 * divisor, the reads fall on all 40 phases of a tick, so their sum is the time itself in
 * instructions, without the remainder that one read loses (Hermite's identity), plus a constant
 * that a difference does not have. `counter_start` proves it on a loop of known length.
 */
#include "counter.h"

#define TIMER 0x40000000u /* CMSDK timer 0 of the MPS2 boards */
#define CONTROL (*(volatile uint32_t *)(TIMER + 0u))
#define VALUE (*(volatile uint32_t *)(TIMER + 4u))
#define RELOAD (*(volatile uint32_t *)(TIMER + 8u))

enum { LOOPS = 1000, LOOP_INSTRUCTIONS = 1 + 2 * LOOPS + 1 };

__attribute__((naked, used, noinline)) static void instructions_now(void) {
    __asm volatile(
        "ldr r3, =0x40000004\n"
        "movs r0, #0\n"
        "movs r1, #0\n"
        ".rept 40\n"
        "ldr r2, [r3]\n"
        "adds r0, r0, r2\n"
        "adc r1, r1, #0\n"
        ".endr\n"
        "bx lr\n"
        ".ltorg\n");
}

/* The timer counts down, so the first time is the larger one. */
__attribute__((naked, noinline)) static uint64_t count_raw(void (*function)(void)) {
    __asm volatile(
        "push {r4-r7, lr}\n"
        "sub sp, sp, #4\n"
        "mov r6, r0\n"
        "bl instructions_now\n"
        "mov r4, r0\n"
        "mov r5, r1\n"
        "blx r6\n"
        "bl instructions_now\n"
        "subs r0, r4, r0\n"
        "sbc r1, r5, r1\n"
        "add sp, sp, #4\n"
        "pop {r4-r7, pc}\n");
    (void)function;
    __builtin_unreachable();
}

__attribute__((naked, noinline)) static void nothing(void) {
    __asm volatile("bx lr\n");
}

__attribute__((naked, noinline)) static void known_loop(void) {
    __asm volatile(
        "movw r0, %0\n"
        "1: subs r0, r0, #1\n"
        "bne 1b\n"
        "bx lr\n" ::"i"(LOOPS));
}

uint64_t counter_count(void (*function)(void)) {
    return count_raw(function) - count_raw(nothing) + 1u;
}

int counter_start(void) {
    RELOAD = 0xFFFFFFFFu;
    VALUE = 0xFFFFFFFFu;
    CONTROL = 1u;
    return counter_count(known_loop) == LOOP_INSTRUCTIONS;
}
