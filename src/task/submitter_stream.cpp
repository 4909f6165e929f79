// Streams: the reader's side. A task that was submitted as a stream has a ring in the arena of this process (shm/stream_ring.hpp),
// from which its items are taken one by one, in the order of its yields.
//
// A read looks at the ring, spins for as long as a wake-up would cost, then asks to be told and sleeps, as a wait for the task does:
// whoever yields, or finishes the record, counts an event. Whatever happens to the task, what it had yielded before comes first.
//
// Nothing may wait for ever for a window that nobody opens. What is read in a task may run on the very stack that reads; what is
// awaited to its end is read by nobody; and all workers may wait for streams that this process will read only when it has what it
// waits for now. Then items are taken in, into a list in private memory, and the window does not hold.

#include <sched.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/error.hpp"
#include "base/options.hpp"
#include "os/clock.hpp"
#include "os/futex.hpp"
#include "task/submitter.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kDaemonCheckNs = 100'000'000;
constexpr int64_t kLookAgainNs = 20'000'000;  // in a task: whether it is cancelled, and what can be run here
constexpr int64_t kPatienceNs = 1'000'000;    // for another worker to begin the stream that a task reads
constexpr int kPausesPerLook = 64;
constexpr uint32_t kItemsDefault = 256;
constexpr uint64_t kBytesDefault = uint64_t{16} << 20;

}  // namespace

// ---- Opening and closing ---------------------------------------------------------------------

int Submitter::open_stream(const tarn_stream_options* options, uint32_t& at) {
  uint32_t items = kItemsDefault;
  uint64_t bytes = kBytesDefault;
  if (options != nullptr) {
    if (int r = check_options(options, options->size, sizeof *options, "tarn_stream_options"); r < 0) return r;
    uint64_t reserved = options->reserved2;
    for (uint64_t value : options->reserved) reserved |= value;
    if (reserved != 0) return fail(TARN_E_ARGUMENT, "tarn_stream_options: reserved must be zero");
    if (options->items > shm::kStreamItemsMax)
      return fail(TARN_E_ARGUMENT, "tarn_stream_options: items is %u; at most %u may wait to be read", options->items, shm::kStreamItemsMax);
    if (options->items != 0) items = options->items;
    if (options->bytes != 0) bytes = options->bytes;
  }
  if (stream_map_.data() == nullptr) {
    if (int r = os::Mapping::reserve(size_t{kStreamsMax} * sizeof(Stream), stream_map_); r < 0) return r;
    streams_ = reinterpret_cast<Stream*>(stream_map_.data());
  }
  if (free_streams_ == 0 && streams_used_ == kStreamsMax) {
    reap(shm::kTaskRecordsMax);
    if (free_streams_ == 0)
      return fail(TARN_E_LIMIT, "%u streams of this process are not done, or have unreleased futures; no more fit", kStreamsMax - 1);
  }
  uint32_t capacity = std::bit_ceil(items);
  uint32_t line;
  if (int r = arena_.allocate("stream", shm::StreamRing::lines(capacity), line); r < 0) return r;
  at = free_streams_;
  if (at != 0) {
    free_streams_ = streams_[at].line;
  } else {
    at = streams_used_++;
  }
  Stream& stream = *new (&streams_[at]) Stream{};
  stream.ring = reinterpret_cast<shm::StreamRing*>(arena_.at(line));
  stream.line = line;
  stream.capacity = capacity;
  streams_open_.fetch_add(1, std::memory_order_relaxed);
  stream.ring->open(capacity, items, bytes);
  return 0;
}

// Nobody writes to it any more.
void Submitter::free_stream(uint32_t at) {
  Stream& stream = streams_[at];
  drop_items(stream);
  stream.ring->close();
  arena_.free(stream.line, shm::StreamRing::lines(stream.capacity));
  streams_open_.fetch_sub(1, std::memory_order_relaxed);
  stream.ring = nullptr;
  stream.line = free_streams_;
  free_streams_ = at;
}

int Submitter::submit_stream(tarn_task task, const tarn_arg* args, size_t count, const tarn_submit_options* options,
                             const tarn_stream_options* stream_options, tarn_future& out) {
  Submission submission;
  if (int r = check_submission(task, args, count, options, submission); r < 0) return r;
  if (options != nullptr && (options->flags & TARN_TASK_REPEATABLE) != 0)
    return fail(TARN_E_ARGUMENT, "a stream cannot be TARN_TASK_REPEATABLE: its items are read once, and written to the disk when memory is short");
  Gate::Pass pass(gate_);
  uint32_t at;
  if (int r = open_stream(stream_options, at); r < 0) return r;
  submission.limits.attempts_max = submission.attempts_max;
  submission.limits.stream = streams_[at].line + 1;
  submission.has_limits = true;
  tarn_future future;
  if (int r = submit_one(submission, args, count, future); r < 0) {
    free_stream(at);
    return r;
  }
  uint32_t index = shm::id_index(static_cast<uint32_t>(future.id));
  private_[index].stream = at;
  streams_[at].index = index;
  out = future;
  ring();
  return 0;
}

