// Arrays: their metadata, written and read. docs/formats/arrays.md.

#include <cstring>

#include "base/error.hpp"
#include "client.hpp"
#include "tarn/tarn.h"

using namespace tarn;

namespace {

constexpr uint32_t kArrayMagic = 0x72726174;  // "tarr" as bytes
constexpr uint8_t kArrayVersion = 1;
constexpr uint32_t kDimensionsMax = 32;  // docs/limits.md

// At the start of the metadata; `ndim` numbers of the shape and `ndim` strides follow.
struct ArrayHead {
  uint32_t magic;
  uint8_t version;
  uint8_t dtype;
  uint8_t ndim;
  uint8_t reserved;  // zero
  uint64_t offset;
};
static_assert(sizeof(ArrayHead) == 16 && offsetof(ArrayHead, dtype) == 5 && offsetof(ArrayHead, offset) == 8);
static_assert(kDimensionsMax == TARN_ARRAY_DIMENSIONS_MAX && sizeof(tarn_array_layout{}.shape) == kDimensionsMax * 8);
static_assert(TARN_ARRAY_METADATA_MAX == sizeof(ArrayHead) + kDimensionsMax * 16);

// Bytes of all elements if they lay one behind the other. An empty dimension makes none, but does not excuse the others.
bool dense_size(size_t element, uint32_t ndim, const uint64_t* shape, uint64_t& product, bool& is_empty) {
  product = element;
  is_empty = false;
  for (uint32_t i = 0; i < ndim; ++i) {
    if (shape[i] == 0) {
      is_empty = true;
    } else if (__builtin_mul_overflow(product, shape[i], &product) || product > INT64_MAX) {
      return false;
    }
  }
  return true;
}

// What is wrong with the layout of an array in `bytes` bytes; nullptr if nothing is.
const char* fault_of(const tarn_array_layout& layout, uint64_t bytes) {
  size_t element = tarn_dtype_size(layout.dtype);
  if (element == 0) return "there is no such dtype";
  if (layout.ndim > kDimensionsMax) return "it has more than 32 dimensions";
  uint64_t product;
  bool is_empty;
  if (!dense_size(element, layout.ndim, layout.shape, product, is_empty)) return "its elements have 2^63 bytes or more";
  if (layout.offset > bytes || layout.offset > INT64_MAX) return "it begins behind the end of the object";
  if (is_empty) return nullptr;
  // The lowest and the highest element: every index goes from 0 to shape - 1, so each dimension adds to one of them.
  int64_t low = static_cast<int64_t>(layout.offset);
  int64_t high = low;
  for (uint32_t i = 0; i < layout.ndim; ++i) {
    int64_t reach;
    if (__builtin_mul_overflow(static_cast<int64_t>(layout.shape[i] - 1), layout.strides[i], &reach) ||
        __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high))
      return "a stride reaches outside the object";
  }
  uint64_t end;
  if (low < 0 || __builtin_add_overflow(static_cast<uint64_t>(high), element, &end) || end > bytes)
    return "elements lie outside the object";
  return nullptr;
}

}  // namespace

size_t tarn_dtype_size(uint32_t dtype) {
  switch (dtype) {
    case TARN_DTYPE_BOOL:
    case TARN_DTYPE_INT8:
    case TARN_DTYPE_UINT8: return 1;
    case TARN_DTYPE_INT16:
    case TARN_DTYPE_UINT16:
    case TARN_DTYPE_FLOAT16: return 2;
    case TARN_DTYPE_INT32:
    case TARN_DTYPE_UINT32:
    case TARN_DTYPE_FLOAT32: return 4;
    case TARN_DTYPE_INT64:
    case TARN_DTYPE_UINT64:
    case TARN_DTYPE_FLOAT64:
    case TARN_DTYPE_COMPLEX64: return 8;
    case TARN_DTYPE_COMPLEX128: return 16;
    default: return 0;
  }
}

