#include "task_reasons.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "log.hpp"
#include "shm/board.hpp"
#include "task/task_protocol.hpp"

namespace tarn::daemon {
namespace {

template <class Value>
bool read_at(const SharedFd& file, uint64_t offset, Value& out) {
  return file != nullptr && pread(file->get(), &out, sizeof out, static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof out);
}

// The record, and its generation, that an edge leads to; false if it leads nowhere.
bool follow(const Member& member, const task::Edge& edge, uint32_t& record, uint32_t& generation) {
  record = edge.target;
  generation = edge.target_generation;
  if ((edge.bit & task::Edge::kLeaf) == 0) return true;
  if (edge.target >= shm::kGroupWordsMax) return false;
  uint32_t head[2];  // of a task::Group: the words behind it are somebody's to change
  if (!read_at(member.segment_file, offsetof(shm::MemberSegment, group_words) + uint64_t{edge.target} * sizeof(uint64_t), head)) return false;
  record = head[0];
  generation = head[1];
  return true;
}

}  // namespace

WorkerCount count_workers(const Session& session) {
  WorkerCount count;
  for (auto& [index, member] : session.members()) {
    if (index < shm::kFirstWorker || member->phase != Member::Phase::kServing) continue;
    ++count.serving;
    uint64_t line = offsetof(shm::Board, workers) + index * sizeof(shm::WorkerLine);
    uint32_t busy = 0;
    uint32_t graph = 0;
    (void)read_at(session.board_file(), line + offsetof(shm::WorkerLine, busy), busy);
    (void)read_at(session.board_file(), line + offsetof(shm::WorkerLine, graph), graph);
    if (busy != 0 || graph != 0) ++count.busy;
  }
  return count;
}

std::vector<std::vector<TaskOnWhich>> find_dependencies(const Session& session, const TaskCensus& census, uint32_t& edges_left) {
  std::vector<std::vector<TaskOnWhich>> found(census.rows.size());
  std::map<std::pair<uint32_t, uint32_t>, size_t> wanted;  // rows, by member and record
  for (size_t i = 0; i < census.rows.size(); ++i)
    if (const TaskRow& row = census.rows[i]; row.session == session.number() && row.missing != 0) wanted[{row.member, row.record}] = i;
  if (wanted.empty()) return found;
  for (const TaskTail& tail : census.tails) {
    auto owner = session.members().find(tail.member);
    if (tail.session != session.number() || owner == session.members().end()) continue;
    for (uint32_t at = tail.edge; at != task::kNoEdge && at < shm::kEdgesMax && edges_left != 0; --edges_left) {
      task::Edge edge;
      if (!read_at(owner->second->segment_file, offsetof(shm::MemberSegment, edges) + uint64_t{at} * sizeof edge, edge)) break;
      at = edge.next;
      uint32_t record = 0;
      uint32_t generation = 0;
      if (!follow(*owner->second, edge, record, generation)) continue;
      auto row = wanted.find({tail.member, record});
      if (row == wanted.end() || census.rows[row->second].generation != generation) continue;
      std::vector<TaskOnWhich>& on = found[row->second];
      bool is_named = std::ranges::any_of(on, [&](const TaskOnWhich& other) { return other.record == tail.record; });
      if (!is_named && on.size() < kWaitsOnMax) on.push_back({tail.member, tail.record, tail.task});
    }
  }
  return found;
}

std::string needs_of(const Session& session, const TaskRow& row) {
  if (row.number_of_class == 0) return "";
  const shm::Board& board = session.board();
  const shm::SchedulingClass& its = board.classes[row.number_of_class];
  shm::ClassNeeds needs;
  memcpy(&needs, &its.needs, sizeof needs);
  std::string text;
  if (needs.place == shm::Place::kSlot || needs.place == shm::Place::kNode)
    text = (needs.is_strict != 0 ? "only " : "") + std::string(needs.place == shm::Place::kSlot ? "slot " : "node ") + std::to_string(needs.number);
  for (uint32_t i = 0; i < shm::kResourcesMax; ++i) {
    if (needs.counts[i] == 0) continue;
    char name[shm::kResourceNameMax + 1] = {};
    memcpy(name, board.resources.kind(i).name, shm::kResourceNameMax);
    text += (text.empty() ? "" : ", ") + printable(name) + "=" + std::to_string(needs.counts[i]);
  }
  return text;
}

std::string why_it_waits(const TaskRow& row, const WorkerCount& workers, const std::string& needs) {
  auto phase = static_cast<task::Phase>(row.phase);
  if (phase == task::Phase::kWaiting && row.retry_in_ns >= 0) return "it failed, and runs again after a while";
  if (phase == task::Phase::kWaiting && row.missing == 1) return "another task is not done";
  if (phase == task::Phase::kWaiting) return row.missing == 0 ? "it is being submitted" : std::to_string(row.missing) + " other tasks are not done";
  if (phase != task::Phase::kReady) return "";
  if (workers.serving == 0) return "no worker serves";
  if (!needs.empty()) return "it asks for " + needs + ", and that is in use";
  if (workers.busy >= workers.serving) return workers.serving == 1 ? "the worker is busy" : "all " + std::to_string(workers.serving) + " workers are busy";
  return "a worker is about to take it";
}

}  // namespace tarn::daemon
