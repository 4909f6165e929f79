#include "explorer.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "fiber.hpp"
#include "state_set.hpp"

namespace tarn::model {

Arguments arguments;

namespace {

constexpr size_t kStateSizeMax = size_t{1} << 20;
constexpr size_t kPlainPiece = 16;
constexpr unsigned kFlushesMax = 64;  // entries in a store buffer; a real one has about as many
constexpr unsigned kTracePreemptionsMax = 6;
constexpr uint64_t kTraceStatesMax = 2'000'000;
constexpr unsigned kEagerLoadsMax = 1'000;  // in a row

enum class Op : uint8_t {
  kNone, kStart, kLoad, kRmw, kStoreSequential, kFence, kHeavyFence, kHeavyWait, kFutexWait, kSleeping, kWoken,
  kFutexWake, kAwaitDeath, kAwait, kPlain, kStep, kChoose
};

enum class Life : uint8_t { kRunning, kFinished, kDead };

struct Entry {  // of a store buffer
  std::byte* address;
  unsigned size;
  std::byte bytes[kPlainPiece];
};

// One choice of the explorer. `index` is a thread, for kCrash a process.
struct Action {
  enum Kind : uint8_t { kStep, kFlush, kCrash } kind;
  uint8_t index;
  uint8_t value;  // for kChoose
};

struct Thread {
  Fiber fiber;
  Life life = Life::kRunning;
  Op op = Op::kNone;
  const void* address = nullptr;
  uint64_t operand = 0;
  uint64_t granted = 0;  // the value chosen by the explorer
  Hash128 history;
  Entry buffer[kFlushesMax];
  unsigned pushed = 0, flushed = 0;
  // Stores above this one may also count as not done yet: they were put into the buffer ahead of time,
  // when the operation before them was done. Only a heavy fence can tell.
  unsigned certain = 0;
  unsigned eager_loads = 0;
  bool exists = false;  // a replacement does not until it is started
  unsigned targets[kThreadsMax] = {};  // of a heavy fence

  [[nodiscard]] bool buffer_is_empty() const { return pushed == flushed; }
  Entry& entry(unsigned position) { return buffer[position % kFlushesMax]; }
  [[nodiscard]] const Entry& entry(unsigned position) const { return buffer[position % kFlushesMax]; }
};

struct Name {
  const std::byte* address;
  size_t size;
  std::string name;
  size_t stride;
};

std::vector<Name> names;

std::string describe(const void* address) {
  auto* at = static_cast<const std::byte*>(address);
  char text[96];
  for (const Name& name : names) {
    if (at < name.address || at >= name.address + name.size) continue;
    auto offset = static_cast<size_t>(at - name.address);
    if (name.stride == 0 && offset == 0) return name.name;
    if (name.stride == 0) {
      snprintf(text, sizeof text, "%s+%zu", name.name.c_str(), offset);
    } else if (offset % name.stride == 0) {
      snprintf(text, sizeof text, "%s[%zu]", name.name.c_str(), offset / name.stride);
    } else {
      snprintf(text, sizeof text, "%s[%zu]+%zu", name.name.c_str(), offset / name.stride, offset % name.stride);
    }
    return text;
  }
  snprintf(text, sizeof text, "state+%zu", static_cast<size_t>(at - detail::state_memory(0)));
  return text;
}

void print_to(std::string& out, const char* format, auto... values) {
  if constexpr (sizeof...(values) == 0) {
    out += format;
  } else {
    char text[256];
    snprintf(text, sizeof text, format, values...);
    out += text;
  }
}

class Engine {
 public:
  explicit Engine(const detail::Program& program);

  bool explore(const Options& options, Report& report);  // false: stopped by a bound
  void replay(const std::vector<Action>& schedule, std::string& trace);
  [[nodiscard]] std::vector<Action> schedule() const;

