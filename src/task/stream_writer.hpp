// StreamWriter: a run's side of the stream that its task was submitted as (shm/stream_ring.hpp).
//
// Part of the tarn_call of the run, and used by its thread. A run that follows another of the same task begins behind what that
// one has yielded: as many of its own yields as there were say nothing to the reader.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/member_segment.hpp"
#include "shm/stream_ring.hpp"

struct tarn_call;

namespace tarn::task {

class Helper;
class Submitter;

struct StreamWriter {
  shm::StreamRing* ring;  // nullptr: the task is no stream, and the rest says nothing
  Helper* helper;         // of this worker, as the submitter
  Submitter* submitter;
  shm::StreamRing::Writer at;
  uint64_t skip;          // so many yields more were made by runs before this
  uint32_t made_for;      // the stream, as objects made for it name it
  // What yield_buffer gave out.
  bool has_buffer;
  size_t buffer_size;
  shm::ObjectRef buffer_object;  // generation 0: in `buffer`
  alignas(8) std::byte buffer[shm::StreamEntry::kInlineMax];
};

// The stream at that line of the arena of `owner` is the run's.
[[nodiscard]] int begin_stream(tarn_call& call, uint32_t owner, uint32_t line, Helper& helper, Submitter* submitter);
// The function has returned.
void end_stream(tarn_call& call);

// See tarn/stream.h for what these promise.
[[nodiscard]] int yield(tarn_call& call, const void* data, size_t size);
[[nodiscard]] int yield_buffer(tarn_call& call, size_t size, void*& data);
[[nodiscard]] int yield_filled(tarn_call& call);

// As objects made for a stream name it: behind the records of tasks, the lines of the arena (as GraphView::id_of).
constexpr uint32_t stream_id(uint32_t owner, uint32_t line) { return shm::make_id(owner, shm::kTaskRecordsMax + line); }

}  // namespace tarn::task
