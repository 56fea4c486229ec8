/* Start-up code of a Cortex-M: vectors, memory, the FPU, and a stack whose use can be measured.
 *
 * The stack lies at the start of RAM (see cortex-m.ld): one that is too small runs out of RAM,
 * which is a fault, and never silently into data. Vectors of interrupts follow the sixteen of the
 * core; add those of your chip where it needs them.
 */
#include "startup.h"

extern uint32_t _data_load, _data_start, _data_end, _bss_start, _bss_end;
extern uint32_t _stack_bottom, _stack_top;
extern int main(void);

void Reset_Handler(void);

static const uint32_t PAINT = 0xA5A5A5A5u;

/* A fault has no good stack of its own: the handler begins a new one. */
__attribute__((naked)) static void fault_entry(void) {
    __asm volatile(
        "ldr r0, =_stack_top\n"
        "mov sp, r0\n"
        "b fault_report\n"
        ".ltorg\n");
}

__attribute__((used)) static void fault_report(void) {
    const uint32_t cause = *(volatile uint32_t *)0xE000ED28u; /* CFSR */
    on_fault(cause, *(volatile uint32_t *)0xE000ED38u);       /* BFAR */
    for (;;) {
    }
}

__attribute__((weak)) void on_fault(uint32_t cause, uint32_t address) {
    (void)cause;
    (void)address;
}

static void unexpected(void) {
    for (;;) {
    }
}

typedef void (*vector)(void);

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)(uintptr_t)&_stack_top,
    Reset_Handler,
    unexpected,  /* NMI */
    fault_entry, /* HardFault */
    fault_entry, /* MemManage */
    fault_entry, /* BusFault */
    fault_entry, /* UsageFault */
    0, 0, 0, 0,
    unexpected, /* SVCall */
    unexpected, /* DebugMonitor */
    0,
    unexpected, /* PendSV */
    unexpected, /* SysTick */
};

static void enable_fpu(void) {
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to CP10 and CP11 */
    __asm volatile("dsb\n\tisb");
#endif
}

/* Leaves what the calls until here use of the stack as it is. `volatile`, or the compiler takes
 * memset for the loop, whose own frame would be painted over. */
static void paint_stack(void) {
    uint32_t *here;
    __asm volatile("mov %0, sp" : "=r"(here));
    for (volatile uint32_t *word = &_stack_bottom; word < here; word++) {
        *word = PAINT;
    }
}

uint32_t stack_used(void) {
    const uint32_t *word = &_stack_bottom;
    while (word < &_stack_top && *word == PAINT) {
        word++;
    }
    return (uint32_t)((uintptr_t)&_stack_top - (uintptr_t)word);
}

int stack_is_full(void) {
    return *(volatile uint32_t *)&_stack_bottom != PAINT;
}

void Reset_Handler(void) {
    const uint32_t *from = &_data_load;
    for (uint32_t *word = &_data_start; word < &_data_end; word++) {
        *word = *from++;
    }
    for (uint32_t *word = &_bss_start; word < &_bss_end; word++) {
        *word = 0;
    }
    enable_fpu();
    paint_stack();
    (void)main();
    for (;;) {
    }
}