  // For operations of threads.
  Thread& self() { return *threads_[static_cast<size_t>(current_)]; }
  [[nodiscard]] bool in_thread() const { return current_ >= 0; }
  void wait_for_turn(Op op, const void* address, uint64_t operand = 0);
  void remember(Op op, const void* address, uint64_t result);
  void push(std::byte* address, unsigned size, const void* bytes);
  void read(const std::byte* from, std::byte* to, size_t size);
  void push_plain(std::byte* address, unsigned size, const void* bytes);
  void report_unfinished_writes(const void* address, size_t size);
  void fail(const std::string& what);
  bool is_state(const void* address) const {
    auto* at = static_cast<const std::byte*>(address);
    return at >= memory_ && at < memory_ + kStateSizeMax;
  }
  [[nodiscard]] bool is_dead(int process) const { return (dead_ >> process & 1) != 0; }
  // Loads of words that nobody else writes need no turn: see `touched_`.
  [[nodiscard]] bool may_load_at_once(const void* address);
  void note_write(const void* address);
  void begin_heavy_fence();
  void wake(const uint32_t* word, int count);
  void note(const char* format, auto... values) {
    if (trace_ == nullptr) return;
    print_to(*trace_, "  %-12s ", program_.threads[static_cast<size_t>(current_)].name.c_str());
    print_to(*trace_, format, values...);
    *trace_ += '\n';
  }
  [[nodiscard]] bool tracing() const { return trace_ != nullptr; }
  [[nodiscard]] bool symmetric() const { return program_.options.symmetric_fences; }

 private:
  struct Frame {
    std::vector<Action> actions;
    size_t next = 0;
    Hash128 memory_hash;
  };

  static void run_thread(void* thread);
  void restart();
  void perform(Action action);
  void flush(Thread& thread);
  [[nodiscard]] bool can_step(const Thread& thread) const;
  // `unchanged`: `last`, what was done before, changed nothing in S.
  void list_actions(std::vector<Action>& actions, const Action* last, bool unchanged) const;
  [[nodiscard]] Hash128 hash_state(const Hash128& memory_hash) const;
  bool run_once(const Options& options, Report& report, StateSet& seen);

  const detail::Program& program_;
  std::byte* memory_;
  std::unique_ptr<std::byte[]> image_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Frame> path_;
  int current_ = -1;
  int last_thread_ = -1;
  unsigned preemptions_ = 0;
  unsigned preemptions_max_ = kUnbounded;
  unsigned crashes_ = 0;
  uint32_t dead_ = 0;
  // Who writes a word, and who has loaded it without waiting for a turn because nobody else did. What
  // is learnt stays; when a word turns out to be written after all, the search begins again.
  struct Touched {
    uint8_t writers = 0, eager_readers = 0;
  };
  std::vector<Touched> touched_;
  bool begin_again_ = false;

