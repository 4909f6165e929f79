#include "base/error_info.hpp"

#include <iterator>

namespace tarn {
namespace {

constexpr ErrorInfo kTable[] = {
#include "error_table.inc"
};

}  // namespace

const ErrorInfo* error_info(int code) {
  if (code > 0 || code <= -static_cast<int>(std::size(kTable))) return nullptr;
  return &kTable[-code];
}

}  // namespace tarn
