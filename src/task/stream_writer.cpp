#include "task/stream_writer.hpp"

#include <sched.h>

#include <cstring>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/futex.hpp"
#include "os/process.hpp"
#include "task/call.hpp"
#include "task/submitter.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kLookAgainNs = 20'000'000;  // while there is no room: whether the task is cancelled, and whether tarnd is there
constexpr int kPausesPerLook = 64;

// The writer that may yield now.
int check_yield(tarn_call& call, StreamWriter*& writer) {
  writer = &call.stream;
  if (writer->ring == nullptr) [[unlikely]]
    return fail(TARN_E_STATE, "task '%s' was not submitted as a stream, so nobody reads what it yields; use tarn_submit_stream",
                call.definition->name);
  if (call.forks != os::fork_count) [[unlikely]]
    return fail(TARN_E_FORKED, "this is a process that the task forked; only the worker yields");
  if (writer->ring->is_gone()) [[unlikely]]
    return fail(TARN_E_NO_READER, "nobody reads the stream any more: its future was released");
  if (int code = code_of_end(call); code < 0) [[unlikely]]
    return fail(code, "the task that yields is to end: it was cancelled, or its time is over");
  return 0;
}

bool is_read_here(const tarn_call& call) { return shm::id_member(call.made_for) == call.view->self; }

void tell_reader(tarn_call& call) { SegmentSpace(*call.view, shm::id_member(call.made_for)).notify(*call.record); }

// For about as long as a wake-up would cost.
bool spin_for_room(tarn_call& call, StreamWriter& writer, uint64_t bytes) {
  auto look = [&] {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (writer.ring->has_room(writer.at, bytes) || writer.ring->is_gone()) return true;
      os::pause();
    }
    return false;
  };
  if (look()) return true;
  uint32_t budget_ns = call.view->board->spin_budget_ns.load(shm::kRelaxed);
  if (budget_ns == 0) return false;
  int64_t end = os::now_ns() + budget_ns;
  do {
    sched_yield();
    if (look()) return true;
  } while (os::now_ns() < end);
  return false;
}

// Until the window has room for `bytes`. The reader may be below on this stack, waiting for this: then it takes what is there in,
// without a window, for it cannot read.
int wait_for_room(tarn_call& call, StreamWriter*& writer, uint64_t bytes) {
  if (writer->ring->has_room(writer->at, bytes)) [[likely]]
    return 0;
  if (is_read_here(call)) {
    if (int r = writer->submitter->take_in(shm::id_index(call.made_for)); r < 0) return r;
    (void)writer->ring->has_room(writer->at, bytes);
    return 0;
  }
  if (spin_for_room(call, *writer, bytes)) return check_yield(call, writer);
  for (bool is_told = false; !writer->ring->has_room(writer->at, bytes);) {
    writer->helper->before_sleep();
    if (writer->ring->park(writer->at, bytes)) {
      // The reader may wait for something else, which this worker was to run (Submitter::relieve_streams).
      if (!is_told) SegmentSpace(*call.view, shm::id_member(call.made_for)).notify();
      is_told = true;
      os::futex_wait(writer->ring->parked_address(), 1, os::now_ns() + kLookAgainNs);
      writer->ring->unpark();
    }
    writer->helper->after_sleep();
    if (int r = check_yield(call, writer); r < 0) return r;
    if (call.view->link == nullptr) continue;
    if (int r = call.view->link->poll(); r < 0) return r;
  }
  return 0;
}

void put(tarn_call& call, StreamWriter& writer, uint32_t size, const std::byte* payload, uint64_t bytes) {
  writer.ring->put(writer.at, size, payload, bytes);
  if (writer.ring->take_wish()) tell_reader(call);
}

int put_object(tarn_call& call, StreamWriter& writer, const ObjectRef& object) {
  // Visible to its holder before the ring says where it is.
  if (int r = call.store->publish_result(object); r < 0) {
    call.store->discard_result(object);
    return r;
  }
  std::byte payload[sizeof object];
  memcpy(payload, &object, sizeof object);
  put(call, writer, shm::StreamEntry::kObject, payload, object.size);
  return 0;
}

}  // namespace

int begin_stream(tarn_call& call, uint32_t owner, uint32_t line, Helper& helper, Submitter* submitter) {
  StreamWriter& writer = call.stream;
  if (line >= shm::kGraphLinesMax) return fail(TARN_E_PROTOCOL, "its stream lies outside the arena");
  auto* ring = reinterpret_cast<shm::StreamRing*>(call.view->segments[owner]->graph_arena + size_t{line} * shm::kRecordSize);
  if (!ring->is_open()) return fail(TARN_E_PROTOCOL, "its stream is not open");
  writer = {ring, &helper, submitter, ring->resume(), 0, stream_id(owner, line), false, 0, {}, {}};
  writer.skip = writer.at.position;
  // The run before may have died before it told of its last item.
  if (writer.skip != 0) tell_reader(call);
  return 0;
}

void end_stream(tarn_call& call) {
  if (call.stream.has_buffer && call.stream.buffer_object.generation != 0) call.store->discard_result(call.stream.buffer_object);
  call.stream.has_buffer = false;
}

int yield(tarn_call& call, const void* data, size_t size) {
  StreamWriter* writer;
  if (int r = check_yield(call, writer); r < 0) [[unlikely]]
    return r;
  if (data == nullptr && size != 0) return fail(TARN_E_ARGUMENT, "data is NULL, but size is %zu", size);
  if (writer->has_buffer) return fail(TARN_E_STATE, "a buffer of this stream is being filled; call tarn_call_yield_filled first");
  if (writer->skip != 0) [[unlikely]] {
    --writer->skip;
    return 0;
  }
  if (int r = wait_for_room(call, writer, size); r < 0) [[unlikely]]
    return r;
  if (size <= shm::StreamEntry::kInlineMax) [[likely]] {
    put(call, *writer, static_cast<uint32_t>(size), static_cast<const std::byte*>(data), size);
    return 0;
  }
  ObjectRef object;
  void* to;
  ErrorGuard guard;  // the store may be refused memory and find some
  if (int r = guard.end(call.store->make_result(size, writer->made_for, object, to)); r < 0) return r;
  store::copy(to, data, size);
  return put_object(call, *writer, object);
}

int yield_buffer(tarn_call& call, size_t size, void*& data) {
  StreamWriter* writer;
  if (int r = check_yield(call, writer); r < 0) return r;
  end_stream(call);  // one that was given out before
  if (writer->skip == 0) {
    if (int r = wait_for_room(call, writer, size); r < 0) return r;
  }
  writer->buffer_object.generation = 0;
  if (size <= shm::StreamEntry::kInlineMax) {
    data = writer->buffer;
  } else {
    ErrorGuard guard;
    if (int r = guard.end(call.store->make_result(size, writer->made_for, writer->buffer_object, data)); r < 0) return r;
  }
  writer->buffer_size = size;
  writer->has_buffer = true;
  return 0;
}

int yield_filled(tarn_call& call) {
  StreamWriter* writer;
  if (int r = check_yield(call, writer); r < 0) return r;
  if (!writer->has_buffer) return fail(TARN_E_STATE, "no buffer of this stream is being filled; call tarn_call_yield_buffer first");
  if (writer->skip != 0) {
    --writer->skip;
    end_stream(call);
    return 0;
  }
  writer->has_buffer = false;
  if (writer->buffer_object.generation != 0) return put_object(call, *writer, writer->buffer_object);
  put(call, *writer, static_cast<uint32_t>(writer->buffer_size), writer->buffer, writer->buffer_size);
  return 0;
}

}  // namespace tarn::task