  bool woke_ = false;  // the last action let somebody else go on
  bool violated_ = false;
  std::string what_;
  std::string* trace_ = nullptr;
};

Engine* engine = nullptr;

Engine::Engine(const detail::Program& program)
    : program_(program), memory_(detail::state_memory(program.state_size)), image_(new std::byte[program.state_size]) {
  touched_.resize(program.state_size / sizeof(uint32_t) + 1);
  for (size_t i = 0; i < program.threads.size(); ++i) threads_.push_back(std::make_unique<Thread>());
  std::memset(memory_, 0, program.state_size);
  names.clear();
  program.setup();
  std::memcpy(image_.get(), memory_, program.state_size);
}

// ---- Operations, called on fibers ------------------------------------------------------------

void Engine::wait_for_turn(Op op, const void* address, uint64_t operand) {
  Thread& thread = self();
  thread.op = op;
  thread.address = address;
  thread.operand = operand;
  thread.fiber.suspend();
}

void Engine::remember(Op op, const void* address, uint64_t result) {
  self().history.add(static_cast<uint64_t>(op) << 56 ^ reinterpret_cast<uintptr_t>(address), result);
}

void Engine::push(std::byte* address, unsigned size, const void* bytes) {
  Thread& thread = self();
  if (thread.pushed - thread.flushed == kFlushesMax) fail("a store buffer of the model overflows");
  Entry& entry = thread.entry(thread.pushed++);
  entry.address = address;
  entry.size = size;
  std::memset(entry.bytes, 0, sizeof entry.bytes);
  std::memcpy(entry.bytes, bytes, size);
}

void Engine::push_plain(std::byte* address, unsigned size, const void* bytes) {
  report_unfinished_writes(address, size);
  push(address, size, bytes);
}

// Data is being written from the store to its flush. If nothing orders an access of another thread
// against the write, some schedule puts it there: so this finds every race without clocks.
void Engine::report_unfinished_writes(const void* address, size_t size) {
  auto* from = static_cast<const std::byte*>(address);
  for (const auto& other : threads_) {
    if (other.get() == &self()) continue;
    for (unsigned at = other->flushed; at != other->pushed; ++at) {
      const Entry& entry = other->entry(at);
      if (from >= entry.address + entry.size || entry.address >= from + size) continue;
      std::string text;
      print_to(text, "race on %s (%zu bytes)", describe(address).c_str(), size);
      fail(text);
    }
  }
}

// What the current thread sees: memory under its own buffered stores.
void Engine::read(const std::byte* from, std::byte* to, size_t size) {
  std::memcpy(to, from, size);
  const Thread& thread = self();
  for (unsigned at = thread.flushed; at != thread.pushed; ++at) {
    const Entry& entry = thread.entry(at);
    for (unsigned i = 0; i < entry.size; ++i)
      if (entry.address + i >= from && entry.address + i < from + size) to[entry.address + i - from] = entry.bytes[i];
  }
}

void Engine::fail(const std::string& what) {
  if (!violated_) what_ = what;
  violated_ = true;
  if (current_ >= 0) {
    note("FAILS: %s", what.c_str());
    for (;;) self().fiber.suspend();
  }
}

bool Engine::may_load_at_once(const void* address) {
  if (!is_state(address)) return false;
  Touched& touched = touched_[static_cast<size_t>(static_cast<const std::byte*>(address) - memory_) / sizeof(uint32_t)];
  auto me = static_cast<uint8_t>(1u << current_);
  if ((touched.writers & ~me) != 0 || ++self().eager_loads > kEagerLoadsMax) return false;
  touched.eager_readers |= me;
  return true;
}

void Engine::note_write(const void* address) {
  if (!is_state(address)) return;
  Touched& touched = touched_[static_cast<size_t>(static_cast<const std::byte*>(address) - memory_) / sizeof(uint32_t)];
  auto me = static_cast<uint8_t>(1u << current_);
  touched.writers |= me;
  if ((touched.eager_readers & ~me) != 0) begin_again_ = true;
}

void Engine::begin_heavy_fence() {
  Thread& thread = self();
  bool all = true;
  for (size_t i = 0; i < threads_.size(); ++i) {
    const Thread& other = *threads_[i];
    thread.targets[i] = other.certain;
    all &= &other == &thread || static_cast<int>(other.certain - other.flushed) <= 0;
  }
  note("heavy_fence()");
  if (!all) wait_for_turn(Op::kHeavyWait, nullptr);
}

void Engine::wake(const uint32_t* word, int count) {
  int sleepers = 0;
  for (auto& thread : threads_) sleepers += thread->op == Op::kSleeping && thread->address == word;
  if (sleepers > count && count > 0) fail("the model cannot choose among several sleepers");
  for (auto& thread : threads_)
    if (thread->op == Op::kSleeping && thread->address == word && count > 0) {
      thread->op = Op::kWoken;
      woke_ = true;
    }
}

// ---- Running ---------------------------------------------------------------------------------

void Engine::run_thread(void* argument) {
  auto index = reinterpret_cast<uintptr_t>(argument);
  engine->program_.threads[index].body();
  Thread& thread = *engine->threads_[index];
  engine->note("ends");
  thread.life = Life::kFinished;
  thread.op = Op::kNone;
  thread.history = {};
  for (;;) thread.fiber.suspend();
}

void Engine::restart() {
  std::memcpy(memory_, image_.get(), program_.state_size);
  last_thread_ = -1;
  preemptions_ = crashes_ = 0;
  dead_ = 0;
  violated_ = false;
  what_.clear();
  for (size_t i = 0; i < threads_.size(); ++i) {
    Thread& thread = *threads_[i];
    thread.life = Life::kRunning;
    int after = program_.threads[i].after_death_of;
    thread.op = after < 0 ? Op::kStart : Op::kAwaitDeath;
    thread.operand = static_cast<uint64_t>(after);
    thread.exists = after < 0;
    thread.history = {};
    thread.pushed = thread.flushed = thread.certain = 0;
    thread.fiber.start(&Engine::run_thread, reinterpret_cast<void*>(i));
  }
  current_ = -1;
}

bool Engine::can_step(const Thread& thread) const {
  if (thread.life != Life::kRunning) return false;
  switch (thread.op) {
    case Op::kRmw:
    case Op::kStoreSequential:
    case Op::kFence:
    case Op::kHeavyFence:
    case Op::kFutexWait:
    case Op::kFutexWake:
      return thread.buffer_is_empty();
    case Op::kHeavyWait:
      for (size_t i = 0; i < threads_.size(); ++i)
        if (threads_[i]->life != Life::kDead && static_cast<int>(thread.targets[i] - threads_[i]->flushed) > 0)
          return false;
      return true;
    case Op::kAwaitDeath:
      return is_dead(static_cast<int>(thread.operand));
    case Op::kAwait:
      return *static_cast<const uint32_t*>(thread.address) != 0;
    case Op::kSleeping:
    case Op::kNone:
      return false;
    default:
      return true;
  }
}

void Engine::flush(Thread& thread) {
  const Entry& entry = thread.entry(thread.flushed);
  std::memcpy(entry.address, entry.bytes, entry.size);
  ++thread.flushed;
}

void Engine::perform(Action action) {
  woke_ = false;
  if (action.kind == Action::kCrash) {
    if (trace_ != nullptr) {
      for (size_t i = 0; i < threads_.size(); ++i)
        if (program_.threads[i].process == action.index && threads_[i]->life == Life::kRunning)
          print_to(*trace_, "  %-12s KILLED, %u stores unflushed\n", program_.threads[i].name.c_str(),
                   threads_[i]->pushed - threads_[i]->flushed);
    }
    ++crashes_;
    dead_ |= uint32_t{1} << action.index;
    for (size_t i = 0; i < threads_.size(); ++i) {
      if (program_.threads[i].process != action.index) continue;
      Thread& thread = *threads_[i];
      thread.life = Life::kDead;
      thread.op = Op::kNone;
      thread.history = {};
      thread.pushed = thread.certain = thread.flushed;
    }
    return;
  }
  Thread& thread = *threads_[action.index];
  if (action.kind == Action::kFlush) {
    if (trace_ != nullptr) {
      const Entry& entry = thread.entry(thread.flushed);
      print_to(*trace_, "  %-12s   ... its store to %s is visible\n", program_.threads[action.index].name.c_str(),
               describe(entry.address).c_str());
    }
    flush(thread);
    return;
  }
  if (last_thread_ >= 0 && last_thread_ != action.index && can_step(*threads_[static_cast<size_t>(last_thread_)]))
    ++preemptions_;
  last_thread_ = action.index;
  woke_ = !thread.exists;
  thread.exists = true;
  thread.granted = action.value;
  thread.eager_loads = 0;
  thread.certain = thread.pushed;
  current_ = action.index;
  thread.fiber.resume();
  current_ = -1;
}

void Engine::list_actions(std::vector<Action>& actions, const Action* last, bool unchanged) const {
  actions.clear();
  auto add_steps = [&](size_t i) {
    const Thread& thread = *threads_[i];
    if (!can_step(thread)) return;
    uint64_t alternatives = thread.op == Op::kChoose ? thread.operand : 1;
    for (uint64_t v = 0; v < alternatives; ++v)
      actions.push_back({Action::kStep, static_cast<uint8_t>(i), static_cast<uint8_t>(v)});
  };
  bool may_preempt = preemptions_ < preemptions_max_;
  bool last_can = last_thread_ >= 0 && can_step(*threads_[static_cast<size_t>(last_thread_)]);
  if (last_can) add_steps(static_cast<size_t>(last_thread_));
  for (size_t i = 0; i < threads_.size(); ++i)
    if (static_cast<int>(i) != last_thread_ && (may_preempt || !last_can)) add_steps(i);
  for (size_t i = 0; i < threads_.size(); ++i)
    if (!threads_[i]->buffer_is_empty()) actions.push_back({Action::kFlush, static_cast<uint8_t>(i), 0});
  if (crashes_ >= program_.options.crashes_max) return;
  for (size_t p = 0; p < program_.processes.size(); ++p) {
    if (!program_.processes[p].may_be_killed || is_dead(static_cast<int>(p))) continue;
    bool alive = false;
    for (size_t i = 0; i < threads_.size(); ++i)
      alive |= program_.threads[i].process == static_cast<int>(p) && threads_[i]->life == Life::kRunning &&
               threads_[i]->exists;
    // See the header: a crash commutes with everything since the process last left a trace.
    bool left_a_trace = last == nullptr || last->kind == Action::kCrash ||
                        (program_.threads[last->index].process == static_cast<int>(p) &&
                         (last->kind == Action::kFlush || !unchanged || woke_));
    if (alive && left_a_trace) actions.push_back({Action::kCrash, static_cast<uint8_t>(p), 0});
  }
}

Hash128 Engine::hash_state(const Hash128& memory_hash) const {
  Hash128 hash = memory_hash;
  hash.add(dead_, crashes_);
  if (preemptions_max_ != kUnbounded) hash.add(preemptions_, static_cast<uint64_t>(last_thread_));
  for (const auto& thread : threads_) {
    hash.add(static_cast<uint64_t>(thread->life) << 8 | static_cast<uint64_t>(thread->op), thread->history.low);
    hash.add(thread->pushed - thread->flushed, thread->history.high);
    hash.add(static_cast<uint64_t>(std::max(0, static_cast<int>(thread->certain - thread->flushed))), 0);
    for (unsigned at = thread->flushed; at != thread->pushed; ++at) {
      const Entry& entry = thread->entry(at);
      uint64_t words[2];
      std::memcpy(words, entry.bytes, sizeof words);
      hash.add(reinterpret_cast<uintptr_t>(entry.address) << 8 | entry.size, 0);
      hash.add(words[0], words[1]);
    }
    if (thread->op == Op::kHeavyWait)
      for (size_t i = 0; i < threads_.size(); ++i)
        hash.add(static_cast<uint64_t>(std::max(0, static_cast<int>(thread->targets[i] - threads_[i]->flushed))), i);
  }
  return hash;
}

// One run: along the path, then further as long as there is something new. False when it was ended by
// a violation.
bool Engine::run_once(const Options& options, Report& report, StateSet& seen) {
  restart();
  ++report.executions;
  for (size_t depth = 0;; ++depth) {
    if (depth < path_.size()) {
      perform(path_[depth].actions[path_[depth].next]);
      continue;
    }
    report.steps = std::max(report.steps, static_cast<unsigned>(depth));
    if (!violated_ && program_.invariant)
      if (const char* wrong = program_.invariant(); wrong != nullptr) fail(wrong);
    if (!violated_ && depth >= options.steps_max) fail("runs without end");
    if (begin_again_ || violated_) return false;

    Hash128 memory_hash = Hash128::of(memory_, program_.state_size);
    if (options.merge ? !seen.insert(hash_state(memory_hash)) : false) return true;
    ++report.states;
    Frame frame;
    frame.memory_hash = memory_hash;
    const Action* last = nullptr;
    bool unchanged = false;
    if (depth > 0) {
      last = &path_.back().actions[path_.back().next];
      unchanged = memory_hash == path_.back().memory_hash;
    }
    list_actions(frame.actions, last, unchanged);
    bool can_move = false;
    for (Action action : frame.actions) can_move |= action.kind != Action::kCrash;
    if (!can_move) {
      ++report.finals;
      if (program_.finally)
        if (const char* wrong = program_.finally(); wrong != nullptr) {
          fail(wrong);
          return false;
        }
    }
    if (frame.actions.empty()) return true;
    path_.push_back(std::move(frame));
    perform(path_.back().actions[0]);
  }
}

bool Engine::explore(const Options& options, Report& report) {
  StateSet seen;
  path_.clear();
  preemptions_max_ = options.preemptions_max;
  for (;;) {
    begin_again_ = false;
    bool fine = run_once(options, report, seen);
    if (begin_again_) {
      // Only words that somebody writes are left to be met with: this comes to an end.
      for (Touched& touched : touched_)
        if (touched.writers != 0) touched.eager_readers = 0;
      seen = {};
      path_.clear();
      report.states = report.executions = report.finals = 0;
      report.steps = 0;
      continue;
    }
    if (!fine) {
      report.violated = true;
      report.what = what_;
      return true;
    }
    while (!path_.empty() && ++path_.back().next == path_.back().actions.size()) path_.pop_back();
    if (path_.empty()) return true;
    if (report.states >= options.states_max) return false;
  }
}

std::vector<Action> Engine::schedule() const {
  std::vector<Action> actions;
  for (const Frame& frame : path_) actions.push_back(frame.actions[frame.next]);
  return actions;
}

void Engine::replay(const std::vector<Action>& schedule, std::string& trace) {
  trace_ = &trace;
  restart();
  for (Action action : schedule) {
    perform(action);
    if (violated_) break;
  }
  std::vector<Action> possible;
  list_actions(possible, nullptr, false);
  bool can_move = std::any_of(possible.begin(), possible.end(), [](Action a) { return a.kind != Action::kCrash; });
  if (!violated_ && program_.invariant)
    if (const char* wrong = program_.invariant(); wrong != nullptr) fail(wrong);
  if (!violated_ && !can_move && program_.finally)
    if (const char* wrong = program_.finally(); wrong != nullptr) fail(wrong);
  for (size_t i = 0; i < threads_.size(); ++i) {
    const Thread& thread = *threads_[i];
    const char* life = thread.life == Life::kDead       ? "dead"
                       : thread.life == Life::kFinished ? "ended"
                       : thread.op == Op::kSleeping     ? "asleep"
                                                        : "alive";
    print_to(trace, "  = %s is %s%s%s\n", program_.threads[i].name.c_str(), life,
             thread.op == Op::kSleeping ? " on " : "",
             thread.op == Op::kSleeping ? describe(thread.address).c_str() : "");
  }
  print_to(trace, "  = %s\n", violated_ ? what_.c_str() : "nothing is wrong");
  trace_ = nullptr;
}

// A schedule as text: a digit is a thread's step (=v: the value chosen), a small letter a flush of that
// thread, a capital a crash of that process.
std::string to_text(const std::vector<Action>& schedule) {
  std::string text;
  for (Action action : schedule) {
    if (action.kind == Action::kFlush) {
      text += static_cast<char>('a' + action.index);
    } else if (action.kind == Action::kCrash) {
      text += static_cast<char>('A' + action.index);
    } else {
      text += static_cast<char>('0' + action.index);
      if (action.value != 0) print_to(text, "=%d", action.value);
    }
  }
  return text;
}

std::vector<Action> from_text(const std::string& text) {
  std::vector<Action> schedule;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c >= 'a' && c <= 'z') {
      schedule.push_back({Action::kFlush, static_cast<uint8_t>(c - 'a'), 0});
    } else if (c >= 'A' && c <= 'Z') {
      schedule.push_back({Action::kCrash, static_cast<uint8_t>(c - 'A'), 0});
    } else if (c == '=' && !schedule.empty() && i + 1 < text.size()) {
      schedule.back().value = static_cast<uint8_t>(text[++i] - '0');
    } else if (c >= '0' && c < '0' + kThreadsMax) {
      schedule.push_back({Action::kStep, static_cast<uint8_t>(c - '0'), 0});
    }
  }
  return schedule;
}

}  // namespace

