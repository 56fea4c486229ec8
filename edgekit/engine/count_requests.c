/* Requests to callgrind, which counts between start and dump. Where valgrind does not run the
 * process, a request is a few instructions that change nothing.
 *
 * valgrind looks for a sequence of instructions that no compiler makes, with the address of six
 * words (a code and its arguments) in one register and the answer in another. */

#include <stdint.h>

#if defined(__x86_64__)

static uintptr_t request(uintptr_t code) {
  volatile uintptr_t words[6] = {code, 0, 0, 0, 0, 0};
  uintptr_t answer = 0;
  __asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi\n\t"
                   "xchgq %%rbx, %%rbx"
                   : "+d"(answer)
                   : "a"(&words[0])
                   : "cc", "memory");
  return answer;
}

#elif defined(__aarch64__)

static uintptr_t request(uintptr_t code) {
  volatile uintptr_t words[6] = {code, 0, 0, 0, 0, 0};
  uintptr_t answer;
  __asm__ volatile("mov x3, xzr; mov x4, %1\n\t"
                   "ror x12, x12, #3; ror x12, x12, #13; ror x12, x12, #51; ror x12, x12, #61\n\t"
                   "orr x10, x10, x10\n\t"
                   "mov %0, x3"
                   : "=r"(answer)
                   : "r"(&words[0])
                   : "cc", "memory", "x3", "x4");
  return answer;
}

#else
#error "edgekit knows the requests of valgrind on x86-64 and arm64"
#endif

enum { RUNNING_ON_VALGRIND = 0x1001, CALLGRIND = ('C' << 24) | ('T' << 16) };
enum { DUMP = CALLGRIND, ZERO = CALLGRIND + 1, START = CALLGRIND + 4, STOP = CALLGRIND + 5 };

int counting_works(void) { return request(RUNNING_ON_VALGRIND) > 0; }

void counting_start(void) {
  request(START);
  request(ZERO);
}

void counting_dump(void) { request(DUMP); }

void counting_stop(void) { request(STOP); }