// Nobody will read it any more. What the task has in hand it may still yield: that goes when the record does.
void Submitter::close_stream(uint32_t index) {
  Stream& stream = streams_[private_[index].stream];
  if (stream.ring->leave()) os::futex_wake(stream.ring->parked_address(), 1);
  drop_items(stream);
}

// The task that yields, if it sleeps, is to look at what has become of it.
void Submitter::wake_stream(uint32_t index) {
  shm::StreamRing& ring = *streams_[private_[index].stream].ring;
  if (ring.wake()) os::futex_wake(ring.parked_address(), 1);
}

// Called by whoever waits, now and then, and when a task begins to wait in a yield. If all workers do, for streams of this process,
// nothing goes on that this thread could wait for: one of them is to come further. TARN_E_LIMIT when that has no end.
int Submitter::relieve_streams() {
  if (streams_open_.load(std::memory_order_relaxed) == 0) [[likely]]
    return 0;
  Stream* least = nullptr;
  uint32_t parked = 0;
  for (uint32_t at = 1; at < streams_used_; ++at) {
    Stream& stream = streams_[at];
    if (stream.ring == nullptr || !stream.ring->is_parked() || state_of(stream.index).phase != Phase::kRunning) continue;
    ++parked;
    if (least == nullptr || stream.kept < least->kept) least = &stream;
  }
  return parked == 0 || parked < others_serving() ? 0 : take_all(*least);
}

void Submitter::close_streams(uint32_t children) {
  Gate::Pass pass(gate_);
  for (; children != 0; children = siblings_[children - 1].next)
    if (private_[children - 1].stream != 0) close_stream(children - 1);
}

// ---- Items -----------------------------------------------------------------------------------

// The item at the head of the ring, which then goes on. 1: there was one, 0: there was none.
int Submitter::take_item(Stream& stream, StreamItem& out) {
  const shm::StreamEntry* entry = stream.ring->peek(stream.head);
  if (entry == nullptr) return 0;
  if (entry->size == shm::StreamEntry::kObject) [[unlikely]] {
    ObjectRef object;
    memcpy(&object, entry->payload, sizeof object);
    if (int r = view_.know(shm::id_member(object.id)); r < 0) return r;
    if (int r = store_.adopt(object); r < 0) return r;
    out.object = object;
    stream.taken += object.size;
  } else {
    out.object.generation = 0;
    out.size = std::min(entry->size, shm::StreamEntry::kInlineMax);
    stream.taken += out.size;
    if (out.size == 32) {
      memcpy(out.bytes, entry->payload, 32);
    } else {
      memcpy(out.bytes, entry->payload, sizeof out.bytes);
    }
  }
  if (stream.ring->advance(++stream.head, stream.taken)) [[unlikely]]
    os::futex_wake(stream.ring->parked_address(), 1);
  return 1;
}

// The same, with those first that were taken in.
int Submitter::next_item(Stream& stream) {
  if (stream.first == nullptr) [[likely]]
    return take_item(stream, stream.current);
  StreamItem* item = stream.first;
  --stream.kept;
  stream.first = item->next;
  if (stream.first == nullptr) stream.last = nullptr;
  stream.current = *item;
  free(item);
  return 1;
}

int Submitter::take_in(uint32_t index) {
  Gate::Pass pass(gate_);
  return take_all(streams_[private_[index].stream]);
}

int Submitter::take_all(Stream& stream) {
  while (stream.ring->peek(stream.head) != nullptr) {
    if (stream.kept == kKeptItemsMax)
      return fail(TARN_E_LIMIT, "a stream has %u items that were not read, and is not at its end; no worker is free unless it is read",
                  stream.kept);
    auto* item = static_cast<StreamItem*>(malloc(sizeof(StreamItem)));
    if (item == nullptr) return fail(TARN_E_NO_MEMORY, "no memory for the items of a stream that nobody has read");
    if (int r = take_item(stream, *item); r < 0) {
      free(item);
      return r;
    }
    item->next = nullptr;
    (stream.last != nullptr ? stream.last->next : stream.first) = item;
    stream.last = item;
    ++stream.kept;
  }
  return 0;
}

