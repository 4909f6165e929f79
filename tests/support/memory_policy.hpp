// On which NUMA nodes the kernel puts the pages of a mapping, asked by system calls: no library is needed.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <bitset>

namespace tarn::test {

using Nodes = std::bitset<1024>;

struct MemoryPolicy {
  enum Mode { kDefault = 0, kPreferred = 1, kBind = 2, kInterleave = 3 };  // as the kernel numbers them
  int mode;
  Nodes nodes;
};

// False if the kernel knows no NUMA.
inline bool ask_kernel(const void* data, unsigned long flags, MemoryPolicy& policy) {
  constexpr size_t kBits = 8 * sizeof(unsigned long);
  unsigned long words[Nodes().size() / kBits] = {};
  policy = {};
  int* mode = data == nullptr ? nullptr : &policy.mode;
  // The kernel takes the number of nodes for one more than it is.
  if (syscall(SYS_get_mempolicy, mode, words, policy.nodes.size() + 1, data, flags) < 0) return false;
  for (size_t node = 0; node < policy.nodes.size(); ++node) policy.nodes[node] = (words[node / kBits] >> node % kBits & 1) != 0;
  return true;
}

inline MemoryPolicy policy_of(const void* data) {
  MemoryPolicy policy;
  (void)ask_kernel(data, 2, policy);  // MPOL_F_ADDR
  return policy;
}

// The nodes that this process may use; none if the kernel knows no NUMA.
inline Nodes allowed_nodes() {
  MemoryPolicy policy;
  (void)ask_kernel(nullptr, 4, policy);  // MPOL_F_MEMS_ALLOWED
  return policy.nodes;
}

}  // namespace tarn::test
