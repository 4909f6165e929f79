#include "task/submitter.hpp"

#include <sched.h>
#include <unistd.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "os/clock.hpp"
#include "shm/prefetch.hpp"
#include "task/back_off.hpp"
#include "task/needs.hpp"
#include "task/recipe.hpp"
#include "task/registry.hpp"

namespace tarn::task {
namespace {

constexpr uint32_t kInterestsMax = shm::kTaskRecordsMax + 1;  // index 0 is nobody's
constexpr uint32_t kHeldMax = shm::kTaskRecordsMax * 4;
constexpr uint8_t kDefaultRetries = 3;
constexpr uint32_t kTagMax = (1u << (32 - shm::kIndexBits)) - 1;

template <class T>
int reserve_table(os::Mapping& map, T*& table, uint64_t count) {
  if (int r = os::Mapping::reserve(count * sizeof(T), map); r < 0) return r;
  table = reinterpret_cast<T*>(map.data());
  return 0;
}

}  // namespace

// A future of this client, as its handles name it: generation + salt 32 | tag 10 | index 22. Clients of one process
// have tags of their own, up to 1 023 of them one after the other; the salt tells those of several processes apart.
void Submitter::choose_names() {
  static std::atomic<uint32_t> ordinal{0};
  auto pid = static_cast<uint32_t>(getpid());
  tag_ = 1 + (pid * 2654435761u / 4096 + ordinal.fetch_add(1, std::memory_order_relaxed)) % kTagMax;
  uint64_t mixed = (static_cast<uint64_t>(os::now_ns()) ^ uint64_t{pid} << 32) * 0x9e3779b97f4a7c15u;
  salt_ = static_cast<uint32_t>(mixed >> 32);
}

tarn_future Submitter::handle_of(uint32_t index) const {
  return {uint64_t{private_[index].generation + salt_} << 32 | shm::make_id(tag_, index)};
}

int Submitter::init() {
  choose_names();
  if (int r = reserve_table(private_map_, private_, shm::kTaskRecordsMax); r < 0) return r;
  if (int r = reserve_table(edge_next_map_, edge_next_, shm::kEdgesMax); r < 0) return r;
  if (int r = reserve_table(held_map_, held_, kHeldMax); r < 0) return r;
  return reserve_table(interest_map_, interests_, kInterestsMax);
}

// Of futures that were not released, the only memory that is not the daemon's to take back.
Submitter::~Submitter() {
  for (uint32_t index = 0; held_used_ > 1 && index < records_used_; ++index)
    for (uint32_t at = private_[index].held; at != 0; at = held_[at].next)
      if (held_[at].kind == Held::Kind::kOutput) give_back(held_[at]);
  for (uint32_t at = 1; at < streams_used_; ++at)
    while (streams_[at].ring != nullptr && streams_[at].first != nullptr) free(std::exchange(streams_[at].first, streams_[at].first->next));
}

void Submitter::set_broken(int code, const char* text, bool for_good) {
  Gate::Pass pass(broken_gate_);
  if (broken_.load(std::memory_order_relaxed) != 0) return;
  snprintf(broken_text_, sizeof broken_text_, "%s", text);
  is_broken_for_good_ = for_good;
  broken_.store(code, std::memory_order_release);
}

void Submitter::mend() {
  Gate::Pass pass(broken_gate_);
  if (!is_broken_for_good_) broken_.store(0, std::memory_order_release);
}

int Submitter::say_broken() const {
  Gate::Pass pass(broken_gate_);
  int code = broken_.load(std::memory_order_relaxed);
  return code == 0 ? 0 : fail(code, "%s", broken_text_);
}

State Submitter::state_of(uint32_t index, std::memory_order order) {
  return State::unpack(record(index).state.load(order));
}

int Submitter::refuse(tarn_future future) const {
  auto id = static_cast<uint32_t>(future.id);
  auto shown = static_cast<unsigned long long>(future.id);
  if (future.id == 0) return fail(TARN_E_NO_FUTURE, "this future is empty: it was moved from, or never made");
  if (shm::id_member(id) != tag_)
    return fail(TARN_E_NO_FUTURE, "the future (%llx) was made by another client; use it with that one", shown);
  return fail(TARN_E_NO_FUTURE, "no such future (%llx): it was released, or made by another client", shown);
}

// ---- Allocation ------------------------------------------------------------------------------

int Submitter::allocate(uint32_t& index) {
  if (leftovers_first_ != 0) reap(2);
  if (free_records_ == 0 && records_used_ == shm::kTaskRecordsMax) {
    reap(shm::kTaskRecordsMax);
    if (free_records_ == 0)
      return fail(TARN_E_LIMIT, "%u tasks are in flight or have unreleased futures, no more fit; release futures",
                  shm::kTaskRecordsMax);
  }
  if (free_records_ != 0) {
    index = free_records_ - 1;
    free_records_ = private_[index].next;
  } else {
    if (records_used_ == records_backed_) {
      uint32_t wanted = std::min(records_backed_ * 2, shm::kTaskRecordsMax);
      if (int r = view_.link->grow(wanted, edges_backed_); r < 0) return r;
      records_backed_ = wanted;
    }
    index = records_used_++;
    view_.own().records_used.store(records_used_, kRelease);
  }
  Private& mine = private_[index];
  mine = {mine.generation + 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  if (mine.generation == 0) mine.generation = 1;
  return 0;
}

// Last freed, first used again: its result was read just now, and its line is asked for here. With 256
// tasks in flight this gave 6.7 M/s where taking the longest free one gave 3.6 (and 4.6 with a distance of
// 16), on cores that are 380 ns apart.
void Submitter::put_free(uint32_t index) {
  if (helper_ != nullptr) remove_child(index);
  shm::prefetch_for_write(&record(index));
  private_[index].next = free_records_;
  free_records_ = index + 1;
}

// Takes back a record that was never submitted.
void Submitter::abandon(uint32_t index) {
  uint32_t tasks = 0;
  release_held(index, tasks);
  drop_tasks(tasks);
  private_[index].refs = 0;
  put_free(index);
}

int Submitter::hold(uint32_t index, Held::Kind kind, uint64_t a, uint64_t b, uint64_t c) {
  uint32_t at = free_held_;
  if (at != 0) {
    free_held_ = held_[at].next;
  } else {
    if (held_used_ == kHeldMax)
      return fail(TARN_E_LIMIT, "the tasks in flight have more than %u arguments to hold; wait for some", kHeldMax);
    at = held_used_++;
  }
  held_[at] = {private_[index].held, kind, a, b, c};
  private_[index].held = at;
  return 0;
}

int Submitter::allocate_edge(uint32_t& edge) {
  if (free_edges_ != 0) {
    edge = free_edges_;
    free_edges_ = edge_next_[edge];
    return 0;
  }
  if (edges_used_ == edges_backed_) {
    if (edges_backed_ == shm::kEdgesMax)
      return fail(TARN_E_LIMIT, "%u dependencies between tasks in flight, no more fit; wait for some", shm::kEdgesMax);
    uint32_t wanted = edges_backed_ * 2;
    if (int r = view_.link->grow(records_backed_, wanted); r < 0) return r;
    edges_backed_ = wanted;
  }
  edge = edges_used_++;
  return 0;
}

int Submitter::allocate_group(uint32_t leaves, uint32_t& group) {
  auto words = static_cast<uint32_t>(kGroupHeaderWords + shm::FanIn::words_needed(leaves));
  auto size_class = static_cast<uint32_t>(std::bit_width(words - 1));
  if (uint32_t at = free_groups_[size_class]; at != 0) {
    group = at;
    free_groups_[size_class] = static_cast<uint32_t>(view_.own().group_words[at].load(kRelaxed));
    return 0;
  }
  uint32_t size = uint32_t{1} << size_class;
  // The words are backed along with the edges: see kGroupWordsAtStart.
  while (group_words_used_ + size > edges_backed_ / 4) {
    if (edges_backed_ == shm::kEdgesMax)
      return fail(TARN_E_LIMIT, "the tasks in flight depend on too many others; wait for some");
    uint32_t wanted = edges_backed_ * 2;
    if (int r = view_.link->grow(records_backed_, wanted); r < 0) return r;
    edges_backed_ = wanted;
  }
  if (group_words_used_ + size > shm::kGroupWordsMax)
    return fail(TARN_E_LIMIT, "the tasks in flight depend on too many others; wait for some");
  group = group_words_used_;
  group_words_used_ += size;
  return 0;
}

// ---- Submission ------------------------------------------------------------------------------

int Submitter::fill_block(uint32_t index, const tarn_arg* args, size_t count, const Submission& submission) {
  TaskLimits limits = submission.limits;
  uint64_t size = block_size(args, count);
  uint64_t limits_at = 0;
  if (submission.has_limits) {
    limits_at = std::max<uint64_t>(size, 8);  // not 0, which says that there are none
    size = limits_at + limits.size();
  }
  bool is_repeatable = limits.recipe != 0;
  if (is_repeatable) {
    limits.recipe = static_cast<uint32_t>(os::round_up(size, kRecipeAlignment));
    size = limits.recipe + sizeof(Recipe);
  }
  store::Block block;
  ErrorGuard guard;  // the store may be refused memory and find some
  if (int r = guard.end(store_.alloc_block(size, block)); r < 0) return r;
  if (int r = hold(index, Held::Kind::kBlock, block.slab, block.offset, size); r < 0) {
    store_.free_block(block, size);
    return r;
  }
  uint64_t at = count * sizeof(BlockEntry);
  for (size_t i = 0; i < count; ++i) {
    BlockEntry entry{args[i].kind, 0, 0, 0, 0, 0};
    if (args[i].kind == TARN_ARG_VALUE) {
      tarn_bytes value = args[i].u.value;
      entry.offset = at;
      entry.size = value.size;
      if (value.size != 0) memcpy(block.data + at, value.data, value.size);
      at += os::round_up(value.size, 8);
    } else if (args[i].kind == TARN_ARG_OBJECT) {
      ObjectRef ref;
      if (int r = object_of_(object_context_, args[i].u.object, ref); r < 0) return r;
      entry = {args[i].kind, ref.generation, ref.id, 0, ref.offset, ref.size};
    } else {
      entry.id = shm::id_index(static_cast<uint32_t>(args[i].u.future.id));
      entry.generation = private_[entry.id].generation;
      entry.part = args[i].part;
    }
    memcpy(block.data + i * sizeof entry, &entry, sizeof entry);
  }
  if (limits_at != 0) {
    std::byte* to = block.data + limits_at;
    memcpy(to, &limits, sizeof limits);
    to += sizeof limits;
    if (limits.code_count != 0) memcpy(to, submission.codes, limits.code_count * sizeof(int32_t));
    if (limits.labels_size != 0) memcpy(to + limits.code_count * sizeof(int32_t), submission.labels, limits.labels_size);
  }
  BlockRef ref{block.slab, static_cast<uint32_t>(count), block.offset, size, limits_at};
  if (is_repeatable) {
    Recipe recipe{ref, submission.task, index, private_[index].generation, 0};
    memcpy(block.data + limits.recipe, &recipe, sizeof recipe);
    private_[index].repeatable = 1;
  }
  memcpy(record(index).payload, &ref, sizeof ref);
  return 0;
}

// Checks the arguments, holds what they refer to and writes them. Sets how many are futures.
int Submitter::fill_arguments(uint32_t index, const tarn_arg* args, size_t count, const Submission& submission, uint32_t& futures) {
  const TaskLimits& limits = submission.limits;
  uint64_t values_size = 0;
  ObjectRef object{};
  for (size_t i = 0; i < count; ++i) {
    switch (args[i].kind) {
      case TARN_ARG_VALUE:
        if (args[i].u.value.size > kValuesSizeMax || (values_size += args[i].u.value.size) > kValuesSizeMax)
          return fail(TARN_E_TOO_LARGE, "the values of one task may have %zu bytes together; put larger ones",
                      kValuesSizeMax);
        if (args[i].u.value.data == nullptr && args[i].u.value.size != 0)
          return fail(TARN_E_ARGUMENT, "argument %zu is a null pointer of %zu bytes", i, args[i].u.value.size);
        break;
      case TARN_ARG_OBJECT:
        if (int r = object_of_(object_context_, args[i].u.object, object); r < 0) return r;
        if (int r = store_.keep(object); r < 0) return r;
        if (int r = hold(index, Held::Kind::kObject, object.id | uint64_t{object.generation} << 32, 0, 0); r < 0) {
          store_.unkeep(object);
          return r;
        }
        break;
      case TARN_ARG_FUTURE: {
        uint32_t other;
        if (int r = check(args[i].u.future, other); r < 0) return r;
        if (private_[other].stream != 0) [[unlikely]]
          return fail(TARN_E_ARGUMENT, "argument %zu is the future of a stream; read it, and pass its items on", i);
        if (int r = hold(index, Held::Kind::kTask, other, 0, 0); r < 0) return r;
        ++private_[other].refs;
        ++futures;
        break;
      }
      default:
        return fail(TARN_E_ARGUMENT, "argument %zu is of kind %u; there are 0 to 2, see enum tarn_arg_kind", i,
                    args[i].kind);
    }
  }
  TaskRecord& r = record(index);
  if (submission.has_limits && limits.deadline_ns != 0) {
    if (int e = hold(index, Held::Kind::kDeadline, static_cast<uint64_t>(limits.deadline_ns), 0, 0); e < 0) return e;
    private_[index].has_deadline = 1;
  }
  if (submission.has_limits && limits.memory != 0) {
    if (int e = hold(index, Held::Kind::kMemory, limits.memory, 0, 0); e < 0) return e;
  }
  r.arg_format = submission.has_limits ? uint8_t{kBlock} : encode_inline(args, count, &object, r.payload);
  return r.arg_format == kBlock ? fill_block(index, args, count, submission) : 0;
}

// The record is kWaiting and has all its edges' bits missing; hangs the edges, and follows those
// whose task has finished already.
int Submitter::hang_dependencies(uint32_t index, const tarn_arg* args, size_t count, uint32_t futures) {
  uint32_t generation = private_[index].generation;
  uint32_t group = 0;
  if (futures > kDirectDependenciesMax) {
    if (int r = allocate_group(futures, group); r < 0) return r;
    auto words = static_cast<uint32_t>(kGroupHeaderWords + shm::FanIn::words_needed(futures));
    if (int r = hold(index, Held::Kind::kGroup, group, words, 0); r < 0) return r;
    Group& tree = space().group(group);
    tree.target = index;
    tree.target_generation = generation;
    tree.bit = 0;
    tree.leaves = futures;
    shm::FanIn::init(tree.words, futures);
  }
  // All edges first, so that a failure leaves nothing hanging on other tasks.
  uint32_t edges = 0;  // chained through edge_next_
  for (uint32_t i = 0; i < futures; ++i) {
    uint32_t edge = kNoEdge;
    if (int r = allocate_edge(edge); r < 0) {
      while (edges != 0) {
        uint32_t next = edge_next_[edges];
        edge_next_[edges] = free_edges_;
        free_edges_ = edges;
        edges = next;
      }
      return r;
    }
    edge_next_[edge] = edges;
    edges = edge;
  }
  SegmentSpace space = this->space();
  uint32_t number = 0;
  for (size_t i = 0; i < count; ++i) {
    if (args[i].kind != TARN_ARG_FUTURE) continue;
    uint32_t at = edges;
    edges = edge_next_[at];
    Edge& edge = space.edge(at);
    edge.target = group != 0 ? group : index;
    edge.target_generation = generation;
    edge.bit = group != 0 ? Edge::kLeaf | number : number;
    ++number;
    TaskRecord& other = record(shm::id_index(static_cast<uint32_t>(args[i].u.future.id)));
    if (!hang_edge(other, edge, at)) follow_edge(space, edge);
  }
  satisfy(space, index, generation, kSubmittedBit);
  return 0;
}

// What holds for each task of a submission.
int Submitter::check_submission(tarn_task task, const tarn_arg* args, size_t count, const tarn_submit_options* options,
                                Submission& out) {
  out = {task, kDefaultRetries + 1, pack_kind(shm::kUsualLevel, 0, 0), false, {}, nullptr, nullptr};
  if (options != nullptr) {
    if (int r = read_options(*options, out); r < 0) return r;
  }
  if (find_task(task) == nullptr)
    return fail(TARN_E_NO_TASK,
                "no task with number %08x is defined here; call tarn_task_define with its name "
                "before tarn_init",
                task);
  if (count > kArgumentsMax)
    return fail(TARN_E_TOO_LARGE, "%zu arguments; a task may have %zu, put the rest into an object", count,
                kArgumentsMax);
  if (count != 0 && args == nullptr) return fail(TARN_E_ARGUMENT, "args is NULL, but count is %zu", count);
  return 0;
}

// Inside the gate. The caller rings.
int Submitter::submit_one(const Submission& submission, const tarn_arg* args, size_t count, tarn_future& out) {
  if (int r = check_broken(); r < 0) return r;
  if (helper_ != nullptr) {
    if (int r = helper_->check_room(); r < 0) return r;
  }
  uint32_t index;
  if (int r = allocate(index); r < 0) return r;
  uint32_t futures = 0;
  if (int r = fill_arguments(index, args, count, submission, futures); r < 0) {
    abandon(index);
    return r;
  }
  Private& mine = private_[index];
  TaskRecord& r = record(index);
  r.task = submission.task;
  r.kind.store(submission.kind, kRelaxed);
  r.edges.store(kNoEdge, kRelaxed);
  r.result_size = 0;
  r.attempts = 0;
  r.attempts_max = submission.attempts_max;
  if (view_.is_traced()) [[unlikely]]
    trace_submission(index, submission, args, count);
  if (futures == 0) {
    r.state.store(State{mine.generation, 0, Phase::kReady, 0}.pack(), kRelease);
    view_.publish(shm::make_id(view_.self, index), submission.kind);
  } else {
    r.dependencies.store(
        initial_dependencies(mine.generation, futures > kDirectDependenciesMax ? 1 : futures), kRelaxed);
    r.state.store(State{mine.generation, 0, Phase::kWaiting, 0}.pack(), kRelease);
    if (int e = hang_dependencies(index, args, count, futures); e < 0) {
      r.state.store(State{mine.generation, 0, Phase::kFree, 0}.pack(), kRelease);
      abandon(index);
      return e;
    }
  }
  ++outstanding_;
  if (helper_ != nullptr) add_child(index);
  out = handle_of(index);
  return 0;
}

int Submitter::submit(tarn_task task, const tarn_arg* args, size_t count, const tarn_submit_options* options,
                      tarn_future& out) {
  Submission submission;
  if (int r = check_submission(task, args, count, options, submission); r < 0) return r;
  Gate::Pass pass(gate_);
  if (int r = submit_one(submission, args, count, out); r < 0) return r;
  ring();
  return 0;
}

int Submitter::submit_batch(tarn_task task, const tarn_arg* args, size_t args_each, size_t count,
                            const tarn_submit_options* options, tarn_future* out, size_t& done) {
  constexpr size_t kInsideMax = 64;  // other threads have their turn
  done = 0;
  Submission submission;
  if (int r = check_submission(task, args, count == 0 ? 0 : args_each, options, submission); r < 0) return r;
  while (done < count) {
    Gate::Pass pass(gate_);
    for (size_t end = std::min(count, done + kInsideMax); done < end; ++done) {
      const tarn_arg* own = args_each == 0 ? nullptr : args + done * args_each;
      if (int r = submit_one(submission, own, args_each, out[done]); r < 0) return r;
      ring();  // each: whoever is woken may take all that is there, and the next may have to wait for memory
    }
  }
  return 0;
}

// Wakes a worker if those that are awake may all be busy: each task that this process knows to be
// outstanding occupies at most one of them. One that is awake and idle looks at the rings before it
// sleeps. Where tasks submit tasks they may be busy with those of others, and have to be asked.
void Submitter::ring() {
  if (view_.published == 0) return;
  view_.published = 0;
  shm::Board& board = *view_.board;
  if (!board.doorbell.anyone_to_wake()) [[likely]]
    return;
  if (board.nested.load(shm::kRelaxed) == 0) {
    if (outstanding_ <= board.doorbell.awake()) return;
  } else if (shm::is_anyone_idle(board, view_.self)) {
    return;
  }
  bool is_shared = board.spin_budget_ns.load(kRelaxed) == 0;
  uint32_t worker = is_shared ? shm::pick_near(board, static_cast<uint32_t>(sched_getcpu())) : board.doorbell.pick();
  if (worker != 0) shm::wake_worker(board, worker);
}

// ---- Release ---------------------------------------------------------------------------------

// A task that has finished never runs again: what it read may go, however long its result is wanted. The tasks that it
// depended on stay: somebody may still be telling them.
void Submitter::release_arguments(uint32_t index) {
  uint32_t kept = 0;
  for (uint32_t at = private_[index].held; at != 0;) {
    Held& held = held_[at];
    uint32_t next = held.next;
    if (held.kind == Held::Kind::kObject || held.kind == Held::Kind::kBlock) {
      give_back(held);
      held.next = free_held_;
      free_held_ = at;
    } else {
      held.next = kept;
      kept = at;
    }
    at = next;
  }
  private_[index].held = kept;
}

// Of a task that is repeatable, and whose result is such that it can leave memory. Its record is not looked at: that of a worker
// that has just begun may not be known here.
bool Submitter::keeps_arguments(uint32_t index) {
  Private& mine = private_[index];
  if (mine.repeatable == 0) [[likely]]
    return false;
  State state = state_of(index);
  bool is_object = (state.flags & (kFailed | kObject)) == kObject;
  if (!is_object || result_ref(index, state).size <= store::kStaysMax) mine.repeatable = 0;
  return mine.repeatable != 0;
}

void Submitter::give_back(const Held& held) {
  switch (held.kind) {
    case Held::Kind::kObject:
      return store_.unkeep(ObjectRef{static_cast<uint32_t>(held.a), static_cast<uint32_t>(held.a >> 32), 0, 0});
    case Held::Kind::kBlock:
      return store_.free_block(store::Block{static_cast<uint32_t>(held.a), held.b, nullptr}, held.c);
    case Held::Kind::kGroup: {
      auto size_class = static_cast<uint32_t>(std::bit_width(held.b - 1));
      view_.own().group_words[held.a].store(free_groups_[size_class], kRelaxed);
      free_groups_[size_class] = static_cast<uint32_t>(held.a);
      return;
    }
    case Held::Kind::kOutput: return free(reinterpret_cast<char*>(static_cast<uintptr_t>(held.a)));
    case Held::Kind::kTask:  // chained by release_held
    case Held::Kind::kDeadline:
    case Held::Kind::kMemory: return;
  }
}

int Submitter::release(tarn_future future) {
  Gate::Pass pass(gate_);
  uint32_t index;
  if (int r = check(future, index); r < 0) return r;
  if (private_[index].interest != 0) drop_interest(index);
  if (private_[index].stream != 0) close_stream(index);
  private_[index].leftover = 1;  // the handle is no longer valid, whoever else needs the record
  drop(index);
  if (leftovers_first_ != 0) reap(2);
  return 0;
}

// One user of the record less. The last one frees it, now or once it is done.
void Submitter::drop(uint32_t index) {
  TARN_ASSERT(private_[index].refs > 0);
  if (--private_[index].refs == 0 && !try_free(index)) leave_over(index);
}

// Looks at up to `count` leftovers, oldest first; those that are not done go to the end.
uint32_t Submitter::reap(uint32_t count) {
  uint32_t last = leftovers_last_;
  uint32_t freed = 0;
  while (count-- > 0 && leftovers_first_ != 0) {
    uint32_t index = leftovers_first_ - 1;
    leftovers_first_ = private_[index].next;
    if (leftovers_first_ == 0) leftovers_last_ = 0;
    if (try_free(index)) {
      ++freed;
    } else {
      leave_over(index);
    }
    if (index + 1 == last) break;
  }
  return freed;
}

uint32_t Submitter::reap_all() {
  Gate::Pass pass(gate_);
  uint32_t freed = 0;
  for (uint32_t index = 0; index < records_used_; ++index) {
    if (private_[index].refs == 0 || private_[index].held == 0 || private_[index].seen || !state_of(index).finished())
      continue;
    see(index);
    ++freed;
  }
  return freed + reap(UINT32_MAX);
}

// Nobody will ask for the result any more.
void Submitter::drop_result(uint32_t index, State state) {
  private_[index].dropped = 1;
  ObjectRef result = result_ref(index, state);
  if (result.generation == 0) return;
  ErrorGuard guard;  // the caller has nothing to do with it
  if (private_[index].adopted != 0) {
    store_.unkeep(result);
  } else if (view_.know(shm::id_member(result.id)) == 0) {
    (void)store_.decline(result);  // nothing may hinder it: what is not let go of here stays
  }
  (void)guard.end(0);
}

// Frees the record if its task is done and nobody can come back to it.
bool Submitter::try_free(uint32_t index) {
  State state = state_of(index);
  Private& mine = private_[index];
  if (state.finished()) {
    see(index);
    // Not when the record goes: a worker that is held up before the last step would keep the memory, too.
    if (mine.dropped == 0) drop_result(index, state);
  }
  if (state.phase != Phase::kDone) return false;
  if (mine.repeatable != 0 && !store_.end_repeats(result_ref(index, state))) return false;
  // A worker that is still telling the tasks we depended on about us may come by once more.
  for (uint32_t at = mine.held; at != 0; at = held_[at].next)
    if (held_[at].kind == Held::Kind::kTask && state_of(static_cast<uint32_t>(held_[at].a)).phase != Phase::kDone)
      return false;
  if ((state.flags & kEdges) != 0) {
    for (uint32_t edge = record(index).edges.load(kRelaxed); edge != kNoEdge;) {
      uint32_t next = space().edge(edge).next;
      edge_next_[edge] = free_edges_;
      free_edges_ = edge;
      edge = next;
    }
  }
  uint32_t tasks = 0;
  if (mine.held != 0) release_held(index, tasks);
  if (mine.stream != 0) [[unlikely]]
    free_stream(mine.stream);
  put_free(index);
  drop_tasks(tasks);
  return true;
}

// The tasks that a freed one depended on lose a user each; `tasks` chains what was held.
void Submitter::drop_tasks(uint32_t tasks) {
  while (tasks != 0) {
    uint32_t at = tasks;
    tasks = held_[at].next;
    auto index = static_cast<uint32_t>(held_[at].a);
    held_[at].next = free_held_;
    free_held_ = at;
    // Left over rather than freed right here, so that a chain of any length costs no stack.
    if (--private_[index].refs == 0) leave_over(index);
  }
}

void Submitter::leave_over(uint32_t index) {
  private_[index].next = 0;
  if (leftovers_last_ != 0) {
    private_[leftovers_last_ - 1].next = index + 1;
  } else {
    leftovers_first_ = index + 1;
  }
  leftovers_last_ = index + 1;
}

// Gives back what the task held, except tasks: those are chained into `tasks` for the caller.
void Submitter::release_held(uint32_t index, uint32_t& tasks) {
  for (uint32_t at = private_[index].held; at != 0;) {
    Held& held = held_[at];
    uint32_t next = held.next;
    if (held.kind == Held::Kind::kTask) {
      held.next = tasks;
      tasks = at;
      at = next;
      continue;
    }
    give_back(held);
    held.next = free_held_;
    free_held_ = at;
    at = next;
  }
  private_[index].held = 0;
}

// The object that holds the result, or the text of the error; generation 0 if there is none.
ObjectRef Submitter::result_ref(uint32_t index, State state) {
  ObjectRef ref{};
  if ((state.flags & kFailed) != 0) {
    TaskErrorPayload error;
    memcpy(&error, record(index).payload, sizeof error);
    ref = error.text;
  } else if ((state.flags & kObject) != 0) {
    memcpy(&ref, record(index).payload, sizeof ref);
  }
  return ref;
}

// The worker that made the result set this process's holder bit; the first time we look at it, we
// begin to count it as our reference.
int Submitter::adopt_result(uint32_t index) {
  if (private_[index].adopted) return 0;
  if (ObjectRef ref = result_ref(index, state_of(index)); ref.generation != 0) {
    if (int r = view_.know(shm::id_member(ref.id)); r < 0) return r;
    if (int r = store_.adopt(ref); r < 0) return r;
  }
  private_[index].adopted = 1;
  return 0;
}

}  // namespace tarn::task