void Submitter::drop_item(StreamItem& item) {
  if (item.object.generation != 0) store_.unkeep(item.object);
  item.object.generation = 0;
}

void Submitter::drop_items(Stream& stream) {
  drop_item(stream.current);
  stream.is_waiting = false;
  ErrorGuard guard;  // the caller has nothing to do with it
  while (next_item(stream) == 1) drop_item(stream.current);
  (void)guard.end(0);
}

// ---- Reading ---------------------------------------------------------------------------------

int Submitter::check_stream(tarn_future future, uint32_t& index) const {
  if (int r = check(future, index); r < 0) return r;
  if (private_[index].stream != 0) [[likely]]
    return 0;
  return fail(TARN_E_STATE, "the future is not that of a stream; submit the task with tarn_submit_stream");
}

// Whether there is an item, or the end.
bool Submitter::is_there(const shm::StreamRing& ring, uint64_t head, uint32_t index) {
  return ring.peek(head) != nullptr || state_of(index).finished();
}

// Until that, or sleeping is cheaper. True: look.
bool Submitter::spin_for_item(const shm::StreamRing& ring, uint64_t head, uint32_t index, int64_t deadline_ns) {
  auto look = [&] {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (is_there(ring, head, index)) return true;
      os::pause();
    }
    return false;
  };
  if (look()) return true;
  uint32_t budget_ns = view_.board->spin_budget_ns.load(kRelaxed);
  if (budget_ns == 0 || deadline_ns == 0) return false;
  auto cpu = static_cast<uint32_t>(sched_getcpu());
  if (helper_ == nullptr && view_.board->client_cpu.load(kRelaxed) != cpu + 1) view_.board->client_cpu.store(cpu + 1, kRelaxed);
  if (!worker_elsewhere(cpu)) return false;
  int64_t end = std::min(os::now_ns() + budget_ns, deadline_ns);
  do {
    sched_yield();
    if (look()) return true;
  } while (os::now_ns() < end);
  return false;
}

uint32_t Submitter::others_serving() const {
  uint32_t count = 0;
  for (uint32_t word = 0; word < shm::Doorbell::kWords; ++word) {
    uint64_t serving = view_.board->doorbell.serving(word);
    if (word == view_.self / 64) serving &= ~(uint64_t{1} << view_.self % 64);
    count += static_cast<uint32_t>(std::popcount(serving));
  }
  return count;
}

// In a task: runs the stream's own task, if nobody else begins it, or what that waits for.
void Submitter::help_stream(uint32_t index, int64_t& patient_until_ns, int64_t& next_ns) {
  int64_t now = os::now_ns();
  if (patient_until_ns == 0) patient_until_ns = now + kPatienceNs;
  // In another worker the window holds, and the first item does not come with the last.
  if (now < patient_until_ns && state_of(index).phase == Phase::kReady && others_serving() != 0) {
    next_ns = std::min(next_ns, patient_until_ns);
    return;
  }
  while (helper_->code_of_end() == 0 && help(index)) {
  }
}

// The next item becomes the current one; with `to_end`, all that comes is taken in, until the task is finished. Returns 1 for an
// item, 0 at the end, when the task is finished.
int Submitter::await_item(tarn_future future, int64_t timeout_ns, bool to_end) {
  int64_t deadline_ns = timeout_ns == 0 ? 0 : os::deadline_after(timeout_ns);
  bool is_in_task = helper_ != nullptr && helper_->is_in_task();
  int64_t patient_until_ns = 0;
  for (bool is_asked = false;;) {
    uint32_t index;
    uint32_t events = view_.own().waiters.events();
    shm::StreamRing* ring;
    uint64_t head;
    bool has_deadline;
    {
      Gate::Pass pass(gate_);
      if (int r = check_stream(future, index); r < 0) return r;
      Stream& stream = streams_[private_[index].stream];
      ring = stream.ring;
      has_deadline = private_[index].has_deadline != 0;
      // Before the look at the ring: what was yielded before the end is then there.
      bool is_finished = state_of(index).finished();
      if (int r = to_end ? take_all(stream) : next_item(stream); r != 0) return r;
      if (is_finished) {
        see(index);
        return 0;
      }
      head = stream.head;
    }
    if (is_in_task) {
      if (int r = check_end(); r < 0) return r;
    }
    int64_t next_ns = os::now_ns() + (is_in_task ? kLookAgainNs : kDaemonCheckNs);
    if (is_in_task && timeout_ns != 0) {
      help_stream(index, patient_until_ns, next_ns);
      if (is_there(*ring, head, index)) continue;
    }
    if (!is_asked && spin_for_item(*ring, head, index, deadline_ns)) continue;
    if (has_deadline) next_ns = std::min(next_ns, end_overdue(&future, 1));
    // Also for who does not wait: the client's descriptor then tells of the next item.
    if (!is_asked) {
      ring->want();
      (void)mark_notify(record(index));
      is_asked = true;
      continue;
    }
    is_asked = false;
    if (os::now_ns() >= deadline_ns) {
      if (int r = look_in_poll(); r < 0) return r;
      if (timeout_ns == 0) return fail(TARN_E_TIMED_OUT, to_end ? "the task is not done yet" : "there is no item yet");
      return fail(TARN_E_TIMED_OUT, to_end ? "the task was not done after %.9g ms" : "there was no item after %.9g ms",
                  static_cast<double>(timeout_ns) / 1e6);
    }
    next_ns = std::min(deadline_ns, next_ns);
    if (int r = is_in_task ? sleep_in_task(events, next_ns) : sleep_for_events(events, 1, next_ns); r < 0) return r;
    ErrorGuard guard;
    int gone = check_daemon();
    if (gone < 0 && !is_there(*ring, head, index)) return gone;
    (void)guard.end(0);
  }
}

