#include "kernel_count.h"

#include "../measure.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>

static long faults_before;

static long faults_now(void)
{
  struct rusage usage;
  if (getrusage(RUSAGE_THREAD, &usage) != 0) measure_die("getrusage");
  return usage.ru_minflt + usage.ru_majflt;
}

#if defined(__x86_64__) && defined(PR_SET_SYSCALL_USER_DISPATCH)

/* What the kernel looks at before each system call of this thread: one byte. */
static volatile char selector = SYSCALL_DISPATCH_FILTER_ALLOW;
static volatile long calls;
static int is_armed;

/* Lets the call that was stopped go on: its number is back in its register, and it is made again.
 * The next ones pass unseen, for the return from here is one itself. */
static void count_call(int number, siginfo_t *info, void *context)
{
  enum { kInstructionSize = 2 };
  (void)number;
  (void)info;
  ++calls;
  selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] -= kInstructionSize;
}

static void arm(void)
{
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = count_call;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGSYS, &action, NULL) != 0) measure_die("sigaction");
  is_armed = prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) == 0;
}

int kernel_counts_calls(void) { return is_armed; }

void kernel_count_begin(void)
{
  if (!is_armed) arm();
  calls = 0;
  faults_before = faults_now();
  selector = SYSCALL_DISPATCH_FILTER_BLOCK;
}

KernelCount kernel_count_end(void)
{
  selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  KernelCount count = {faults_now() - faults_before, calls};
  return count;
}

#else

int kernel_counts_calls(void) { return 0; }

void kernel_count_begin(void) { faults_before = faults_now(); }

KernelCount kernel_count_end(void)
{
  KernelCount count = {faults_now() - faults_before, 0};
  return count;
}

#endif