// ---- Words -----------------------------------------------------------------------------------

namespace {

uint64_t read_word(const void* address, unsigned size) {
  uint64_t value = 0;
  std::memcpy(&value, address, size);
  return value;
}

bool in_thread() { return engine != nullptr && engine->in_thread(); }

}  // namespace

uint64_t load(const void* address, unsigned size) {
  if (!in_thread()) return read_word(address, size);
  if (!engine->may_load_at_once(address)) engine->wait_for_turn(Op::kLoad, address);
  uint64_t value = 0;
  engine->read(static_cast<const std::byte*>(address), reinterpret_cast<std::byte*>(&value), size);
  engine->remember(Op::kLoad, address, value);
  if (engine->tracing())
    engine->note("load %s -> %#llx", describe(address).c_str(), static_cast<unsigned long long>(value));
  return value;
}

void store(void* address, unsigned size, uint64_t value, bool sequential) {
  if (!in_thread()) {
    std::memcpy(address, &value, size);
    return;
  }
  engine->note_write(address);
  if (sequential) {
    engine->wait_for_turn(Op::kStoreSequential, address);
    std::memcpy(address, &value, size);
    engine->remember(Op::kStoreSequential, address, 0);
  } else {
    engine->push(static_cast<std::byte*>(address), size, &value);
    engine->remember(Op::kStoreSequential, address, 1);
  }
  if (engine->tracing())
    engine->note("store %s := %#llx%s", describe(address).c_str(), static_cast<unsigned long long>(value),
                 sequential ? "" : " (buffered)");
}

