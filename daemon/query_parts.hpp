// QueryParts: what the answers to tools are made of. Loop thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "session.hpp"
#include "tarnd.hpp"

namespace tarn::daemon {

using Json = nlohmann::ordered_json;

// Who asks, and how much.
struct Asker {
  uid_t uid;
  uint32_t rows_max;

  [[nodiscard]] bool may_see(const Session& session) const { return uid == 0 || session.identity().uid == uid; }
};

template <class Fn>
void for_each_session(const Tarnd& daemon, const Asker& asker, Fn fn) {
  for (auto& [number, session] : daemon.sessions())
    if (asker.may_see(*session)) fn(*session);
}

// Adds rows as long as there is room; says in `truncated` when there was none.
class Rows {
 public:
  explicit Rows(uint32_t most) : most_(most) {}

  void add(Json row) {
    if (rows_.size() < most_) {
      rows_.push_back(std::move(row));
    } else {
      truncated_ = true;
    }
  }
  void finish(Json& answer, const char* name) {
    answer[name] = std::move(rows_);
    answer["truncated"] = truncated_;
  }

 private:
  uint32_t most_;
  Json rows_ = Json::array();
  bool truncated_ = false;
};

[[nodiscard]] Json with_schema(const char* schema);
[[nodiscard]] Json text_or_null(const std::string& text);
[[nodiscard]] const char* state_of(const Member& member);

// The nearest of a budget and those above it in which next to nothing is left; nullptr: there is room.
[[nodiscard]] const Budget* find_nearly_full(const Budget& budget);

// What the disk says to the objects of a session: the budget of it that is full; what it refused not long ago, and when.
void add_disk_refusal(Json& entry, const Session& session);

// The disk where objects go while memory is short, of all tenants, as memory_used is.
void add_disk(Json& answer, const Tarnd& daemon);

}  // namespace tarn::daemon
