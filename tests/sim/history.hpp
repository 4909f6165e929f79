// History: what the tasks of a simulation did, and the rules that it must obey.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "session.hpp"

namespace tarn::sim {

class History {
 public:
  explicit History(Session*& session) : session_(session) {}

  // A task of the client, or of a task: `after` have to be done before it begins.
  void submitted(uint64_t id, std::vector<uint64_t> after) { tasks_[id].after = std::move(after); }

  // A run of it has begun in the worker `member`. Those before it are dead, and nobody has seen it done.
  void begins(uint64_t id, uint32_t member) {
    Task& task = tasks_[id];
    World& world = session_->world();
    if (task.is_seen) world.violate("task " + std::to_string(id) + " is run again after it was seen to be done");
    for (uint32_t other : task.runs)
      if (session_->is_alive(other))
        world.violate("task " + std::to_string(id) + " runs twice, in members " + std::to_string(other) + " and " + std::to_string(member));
    for (uint64_t before : task.after)
      if (!tasks_[before].is_over) world.violate("task " + std::to_string(id) + " begins before " + std::to_string(before) + " is over");
    task.runs.push_back(member);
    task.is_over = false;
  }
  void ends(uint64_t id) { tasks_[id].is_over = true; }

  // Its submitter has its result.
  void seen(uint64_t id) {
    if (!tasks_[id].is_over) session_->world().violate("task " + std::to_string(id) + " is done, and nobody has run it to its end");
    tasks_[id].is_seen = true;
  }
  [[nodiscard]] bool has_begun(uint64_t id) const {
    auto found = tasks_.find(id);
    return found != tasks_.end() && !found->second.runs.empty();
  }
  [[nodiscard]] size_t size() const { return tasks_.size(); }

 private:
  struct Task {
    std::vector<uint64_t> after;
    std::vector<uint32_t> runs;
    bool is_over = false;  // its last run has come to its end
    bool is_seen = false;
  };
  Session*& session_;
  std::map<uint64_t, Task> tasks_;
};

}  // namespace tarn::sim
