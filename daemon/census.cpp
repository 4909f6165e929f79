#include "census.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "log.hpp"
#include "os/clock.hpp"
#include "shm/board.hpp"
#include "store/object_meta.hpp"
#include "store/object_record.hpp"
#include "task/back_off.hpp"
#include "task/task_protocol.hpp"

namespace tarn::daemon {
namespace {

constexpr uint32_t kChunkRecords = 1024;
constexpr size_t kTailsMax = 4096;   // no more edges are looked at either
constexpr size_t kRowsSpare = 4096;  // kept beyond those wanted, so that choosing among them is rare: one row may be wanted

template <class Value>
Value value_at(const std::byte* bytes, size_t offset) {
  Value value;
  memcpy(&value, bytes + offset, sizeof value);
  return value;
}

template <class Value>
Value read_value(const SharedFd& file, uint64_t offset) {
  Value value{};
  if (file == nullptr || pread(file->get(), &value, sizeof value, static_cast<off_t>(offset)) != sizeof value) return Value{};
  return value;
}

// Calls fn(index, bytes of the record) for the first `count` records of an area.
template <class Fn>
void for_each_record(const SharedFd& file, uint64_t area, uint32_t count, Fn fn) {
  std::vector<std::byte> chunk(std::min(kChunkRecords, count) * shm::kRecordSize);
  for (uint32_t first = 0; first < count; first += kChunkRecords) {
    size_t wanted = std::min(kChunkRecords, count - first) * shm::kRecordSize;
    ssize_t size = pread(file->get(), chunk.data(), wanted, static_cast<off_t>(area + uint64_t{first} * shm::kRecordSize));
    if (size <= 0) return;
    for (uint32_t i = 0; i < static_cast<size_t>(size) / shm::kRecordSize; ++i)
      fn(first + i, chunk.data() + i * shm::kRecordSize);
  }
}

bool read_task(const std::byte* bytes, TaskRow& out) {
  auto state = task::State::unpack(value_at<uint64_t>(bytes, offsetof(task::TaskRecord, state)));
  auto phase = static_cast<uint8_t>(state.phase);
  if (phase == 0 || phase >= kTaskPhases.size()) return false;
  out.generation = state.generation;
  out.task = value_at<uint32_t>(bytes, offsetof(task::TaskRecord, task));
  out.phase = phase;
  out.claimant = state.claimant < shm::kMembersMax ? state.claimant : 0;
  out.attempts = value_at<uint8_t>(bytes, offsetof(task::TaskRecord, attempts));
  out.priority = static_cast<int32_t>(task::level_of(value_at<uint32_t>(bytes, offsetof(task::TaskRecord, kind)))) -
                 static_cast<int32_t>(shm::kUsualLevel);
  out.number_of_class = task::class_of(value_at<uint32_t>(bytes, offsetof(task::TaskRecord, kind)));
  out.failed = (state.flags & task::kFailed) != 0;
  out.cancelled = (state.flags & task::kCancelled) != 0;
  out.missing = 0;
  out.retry_in_ns = -1;
  out.block = {};
  if (!state.finished() && value_at<uint8_t>(bytes, offsetof(task::TaskRecord, arg_format)) == task::kBlock)
    out.block = value_at<task::BlockRef>(bytes, offsetof(task::TaskRecord, payload));
  auto dependencies = value_at<uint64_t>(bytes, offsetof(task::TaskRecord, dependencies));
  if (state.phase == task::Phase::kWaiting && dependencies >> 32 == state.generation) {
    uint32_t missing = ~static_cast<uint32_t>(dependencies) & ~(uint32_t{1} << task::kSubmittedBit);
    out.missing = static_cast<uint32_t>(std::popcount(missing));
  }
  if (task::backs_off(state, dependencies)) {
    int32_t left = task::ticks_left(dependencies, task::ticks_of(os::now_ns()));
    out.retry_in_ns = left > 0 ? task::ns_of_ticks(static_cast<uint64_t>(left)) : 0;
  }
  return true;
}

// Of a task that is not done: what hangs on it.
uint32_t first_edge(const std::byte* bytes) {
  auto state = task::State::unpack(value_at<uint64_t>(bytes, offsetof(task::TaskRecord, state)));
  if (state.finished() || (state.flags & task::kEdges) == 0) return task::kNoEdge;
  return value_at<uint32_t>(bytes, offsetof(task::TaskRecord, edges));
}

// Running tasks are what one looks for, those that are done matter least.
int rank(const TaskRow& row) {
  auto phase = static_cast<task::Phase>(row.phase);
  return phase == task::Phase::kRunning ? 0 : phase == task::Phase::kDone ? 2 : 1;
}

}  // namespace

void count_tasks(const Session& session, uint32_t rows_max, CensusBudget& budget, TaskCensus& out) {
  for (auto& [index, member] : session.members()) {
    if (member->segment_file == nullptr) continue;
    uint32_t used = read_value<uint32_t>(member->segment_file, offsetof(shm::MemberSegment, records_used));
    used = std::min({used, member->backed.records, shm::kTaskRecordsMax});
    uint32_t count = budget.take(used);
    if (count < used) out.complete = false;
    out.looked_at += count;
    for_each_record(member->segment_file, offsetof(shm::MemberSegment, task_records), count,
                    [&, owner = index](uint32_t record, const std::byte* bytes) {
                      TaskRow row{session.number(), owner, record, 0, 0, 0, 0, 0, 0, 0, 0, false, false, -1, {}};
                      if (!read_task(bytes, row)) return;
                      if (uint32_t edge = first_edge(bytes); edge != task::kNoEdge && rows_max != 0 && out.tails.size() < kTailsMax)
                        out.tails.push_back({row.session, owner, record, row.task, edge});
                      ++out.counts[row.phase];
                      if (rows_max == 0) return;
                      out.rows.push_back(row);
                      // Twice the rows are enough to choose from; the sort keeps the cost low.
                      if (out.rows.size() >= 2 * size_t{rows_max} + kRowsSpare) {
                        std::ranges::stable_sort(out.rows, {}, rank);
                        out.rows.resize(rows_max);
                        out.complete = false;
                      }
                    });
  }
  std::ranges::stable_sort(out.rows, {}, rank);
  if (out.rows.size() > rows_max) {
    out.rows.resize(rows_max);
    out.complete = false;
  }
}

std::vector<std::string> labels_of(const Session& session, const TaskRow& row) {
  auto owner = session.members().find(row.member);
  if (row.block.size == 0 || row.block.limits == 0 || owner == session.members().end()) return {};
  auto slab = owner->second->slabs.find(row.block.slab);
  if (slab == owner->second->slabs.end() || slab->second.writer == nullptr) return {};
  // All of it is a tenant's word: only what lies inside of tarnd's own numbers is read.
  const task::BlockRef& block = row.block;
  uint64_t size = slab->second.size;
  if (block.offset > size || block.size > size - block.offset || block.limits > block.size) return {};
  std::byte bytes[sizeof(task::TaskLimits) + task::kRetryCodesMax * sizeof(int32_t) + task::kTaskLabelsMax];
  ssize_t got = pread(slab->second.writer->get(), bytes, std::min<uint64_t>(sizeof bytes, block.size - block.limits),
                      static_cast<off_t>(block.offset + block.limits));
  if (got < static_cast<ssize_t>(sizeof(task::TaskLimits))) return {};
  auto limits = value_at<task::TaskLimits>(bytes, 0);
  if (limits.code_count > task::kRetryCodesMax || limits.labels_size > task::kTaskLabelsMax || limits.size() > static_cast<size_t>(got)) return {};
  std::string_view text(reinterpret_cast<const char*>(bytes) + limits.size() - limits.labels_size, limits.labels_size);
  std::vector<std::string> labels;
  while (!text.empty()) {
    std::string_view label = text.substr(0, text.find(','));
    text.remove_prefix(std::min(label.size() + 1, text.size()));
    if (!label.empty()) labels.push_back(printable(label));
  }
  return labels;
}

void ObjectCensus::Sum::add(const ObjectRow& row) {
  ++count;
  if (row.where == ObjectRow::Where::kDisk) {
    on_disk += row.size;
    return;
  }
  if (row.where == ObjectRow::Where::kDropped) {
    dropped += row.size;
    return;
  }
  bytes += row.size;
  if (row.pins != 0) pinned += row.size;
  if (!row.can_leave && !row.is_file) small += row.size;
}

namespace {

// What takes no memory of ours does not push out what does.
uint64_t rank(const ObjectRow& row) { return row.where == ObjectRow::Where::kFile ? 0 : row.size; }

void keep_largest(ObjectCensus& census, uint32_t rows_max) {
  std::ranges::stable_sort(census.rows, std::ranges::greater{}, [](const ObjectRow& row) { return rank(row); });
  if (census.rows.size() <= rows_max) return;
  census.rows.resize(rows_max);
  census.complete = false;
}

template <class Fn>
void for_each_object(const Member& member, uint32_t session, CensusBudget& budget, ObjectCensus& out, Fn fn) {
  if (member.segment_file == nullptr) return;
  auto used = read_value<uint32_t>(member.segment_file, offsetof(shm::MemberSegment, objects_used));
  used = std::min({used, member.backed.objects, shm::kObjectRecordsMax});
  uint32_t count = budget.take(used);
  if (count < used) out.complete = false;
  ObjectCheck check(member);
  for_each_record(member.segment_file, offsetof(shm::MemberSegment, object_records), count,
                  [&](uint32_t record, const std::byte* bytes) {
                    ObjectRow row;
                    row.session = session;
                    row.owner = member.index();
                    row.record = record;
                    if (!read_object({bytes, shm::kRecordSize}, row)) return;
                    check.check(row);
                    ++out.count;
                    out.bytes += row.size;
                    fn(row);
                  });
}

}  // namespace

void count_objects_of(const Member& member, CensusBudget& budget, ObjectCensus& out) {
  for_each_object(member, 0, budget, out, [&](const ObjectRow& row) {
    out.by_slab[row.in_slab ? row.slab : store::kNoSlab].add(row);
  });
}

void count_objects(const Session& session, uint32_t rows_max, CensusBudget& budget, ObjectCensus& out) {
  for (auto& [index, member] : session.members())
    for_each_object(*member, session.number(), budget, out, [&](const ObjectRow& row) {
      if (rows_max == 0) return;
      out.rows.push_back(row);
      if (out.rows.size() >= 2 * size_t{rows_max} + kRowsSpare) keep_largest(out, rows_max);
    });
  keep_largest(out, rows_max);
}

namespace {

// The slab that a record names, if there is one and the object lies in it: what the record says is the tenant's word.
const Slab* slab_of(const Session& session, const ObjectRow& row) {
  if (!row.in_slab || row.is_file) return nullptr;
  auto member = session.members().find(row.owner);
  if (member == session.members().end()) return nullptr;
  auto found = member->second->slabs.find(row.slab);
  if (found == member->second->slabs.end() || found->second.is_file) return nullptr;
  const Slab& slab = found->second;
  bool fits = row.offset <= slab.size && store::fits_with_meta(row.size, row.meta_size, slab.size - row.offset);
  return fits ? &slab : nullptr;
}

}  // namespace

std::string label_of(const Session& session, const ObjectRow& row) {
  const Slab* slab = row.meta_size == 0 ? nullptr : slab_of(session, row);
  if (slab == nullptr || slab->reader == nullptr) return "";
  if (row.where == ObjectRow::Where::kDisk) {
    auto moved = slab->moved.find(row.offset);
    return moved == slab->moved.end() ? "" : moved->second->label;
  }
  return read_label(*slab->reader, slab->size, {row.offset, row.size, row.meta_size});
}

void group_objects(const Session& session, GroupBy by, CensusBudget& budget, LabelBudget& labels, ObjectGroups& out) {
  ObjectCensus census;
  for (auto& [index, member] : session.members())
    for_each_object(*member, session.number(), budget, census, [&](const ObjectRow& row) {
      if (slab_of(session, row) == nullptr) return;
      out.all.add(row);
      std::string key;
      if (by == GroupBy::kType) {
        if (row.type != 0) key = store::TypeText(row.type).text;
      } else if (row.meta_size != 0) {
        if (!labels.take()) return out.unread.add(row);
        key = label_of(session, row);
      }
      auto found = out.sums.find(key);
      if (found == out.sums.end()) {
        if (out.sums.size() >= kCensusRowsMax) {
          out.complete = false;
          return;
        }
        found = out.sums.try_emplace(std::move(key)).first;
      }
      found->second.add(row);
    });
  out.complete = out.complete && census.complete;
}

uint64_t tasks_done(const Session& session, uint32_t member) {
  if (member >= shm::kMembersMax) return 0;
  uint64_t line = offsetof(shm::Board, workers) + member * sizeof(shm::WorkerLine);
  return read_value<uint64_t>(session.board_file(), line + offsetof(shm::WorkerLine, tasks_done));
}

}  // namespace tarn::daemon
