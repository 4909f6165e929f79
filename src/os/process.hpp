// Processes: watching them by descriptor, where they may run, and the barrier across them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>

#include "base/fd.hpp"

namespace tarn::os {

// A descriptor that becomes readable when `pid` ends. The pid must be known to be alive and not yet
// reaped, or the descriptor may watch a stranger.
[[nodiscard]] int pidfd_open(pid_t pid, Fd& out);

// Sends `signal` to the process behind `pidfd`; nothing happens if it has ended.
void pidfd_kill(const Fd& pidfd, int signal);

// True once the process behind `pidfd` has ended.
[[nodiscard]] bool pidfd_ended(const Fd& pidfd);

// Makes this process take part in the membarriers of others. False if the kernel has none.
[[nodiscard]] bool membarrier_register();

// The NUMA node of the core on which this thread runs just now; -1 if the kernel does not say.
[[nodiscard]] int32_t current_node();

// Every signal as a new program expects it: the default action, not blocked unless it is one of `blocked`. What was ignored stays ignored over
// execve, and a parent that ignores SIGCHLD would have the kernel reap our children before we hear of them.
void reset_signals(std::initializer_list<int> blocked = {});

// The time that all threads of a process have been on a core, by the kernel's clock; -1 when there is no such process.
[[nodiscard]] int64_t core_time_ns(pid_t pid);

// Every running process that registered executes a full memory fence before this returns.
void membarrier();

// How many forks lie between this process and the one that called count_forks first. A forked child has the shared
// memory of its parent mapped, where what it does would corrupt the parent's; getpid is a system call, this is not.
// What clone makes without the C library's knowledge is not counted.
extern unsigned fork_count;
void count_forks();

}  // namespace tarn::os
