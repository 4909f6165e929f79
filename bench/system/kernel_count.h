/* kernel_count.h: whether a piece of code enters the kernel: its page faults and system calls.
 *
 * The first system call between begin and end is caught by the kernel's dispatch to user space
 * (x86, Linux 5.11) and goes on after a signal; those behind it pass unseen. Elsewhere only page
 * faults are counted. For the calling thread, and one thread at a time. */
#ifndef TARN_BENCH_KERNEL_COUNT_H
#define TARN_BENCH_KERNEL_COUNT_H

typedef struct KernelCount {
  long faults;
  long calls; /* 1 if there was a system call, 0 if not */
} KernelCount;

/* Around the piece of code, and close around it: what was counted. */
void kernel_count_begin(void);
KernelCount kernel_count_end(void);

/* Whether system calls are counted here. */
int kernel_counts_calls(void);

#endif