uint64_t read_modify_write(Rmw kind, void* address, unsigned size, uint64_t operand, uint64_t expected) {
  if (in_thread()) {
    engine->note_write(address);
    engine->wait_for_turn(Op::kRmw, address);
  }
  uint64_t old = read_word(address, size);
  uint64_t next = old;
  switch (kind) {
    case Rmw::kExchange: next = operand; break;
    case Rmw::kCompareExchange: next = old == expected ? operand : old; break;
    case Rmw::kOr: next = old | operand; break;
    case Rmw::kAnd: next = old & operand; break;
    case Rmw::kAdd: next = old + operand; break;
  }
  std::memcpy(address, &next, size);
  if (!in_thread()) return old;
  engine->remember(Op::kRmw, address, old);
  if (engine->tracing()) {
    static constexpr const char* kNames[] = {"exchange", "compare_exchange", "fetch_or", "fetch_and", "fetch_add"};
    engine->note("%s %s: %#llx -> %#llx%s", kNames[static_cast<size_t>(kind)], describe(address).c_str(),
                 static_cast<unsigned long long>(old),
                 static_cast<unsigned long long>(size == 4 ? next & 0xffffffff : next),
                 kind == Rmw::kCompareExchange && old != expected ? " (failed)" : "");
  }
  return old;
}

