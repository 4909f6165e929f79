#include "task/thread_counts.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tarn::task {
namespace {

struct Library {
  const char* variable;
  const char* getter;
  const char* setter;
};

// As daemon/spawn/order.cpp has them. Those of MKL take values, by these names.
constexpr Library kLibraries[] = {
    {"OMP_NUM_THREADS", "omp_get_max_threads", "omp_set_num_threads"},
    {"OPENBLAS_NUM_THREADS", "openblas_get_num_threads", "openblas_set_num_threads"},
    {"MKL_NUM_THREADS", "MKL_Get_Max_Threads", "MKL_Set_Num_Threads"},
};

template <class F>
F* find(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_DEFAULT, name));
}

}  // namespace

void ThreadCounts::set(uint32_t threads) {
  char text[16];
  snprintf(text, sizeof text, "%u", threads);
  for (int i = 0; i < kVariables; ++i) {
    const Library& library = kLibraries[i];
    const char* now = getenv(library.variable);
    before_[i] = now == nullptr ? nullptr : strdup(now);
    setenv(library.variable, text, 1);
    auto* getter = find<int()>(library.getter);
    auto* setter = find<void(int)>(library.setter);
    libraries_before_[i] = getter != nullptr && setter != nullptr ? getter() : 0;
    if (libraries_before_[i] != 0) setter(static_cast<int>(threads));
  }
}

void ThreadCounts::put_back() {
  for (int i = 0; i < kVariables; ++i) {
    const Library& library = kLibraries[i];
    if (before_[i] == nullptr) {
      unsetenv(library.variable);
    } else {
      setenv(library.variable, before_[i], 1);
      free(before_[i]);
    }
    if (libraries_before_[i] != 0) find<void(int)>(library.setter)(libraries_before_[i]);
  }
}

}  // namespace tarn::task
