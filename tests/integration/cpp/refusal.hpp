// Refusal: what a call of tarn.hpp was refused with, if it was.
#pragma once

#include <functional>
#include <string>
#include <tarn/tarn.hpp>

namespace tarn::testing {

struct Refusal {
  int code = 0;  // 0: it was not
  std::string text;
};

inline Refusal refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const error& e) {
    return {e.code(), e.what()};
  }
  return {};
}

}  // namespace tarn::testing