bool fences_are_symmetric() { return engine != nullptr && engine->symmetric(); }

void light_fence() {
  if (!in_thread() || !engine->symmetric()) return;  // for the compiler alone
  engine->wait_for_turn(Op::kFence, nullptr);
  engine->remember(Op::kFence, nullptr, 0);
  engine->note("light_fence()");
}

void full_fence() {
  if (!in_thread()) return;
  engine->wait_for_turn(Op::kFence, nullptr);
  engine->remember(Op::kFence, nullptr, 2);
  engine->note("full_fence()");
}

void heavy_fence() {
  if (!in_thread()) return;
  if (engine->symmetric()) {
    engine->wait_for_turn(Op::kFence, nullptr);
    engine->remember(Op::kFence, nullptr, 1);
    engine->note("heavy_fence()");
    return;
  }
  engine->wait_for_turn(Op::kHeavyFence, nullptr);
  engine->begin_heavy_fence();
  engine->remember(Op::kHeavyFence, nullptr, 0);
}

void copy_plain(std::byte* to, const std::byte* from, size_t size) {
  if (!in_thread()) {
    std::memcpy(to, from, size);
    return;
  }
  std::byte bytes[256];
  if (size > sizeof bytes) engine->fail("copy_plain: more than the model expects");
  if (engine->is_state(from)) {
    read_plain(from, size);
    engine->read(from, bytes, size);
    Hash128 content = Hash128::of(bytes, size);
    engine->remember(Op::kPlain, from, content.low ^ content.high);
  } else {
    std::memcpy(bytes, from, size);
  }
  if (engine->is_state(to)) {
    write_plain(to, bytes, size);
  } else {
    std::memcpy(to, bytes, size);
  }
}

