// Explorer: runs a handful of modelled processes through every schedule, store-buffer delay and crash.
//
// A model is a struct S of everything that outlives a process (shared words, payloads, and the
// harness's own bookkeeping) and one function per thread. The functions call the production templates,
// whose Words are modelled (model_word.hpp); each runs as a fiber. At every step the explorer chooses:
//
//   a thread's next operation    on a Word, a fence, a futex call, a plain copy
//   a flush                      the oldest entry of one process thread's store buffer becomes visible
//   a crash                      of a process that may be killed: its unflushed stores are lost
//
// All choices are tried, depth first. An execution is never stored: to try another choice the program
// is run again from the start along the recorded choices.
//
// Memory model: x86-TSO. A store is put into its thread's FIFO buffer at once (nobody can tell when
// that happens) and becomes visible by a flush, a step of its own. A load sees the thread's own newest
// buffered store. Read-modify-writes, sequentially consistent stores, fences and futex calls wait until
// the own buffer is empty. heavy_fence() waits, besides, until what was in everybody else's buffer when
// it began is visible (membarrier). A killed process loses its buffer; since any number of flushes may
// come before the crash, every prefix of its stores is explored.
//
// Why merging states is sound: the future of a run depends on S, the store buffers, and what each
// thread is about to do with the values on its stack. The latter is a function of the results of the
// operations it has done, as threads are deterministic. So a state is identified by a 128-bit hash of
// the bytes of S, the buffers, who sleeps or died, and for every living thread the sequence of its
// operations and their results. Two runs with the same hash have the same future, and the second is cut
// off. Hence the rules for harnesses: what a thread leaves behind goes into S, nothing into variables
// elsewhere; and what it does to plain fields of S belongs to the operation before (to the next one
// when a step() stands in between).
//
// A crash of a process is tried only right after an action of that process that left a trace: at any
// other moment it commutes with what the others did since, and the state it leads to is reached anyway.
//
// A load of a word that no other thread ever writes needs no turn of its own; whether that is so is
// assumed at first, and the search begins again when it turns out wrong.
//
// What is found: a failed check() in a thread, an invariant that does not hold in some state, a final
// condition that does not hold when nobody can move (such as a lost wake-up: somebody sleeps although
// work is left), a race on plain data, a thread that runs without end. The report has the shortest
// trace in context switches that a second search finds, and a string that replays it.
//
// Not modelled: time (a futex wait has no deadline and no spurious return, the harder case for lost
// wake-ups), weaker memory than TSO, what a compiler may do with plain data beyond the races reported.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "model_word.hpp"

namespace tarn::model {

inline constexpr int kThreadsMax = 8;
inline constexpr unsigned kUnbounded = ~0u;

struct Options {
  std::string name;
  unsigned crashes_max = 0;
  bool symmetric_fences = false;      // light_fence() is a full fence and heavy_fence() an ordinary one
  bool merge = true;                  // false: every schedule by itself, for tests of the explorer
  unsigned preemptions_max = kUnbounded;  // a bound makes the search incomplete, and the report says so
  uint64_t states_max = 4'000'000;
  unsigned steps_max = 3'000;         // of one run; more is reported as a thread that runs without end
};

struct Report {
  std::string name;
  bool violated = false;
  bool complete = false;  // everything within the bounds was explored
  std::string what;       // of a violation
  std::string trace;      // of a violation, with the string that replays it
  uint64_t states = 0;
  uint64_t executions = 0;
  uint64_t finals = 0;    // states in which nobody could move
  unsigned steps = 0;     // of the longest run
  double seconds = 0;

  [[nodiscard]] bool holds() const { return complete && !violated; }
};

// ---- In a thread of a model ------------------------------------------------------------------

// Ends the run as a violation unless `condition` holds.
void check(bool condition, const char* what);

// Sleeps while *word == expected, until woken.
void futex_wait(const uint32_t* word, uint32_t expected);
void futex_wake(const uint32_t* word, int count);

// Waits until the process with this number (they count from 0) was killed: its pidfd.
void await_death(int process);
[[nodiscard]] bool is_dead(int process);  // for final conditions and invariants

// Waits until `*word` (plain bookkeeping in S) is not 0. Stands for a message by another way.
void await(const uint32_t* word);

// Any number below `count`: all are tried.
[[nodiscard]] unsigned choose(unsigned count);

// A step without an effect: others may come in between. A plain field may be touched after it.
void step();

// The thread has forgotten everything: what it does next does not depend on what it did, except by
// `what_it_remembers`. Lets the endless loop of a server come back to a known state.
void forget(uint64_t what_it_remembers = 0);

// Reads and writes of plain data that must not be concurrent: a race if they ever are.
void read_plain(const void* data, size_t size);
void write_plain(void* data, const void* from, size_t size);

// ---- Describing a model ----------------------------------------------------------------------

// In the setup function: what a trace calls the words from `address` on.
void name_words(const void* address, size_t size, std::string name, size_t stride = 0);

namespace detail {

struct ThreadSpec {
  std::string name;
  int process = 0;
  int after_death_of = -1;  // a process: it is started only then
  std::function<void()> body;
};
struct ProcessSpec {
  bool may_be_killed = false;
};
struct Program {
  Options options;
  size_t state_size = 0;
  std::function<void()> setup;
  std::function<const char*()> invariant;
  std::function<const char*()> finally;
  std::vector<ThreadSpec> threads;
  std::vector<ProcessSpec> processes;
};
std::byte* state_memory(size_t size);  // always at the same address
Report run(const Program& program);

}  // namespace detail

enum class Kill : uint8_t { kNever, kAllowed };

template <class S>
class Model {
 public:
  explicit Model(Options options) {
    program_.options = std::move(options);
    program_.state_size = sizeof(S);
    program_.setup = [] {};
  }

  // S is all zero before.
  Model& setup(std::function<void(S&)> body) {
    program_.setup = [body] { body(state()); };
    return *this;
  }
  Model& process(std::string name, Kill kill, std::function<void(S&)> body) {
    program_.processes.push_back({kill == Kill::kAllowed});
    return thread(std::move(name), std::move(body));
  }
  // Another thread of the process described last.
  Model& thread(std::string name, std::function<void(S&)> body) {
    program_.threads.push_back({std::move(name), static_cast<int>(program_.processes.size()) - 1, -1,
                                [body = std::move(body)] { body(state()); }});
    return *this;
  }
  // A process that is started when process `dead` has certainly died.
  Model& replacement(std::string name, Kill kill, int dead, std::function<void(S&)> body) {
    process(std::move(name), kill, std::move(body));
    program_.threads.back().after_death_of = dead;
    return *this;
  }
  // Must hold in every state. Returns nullptr, or what is wrong.
  Model& invariant(std::function<const char*(const S&)> body) {
    program_.invariant = [body] { return body(state()); };
    return *this;
  }
  // Must hold whenever nobody can move.
  Model& finally(std::function<const char*(const S&)> body) {
    program_.finally = [body] { return body(state()); };
    return *this;
  }

  // Explores, prints one line with the numbers, and the trace of a violation if `print_violation`.
  [[nodiscard]] Report run() { return detail::run(program_); }

 private:
  static S& state() { return *reinterpret_cast<S*>(detail::state_memory(sizeof(S))); }
  detail::Program program_;
};

// ---- The command line ------------------------------------------------------------------------

struct Arguments {
  bool long_form = false;  // --long: larger bounds
  std::string replay;      // --replay=STRING: one schedule, printed; choose the test with --gtest_filter
};
extern Arguments arguments;

}  // namespace tarn::model
