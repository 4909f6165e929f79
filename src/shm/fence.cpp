#include "os/process.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

void heavy_fence() {
  if (fences_are_symmetric) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } else {
    os::membarrier();
  }
}

}  // namespace tarn::shm