// ---- What harnesses call ---------------------------------------------------------------------

void check(bool condition, const char* what) {
  if (!condition) engine->fail(what);
}

void futex_wait(const uint32_t* word, uint32_t expected) {
  engine->wait_for_turn(Op::kFutexWait, word);
  bool sleeps = *word == expected;
  engine->remember(Op::kFutexWait, word, sleeps);
  if (engine->tracing())
    engine->note("futex_wait(%s, %u)%s", describe(word).c_str(), expected, sleeps ? ": sleeps" : ": returns at once");
  if (!sleeps) return;
  engine->wait_for_turn(Op::kSleeping, word);
  engine->remember(Op::kWoken, word, 0);
  engine->note("wakes up");
}

void futex_wake(const uint32_t* word, int count) {
  engine->wait_for_turn(Op::kFutexWake, word);
  engine->remember(Op::kFutexWake, word, 0);
  engine->wake(word, count);
  if (engine->tracing()) engine->note("futex_wake(%s)", describe(word).c_str());
}

void await_death(int process) {
  engine->wait_for_turn(Op::kAwaitDeath, nullptr, static_cast<uint64_t>(process));
  engine->remember(Op::kAwaitDeath, nullptr, 0);
  engine->note("learns that process %d is dead", process);
}

bool is_dead(int process) { return engine->is_dead(process); }