// The stream whose `current` is to be handed out.
int Submitter::read_item(tarn_future future, int64_t timeout_ns, Stream*& out) {
  if (timeout_ns < -1) [[unlikely]]
    return fail(TARN_E_ARGUMENT, "timeout_ns is %lld; 0 does not wait, and -1 waits for ever", static_cast<long long>(timeout_ns));
  uint32_t index;
  int r;
  {
    Gate::Pass pass(gate_);
    if (r = check_stream(future, index); r < 0) return r;
    Stream& stream = streams_[private_[index].stream];
    out = &stream;
    if (stream.is_waiting) [[unlikely]]
      return 0;  // one whose bytes could not come back to memory
    drop_item(stream.current);
    r = next_item(stream);
    if (r == 1) [[likely]]
      return 0;
  }
  if (r == 0) r = await_item(future, timeout_ns, false);
  if (r < 0) return r;
  Gate::Pass pass(gate_);
  if (int e = check(future, index); e < 0) return e;
  if (r == 0) return (state_of(index).flags & kFailed) != 0 ? task_error(index) : fail(TARN_E_END, "the stream has ended");
  return 0;
}

int Submitter::stream_next(tarn_future future, int64_t timeout_ns, tarn_bytes& out) {
  Stream* read = nullptr;
  if (int r = read_item(future, timeout_ns, read); r < 0) return r;
  Stream& stream = *read;
  if (stream.current.object.generation == 0) [[likely]] {
    out = {stream.current.bytes, stream.current.size};
    return 0;
  }
  stream.is_waiting = true;
  if (int r = store_.get_kept(stream.current.object, out); r < 0) return r;
  stream.is_waiting = false;
  return 0;
}

int Submitter::stream_next_object(tarn_future future, int64_t timeout_ns, ObjectRef& out) {
  Stream* read = nullptr;
  if (int r = read_item(future, timeout_ns, read); r < 0) return r;
  Stream& stream = *read;
  stream.is_waiting = true;
  if (stream.current.object.generation == 0) {
    if (int r = store_.put(stream.current.bytes, stream.current.size, out); r < 0) return r;
  } else {
    if (int r = store_.share(stream.current.object); r < 0) return r;
    out = stream.current.object;
  }
  stream.is_waiting = false;
  return 0;
}

int Submitter::stream_then(tarn_future future, tarn_future_fn fn, void* context) {
  if (fn == nullptr) return fail(TARN_E_ARGUMENT, "fn is NULL");
  Gate::Pass pass(gate_);
  uint32_t index;
  if (int r = check_stream(future, index); r < 0) return r;
  if (int r = add_interest(future, {fn, context, future, 0, kOfItem}); r < 0) return r;
  Stream& stream = streams_[private_[index].stream];
  stream.ring->want();
  if (private_[index].told == 0 && has_item(index)) make_ready_interest(index);
  if (ready_first_ != 0) space().notify();
  return 0;
}

bool Submitter::has_item(uint32_t index) const {
  const Stream& stream = streams_[private_[index].stream];
  return stream.is_waiting || stream.first != nullptr || stream.ring->peek(stream.head) != nullptr;
}

}  // namespace tarn::task
