// FakeHost: the files with which a kernel describes a machine, below a directory of their own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tarn::topo::testing {

struct Shape {
  uint32_t packages = 1;
  uint32_t nodes = 1;   // per package
  uint32_t caches = 1;  // L3, per node
  uint32_t cores = 1;   // per cache
  uint32_t threads = 1;
  bool siblings_far = true;  // the second threads are numbered after all first ones, as on most servers
  bool has_l3 = true;
  bool old_kernel = false;  // before 5.3
  std::vector<uint32_t> offline = {};  // CPUs
};

// Removed in the destructor.
class FakeHost {
 public:
  explicit FakeHost(const Shape& shape);
  ~FakeHost();
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  [[nodiscard]] const char* root() const { return root_.c_str(); }

 private:
  void write(const std::string& name, const std::string& text) const;
  void write_cpus(const std::string& name, const std::vector<uint32_t>& cpus) const;  // NAME_list and the mask
  void write_cpu(const Shape& shape, uint32_t cpu) const;

  std::string root_;
  uint32_t count_;
};

}  // namespace tarn::topo::testing