void await(const uint32_t* word) {
  engine->wait_for_turn(Op::kAwait, word);
  engine->remember(Op::kAwait, word, *word);
}

unsigned choose(unsigned count) {
  engine->wait_for_turn(Op::kChoose, nullptr, count);
  auto value = static_cast<unsigned>(engine->self().granted);
  engine->remember(Op::kChoose, nullptr, value);
  engine->note("chooses %u of %u", value, count);
  return value;
}

void step() {
  engine->wait_for_turn(Op::kStep, nullptr);
  engine->remember(Op::kStep, nullptr, 0);
}

void forget(uint64_t what_it_remembers) {
  engine->self().history = {};
  engine->remember(Op::kNone, nullptr, what_it_remembers);
}

void read_plain(const void* data, size_t size) {
  engine->wait_for_turn(Op::kPlain, data, size);
  engine->remember(Op::kPlain, data, size);
  if (engine->tracing()) engine->note("reads %s, %zu bytes", describe(data).c_str(), size);
  engine->report_unfinished_writes(data, size);
}

void write_plain(void* data, const void* from, size_t size) {
  auto* to = static_cast<std::byte*>(data);
  auto* bytes = static_cast<const std::byte*>(from);
  if (engine->tracing()) engine->note("writes %s, %zu bytes (buffered)", describe(data).c_str(), size);
  for (size_t at = 0; at < size; at += kPlainPiece)
    engine->push_plain(to + at, static_cast<unsigned>(std::min(kPlainPiece, size - at)), bytes + at);
  engine->remember(Op::kPlain, data, size);
}

void name_words(const void* address, size_t size, std::string name, size_t stride) {
  names.push_back({static_cast<const std::byte*>(address), size, std::move(name), stride});
}

// ---- Models ----------------------------------------------------------------------------------

namespace detail {

std::byte* state_memory(size_t size) {
  static std::byte* memory = nullptr;
  if (size > kStateSizeMax) abort();
  if (memory == nullptr) {
    void* mapped = mmap(nullptr, kStateSizeMax, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) abort();
    memory = static_cast<std::byte*>(mapped);
  }
  return memory;
}

Report run(const Program& program) {
  Report report;
  const Options& options = program.options;
  report.name = options.name;
  if (program.threads.size() > kThreadsMax) abort();
  Engine here(program);
  engine = &here;
  auto begin = std::chrono::steady_clock::now();
  report.complete = here.explore(options, report);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::vector<Action> schedule = here.schedule();
  if (report.violated) {
    // The same again with few context switches, for a trace that one can read.
    for (unsigned bound = 0; bound <= kTracePreemptionsMax; ++bound) {
      Options few = options;
      few.preemptions_max = bound;
      few.states_max = kTraceStatesMax;
      Report shorter;
      (void)here.explore(few, shorter);
      if (!shorter.violated) continue;
      schedule = here.schedule();
      report.what = shorter.what;
      break;
    }
    here.replay(schedule, report.trace);
    report.trace += "  = replay: --replay=" + to_text(schedule) + "\n";
  }
  if (!arguments.replay.empty()) {
    // After the search, so that the same loads need a turn as when the string was printed.
    report.trace.clear();
    here.replay(from_text(arguments.replay), report.trace);
    printf("%s: replay\n%s", options.name.c_str(), report.trace.c_str());
  }
  printf("%s: %s, %llu states, %llu executions, %llu ends, up to %u steps, %.2f s%s\n", options.name.c_str(),
         report.violated    ? ("VIOLATED (" + report.what + ")").c_str()
         : report.complete  ? "holds"
                            : "INCOMPLETE",
         static_cast<unsigned long long>(report.states), static_cast<unsigned long long>(report.executions),
         static_cast<unsigned long long>(report.finals), report.steps, report.seconds,
         options.preemptions_max == kUnbounded ? ""
                                               : (", at most " + std::to_string(options.preemptions_max) + " preemptions").c_str());
  fflush(stdout);
  engine = nullptr;
  return report;
}

}  // namespace detail

}  // namespace tarn::model
