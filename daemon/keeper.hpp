// Keeper: the descriptors that the service manager keeps for tarnd, so that the next one finds them when this one has died.
//
// Each has a name that says what it is: kept_session.hpp has those of sessions. Without a manager that keeps descriptors all is
// as if it had no room. Loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "base/fd.hpp"

namespace tarn::daemon {

// Names of what is kept begin with this; others that are passed are sockets of the manager's own.
inline constexpr const char* kKeptPrefix = "k.";
inline constexpr const char* kKeptHost = "k.host";      // host_book.hpp
inline constexpr const char* kKeptSpawn = "k.spawn";      // the link to a tarn-spawn that started us and looks for this name
inline constexpr const char* kKeptService = "k.service";  // to one that is a service of its own
inline constexpr const char* kKeptListener = "k.listen";

using KeptDescriptors = std::map<std::string, Fd>;

class Keeper {
 public:
  // `most`: how many may be kept; 0: none.
  explicit Keeper(size_t most);
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  [[nodiscard]] bool is_on() const { return most_ != 0; }

  // False, with last_error(), if there is no room or the manager does not listen. What `name` meant before is replaced.
  [[nodiscard]] bool keep(const std::string& name, const Fd& fd);
  void drop(const std::string& name);
  // That it is kept from before.
  void count(size_t more) { count_ += more; }

 private:
  [[nodiscard]] int64_t patience_ns() const;

  Fd manager_;
  size_t most_;
  size_t count_ = 0;
  bool is_deaf_ = false;  // the manager did not take the last one in time
};

}  // namespace tarn::daemon