int tarn_array_contiguous(uint32_t dtype, uint32_t ndim, const uint64_t* shape, uint32_t order, tarn_array_layout* layout,
                          uint64_t* bytes) {
  if (int r = client::check_struct(layout, "layout", "tarn_array_layout"); r < 0) return r;
  if (int r = client::check_pointer(bytes, "bytes"); r < 0) return r;
  size_t element = tarn_dtype_size(dtype);
  if (element == 0) return fail(TARN_E_ARGUMENT, "dtype is %u; there are %d to %d", dtype, TARN_DTYPE_BOOL, TARN_DTYPE_COMPLEX128);
  if (ndim > kDimensionsMax) return fail(TARN_E_ARGUMENT, "%u dimensions; at most %u are allowed", ndim, kDimensionsMax);
  if (shape == nullptr && ndim != 0) return fail(TARN_E_ARGUMENT, "shape is NULL, but ndim is %u", ndim);
  if (order > TARN_ORDER_FORTRAN)
    return fail(TARN_E_ARGUMENT, "order is %u; allowed are TARN_ORDER_C and TARN_ORDER_FORTRAN", order);
  uint64_t product;
  bool is_empty;
  if (!dense_size(element, ndim, shape, product, is_empty))
    return fail(TARN_E_TOO_LARGE, "the elements of the array have 2^63 bytes or more");
  tarn_array_layout filled{};
  filled.size = layout->size;
  filled.dtype = dtype;
  filled.ndim = ndim;
  int64_t stride = static_cast<int64_t>(element);
  for (uint32_t n = 0; n < ndim; ++n) {
    uint32_t i = order == TARN_ORDER_C ? ndim - 1 - n : n;
    filled.shape[i] = shape[i];
    filled.strides[i] = stride;
    if (shape[i] != 0) stride *= static_cast<int64_t>(shape[i]);
  }
  *layout = filled;
  *bytes = is_empty ? 0 : product;
  return 0;
}

int tarn_array_describe(const tarn_array_layout* layout, uint64_t bytes, void* metadata, size_t capacity,
                        size_t* metadata_size) {
  if (int r = client::check_struct(layout, "layout", "tarn_array_layout"); r < 0) return r;
  if (int r = client::check_pointer(metadata, "metadata"); r < 0) return r;
  if (int r = client::check_pointer(metadata_size, "metadata_size"); r < 0) return r;
  uint64_t reserved = 0;
  for (uint64_t value : layout->reserved) reserved |= value;
  if (reserved != 0) return fail(TARN_E_ARGUMENT, "tarn_array_layout: reserved must be zero");
  if (const char* fault = fault_of(*layout, bytes); fault != nullptr)
    return fail(TARN_E_ARGUMENT, "the array does not lie in %llu bytes: %s", static_cast<unsigned long long>(bytes), fault);
  size_t list = layout->ndim * sizeof(uint64_t);
  size_t size = sizeof(ArrayHead) + 2 * list;
  if (capacity < size) return fail(TARN_E_ARGUMENT, "capacity is %zu; this array needs %zu bytes", capacity, size);
  ArrayHead head{kArrayMagic, kArrayVersion, static_cast<uint8_t>(layout->dtype), static_cast<uint8_t>(layout->ndim), 0,
                 layout->offset};
  auto* out = static_cast<std::byte*>(metadata);
  memcpy(out, &head, sizeof head);
  memcpy(out + sizeof head, layout->shape, list);
  memcpy(out + sizeof head + list, layout->strides, list);
  *metadata_size = size;
  return 0;
}

int tarn_array_read(tarn_bytes metadata, uint64_t bytes, tarn_array_layout* layout) {
  if (int r = client::check_struct(layout, "layout", "tarn_array_layout"); r < 0) return r;
  ArrayHead head;
  if (metadata.data == nullptr || metadata.size < sizeof head)
    return fail(TARN_E_TYPE, "%zu bytes of metadata describe no array", metadata.size);
  memcpy(&head, metadata.data, sizeof head);
  if (head.magic != kArrayMagic) return fail(TARN_E_TYPE, "the metadata is not that of an array");
  if (head.version != kArrayVersion || head.reserved != 0)
    return fail(TARN_E_TYPE, "the array is described in version %u; this libtarn reads version %u", head.version, kArrayVersion);
  size_t list = head.ndim * sizeof(uint64_t);
  if (head.ndim > kDimensionsMax || metadata.size != sizeof head + 2 * list)
    return fail(TARN_E_TYPE, "%zu bytes of metadata do not describe %u dimensions", metadata.size, head.ndim);
  // Copied before it is checked: nobody can change it in between.
  tarn_array_layout read{};
  read.size = layout->size;
  read.dtype = head.dtype;
  read.ndim = head.ndim;
  read.offset = head.offset;
  const auto* in = static_cast<const std::byte*>(metadata.data) + sizeof head;
  memcpy(read.shape, in, list);
  memcpy(read.strides, in + list, list);
  if (const char* fault = fault_of(read, bytes); fault != nullptr)
    return fail(TARN_E_TYPE, "the array does not lie in the object's %llu bytes: %s", static_cast<unsigned long long>(bytes),
                fault);
  *layout = read;
  return 0;
}
