// Census: counting what the members of a session have in their shared memory, for the tools.
//
// Their memory is hostile: everything is read into private memory once (pread, which neither backs
// holes with memory nor faults when a file has been changed), every number is bounded before use, and
// a scan has a budget so that it does not hold up the loop. What it finds is for people to look at;
// tarnd acts on none of it. Loop thread only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "object_label.hpp"
#include "object_row.hpp"
#include "session.hpp"
#include "task/arguments.hpp"

namespace tarn::daemon {

inline constexpr uint32_t kCensusRowsMax = 10'000;          // of one answer; docs/limits.md
inline constexpr uint32_t kCensusRecordsMax = 512 * 1024;   // looked at for one answer

inline constexpr std::array<std::string_view, 6> kTaskPhases = {"free", "waiting", "ready", "running", "finished", "done"};

struct TaskRow {
  uint32_t session;
  uint32_t member;    // that submitted it
  uint32_t record;
  uint32_t generation;
  uint32_t task;      // its number
  uint8_t phase;      // index into kTaskPhases
  uint32_t claimant;  // member that runs or ran it, 0: none
  uint32_t attempts;
  int32_t priority;   // as in tarn_submit_options
  uint32_t number_of_class;  // of those that ask for the same place and resources; 0: for none
  uint32_t missing;   // of a waiting one: how many it waits for, 31 at most; with more arguments 1 for all of them
  bool failed;
  bool cancelled;     // or out of time
  int64_t retry_in_ns;  // of a waiting one that failed: until it may run again; -1: it does not wait for that
  task::BlockRef block;  // of one that is not done: where what it is called may lie, as its record says; size 0: nowhere
};

// The labels of a task, KEY=VALUE each, printable; none if it has none, or what says so makes no sense. A system call.
[[nodiscard]] std::vector<std::string> labels_of(const Session& session, const TaskRow& row);

// A task that is not done, and that others hang on.
struct TaskTail {
  uint32_t session;
  uint32_t member;
  uint32_t record;
  uint32_t task;
  uint32_t edge;  // the first
};

struct TaskCensus {
  std::array<uint64_t, kTaskPhases.size()> counts{};
  std::vector<TaskRow> rows;  // running ones first, then those to come, then those that are done
  std::vector<TaskTail> tails;  // some of them
  uint64_t looked_at = 0;
  bool complete = true;
};

class CensusBudget {
 public:
  explicit CensusBudget(uint32_t records) : left_(records) {}
  // How many of `wanted` may be looked at.
  uint32_t take(uint32_t wanted) {
    uint32_t granted = wanted < left_ ? wanted : left_;
    left_ -= granted;
    return granted;
  }

 private:
  uint32_t left_;
};

// Adds the tasks of all members of `session`; keeps at most `rows_max` rows.
void count_tasks(const Session& session, uint32_t rows_max, CensusBudget& budget, TaskCensus& out);

inline constexpr std::array<std::string_view, 4> kObjectPhases = {"free", "creating", "offered", "sealed"};

struct ObjectCensus {
  uint64_t count = 0;
  uint64_t bytes = 0;
  std::vector<ObjectRow> rows;  // the largest first, mapped files last
  bool complete = true;

  struct Sum {
    uint64_t count = 0;
    uint64_t bytes = 0;    // in memory
    uint64_t pinned = 0;   // of these
    uint64_t small = 0;    // of these: of objects that never leave, because they are small
    uint64_t on_disk = 0;  // bytes
    uint64_t dropped = 0;
    void add(const ObjectRow& row);
  };
  std::map<uint32_t, Sum> by_slab;  // of one member; kNoSlab: in none. Filled by count_objects_of
};

// Adds the objects that lie in the memory of `member`, as sums only.
void count_objects_of(const Member& member, CensusBudget& budget, ObjectCensus& out);
// Adds the objects of all members of `session`; keeps at most `rows_max` rows.
void count_objects(const Session& session, uint32_t rows_max, CensusBudget& budget, ObjectCensus& out);

// The label of an object of `session`; "" if it has none, or none that can be believed.
[[nodiscard]] std::string label_of(const Session& session, const ObjectRow& row);

// Objects in slabs, summed up by what they say they are. Their number is bounded; `complete` says if some found no room.
enum class GroupBy { kType, kLabel };
struct ObjectGroups {
  std::map<std::string, ObjectCensus::Sum> sums;  // "" is what has no type, or no label
  ObjectCensus::Sum unread;  // of objects that have a label which nobody looked at, as there are too many
  ObjectCensus::Sum all;     // whatever they say
  bool complete = true;
};

// Sums up the objects of all members of `session`.
void group_objects(const Session& session, GroupBy by, CensusBudget& budget, LabelBudget& labels, ObjectGroups& out);

// How many tasks the worker says it has done; 0 if it cannot be read.
[[nodiscard]] uint64_t tasks_done(const Session& session, uint32_t member);

}  // namespace tarn::daemon
