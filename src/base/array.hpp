// Array: a growing array of plain values, for code without exceptions: a lack of memory is a result.
//
// One thread.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <type_traits>
#include <utility>

namespace tarn {

template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  ~Array() { free(data_); }
  Array(Array&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Array& operator=(Array&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }

  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] T* data() { return data_; }
  [[nodiscard]] const T* data() const { return data_; }
  [[nodiscard]] T& operator[](size_t i) { return data_[i]; }
  [[nodiscard]] const T& operator[](size_t i) const { return data_[i]; }
  [[nodiscard]] T* begin() { return data_; }
  [[nodiscard]] T* end() { return data_ + size_; }
  [[nodiscard]] const T* begin() const { return data_; }
  [[nodiscard]] const T* end() const { return data_ + size_; }

  // Whether `count` more can come without asking for memory.
  [[nodiscard]] bool has_room(size_t count) const { return count <= capacity_ - size_; }

  // False: there is no memory, and nothing has changed. Here and below.
  [[nodiscard]] bool reserve(size_t capacity) {
    if (capacity <= capacity_) return true;
    if (capacity > static_cast<size_t>(-1) / 2 / sizeof(T)) return false;
    size_t larger = capacity < 16 ? 16 : capacity;
    if (larger < capacity_ * 2) larger = capacity_ * 2;
    void* data = realloc(static_cast<void*>(data_), larger * sizeof(T));
    if (data == nullptr) return false;
    data_ = static_cast<T*>(data);
    capacity_ = larger;
    return true;
  }

  [[nodiscard]] bool push(const T& value) {
    if (size_ == capacity_) [[unlikely]] {
      T kept = value;  // it may lie in here
      if (!reserve(size_ + 1)) return false;
      data_[size_++] = kept;
      return true;
    }
    data_[size_++] = value;
    return true;
  }

  // `count` more at the end, not set. nullptr: there is no memory.
  [[nodiscard]] T* extend(size_t count) {
    if (!reserve(size_ + count)) return nullptr;
    T* first = data_ + size_;
    size_ += count;
    return first;
  }

  // All of them `value`.
  [[nodiscard]] bool assign(size_t count, const T& value) {
    size_ = 0;
    if (!reserve(count)) return false;
    for (; size_ < count; ++size_) data_[size_] = value;
    return true;
  }

  void shorten(size_t size) { size_ = size; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace tarn
