// Checks: what `tarn doctor` looks at. Each returns findings about one part of the host.
//
// They read below a root, so that tests can show them hosts that are not there; what only the running
// kernel can tell comes from system calls.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tarn::cli {

enum class Verdict { kOk, kWarn, kFail };  // fine / costs speed or safety / Tarn does not work

struct Finding {
  std::string check;    // stable name
  Verdict verdict;
  std::string found;
  std::string meaning;  // why it matters; "" if all is well
  std::string advice;   // what to do
};

class Host {
 public:
  explicit Host(std::string root = "") : root_(std::move(root)) {}

  // The file's text without the newline at its end; "" if it cannot be read.
  [[nodiscard]] std::string read(const std::string& path) const;
  [[nodiscard]] bool has(const std::string& path) const;
  [[nodiscard]] const std::string& root() const { return root_; }

  // The least of what our control group and those above it say; `v2` and `v1` are names of files of
  // the unified hierarchy and of `controller`'s. Each value is read by `parse`, which returns a
  // negative number for none. -1 if there is no limit.
  [[nodiscard]] double least_in_cgroups(const std::string& controller, const std::string& v2, const std::string& v1,
                                        double (*parse)(const Host& host, const std::string& folder, const std::string& text)) const;

 private:
  std::string root_;
};

using Findings = std::vector<Finding>;

[[nodiscard]] Findings check_cpus(const Host& host);
[[nodiscard]] Findings check_memory(const Host& host);
[[nodiscard]] Findings check_kernel(const Host& host);
// Where the objects of a daemon go while memory is short.
struct DiskUse {
  std::string directory;
  std::string off;  // why nothing goes there; "": it does
  uint64_t used;    // without copies that give way
  uint64_t limit;
  std::string full{};     // who may have no more of it, of the asker's sessions or all; "": nobody
  std::string refused{};  // with what it refused an object of the asker's not long ago
  uint64_t refused_s{};   // when that was
};
// `daemons` are those that answer; without one, what a private daemon would find.
[[nodiscard]] Findings check_disk(const Host& host, const std::vector<DiskUse>& daemons);
// The parts of Tarn itself; `daemon_versions` of the daemons that answer.
[[nodiscard]] Findings check_versions(const std::vector<std::string>& daemon_versions);

}  // namespace tarn::cli
