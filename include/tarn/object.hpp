// object.hpp: shared bytes, and how they come to be.
//
// client.create<T>(n) -> writer<T> --fill--> filled<T> --seal--> object
//
// A writer's memory is not initialised, so it can only be filled; what is filled can be changed and
// sealed; what is sealed can be read and shared. Each step consumes the one before it, so that
// reading too early, sealing too early and writing too late do not compile.
//
// Another thread can wait for the seal: writer.share() is an object already, to be read after wait().
//
// Thread safety: one object, writer or filled is used by one thread at a time.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/session.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tarn {

// Times, of everything that waits.
using std::chrono::nanoseconds;
inline constexpr nanoseconds forever{-1};

class client;

// What to say about a new object: it is shown by the tools, and goes with the bytes. What is left
// out is not said. And where it shall lie.
struct object_options {
  std::uint32_t type = TARN_TYPE_NONE;  // a tag of Tarn's, or one's own from TARN_TYPE_USER on
  std::string label = {};               // at most 63 bytes, none of them NUL
  std::string_view metadata = {};       // at most 4096 bytes; copied
  std::uint32_t placement = TARN_PLACE_NEAR;  // or TARN_PLACE_INTERLEAVE, for what all nodes read
};

namespace detail {

// `text` for the C interface, where it would end at its first NUL.
inline const char* c_text(const std::string& text, const char* what) {
  if (const std::size_t at = text.find('\0'); at != std::string::npos) [[unlikely]] {
    raise(TARN_E_ARGUMENT, std::string(what) + " has a NUL at byte " + std::to_string(at) + " of " +
                               std::to_string(text.size()) + "; it would be cut there");
  }
  return text.c_str();
}

inline tarn_object_options to_c(const object_options& options) {
  tarn_object_options c{};
  c.size = sizeof c;
  c.type = options.type;
  c.placement = options.placement;
  c.label = c_text(options.label, "the label");
  c.metadata = options.metadata.data();
  c.metadata_size = options.metadata.size();
  return c;
}

}  // namespace detail

// A reference to an immutable range of shared bytes; copies are further references to the same
// bytes. As the parameter of a task it is the argument, and valid until the task returns.
class object {
 public:
  // Refers to nothing. Since 0.1.
  object() noexcept = default;

  // Takes over one reference to `handle` of the C interface. Since 0.1.
  object(const session& session, tarn_object handle) noexcept
      : session_(&session), handle_(handle) {}

  // The argument of a task, which the call keeps; `index` of `call` if it is the whole of it, so that
  // it has a type, a label and metadata. Since 0.1.
  static object of_argument(tarn_bytes bytes, const tarn_call* call = nullptr,
                            std::size_t index = 0) noexcept {
    object argument;
    argument.handle_.size = bytes.size;
    argument.argument_ = bytes.data != nullptr ? bytes.data : "";
    argument.call_ = call;
    argument.index_ = index;
    return argument;
  }

  object(const object& other)
      : session_(other.session_),
        handle_(other.handle_),
        argument_(other.argument_),
        call_(other.call_),
        index_(other.index_) {
    if (session_ != nullptr) detail::check(::tarn_object_ref(open_client(), handle_));
  }
  object(object&& other) noexcept { swap(other); }
  object& operator=(object other) noexcept {
    swap(other);
    return *this;
  }
  ~object() {
    tarn_client* client = detail::client_of(session_);
    if (client == nullptr) return;
    if (is_pinned_) ::tarn_object_unpin(client, handle_);
    ::tarn_release(client, handle_);
  }

  void swap(object& other) noexcept {
    std::swap(session_, other.session_);
    std::swap(handle_, other.handle_);
    std::swap(argument_, other.argument_);
    std::swap(is_pinned_, other.is_pinned_);
    std::swap(call_, other.call_);
    std::swap(index_, other.index_);
  }

  // The size in bytes. Since 0.1.
  [[nodiscard]] std::size_t size() const noexcept { return handle_.size; }

  // The bytes, in place: valid for as long as this object refers to them and is not unpinned. Blocks
  // only if they have left memory and come back from disk. Since 0.1.
  [[nodiscard]] std::string_view view() const& {
    const tarn_bytes bytes = get();
    return {static_cast<const char*>(bytes.data), bytes.size};
  }

  // The same as elements of T. Throws type_error if the size, or the start of a slice, does not fit
  // T. Since 0.1.
  template <detail::plain T>
  [[nodiscard]] std::span<const T> view() const& {
    return detail::elements_of<T>(get());
  }

  // Says that no view, label or metadata of this object is used any more; those of its copies and
  // slices are theirs. What nobody views may leave memory for a disk while memory is short, and the
  // next view brings it back. A view that is used all the same reads zeros then, and nothing says so.
  // Does not block. Since 0.1.
  void unpin() {
    if (std::exchange(is_pinned_, false))
      detail::check(::tarn_object_unpin(open_client(), handle_));
  }

  // The bytes of an object that has the tag `type`; throws type_error if it has another one, or
  // none. Since 0.1.
  [[nodiscard]] std::string_view view(std::uint32_t type) const& {
    tarn_bytes bytes{};
    if (argument_ != nullptr) {
      const std::uint32_t found = argument_details().type;
      if (found != type) detail::raise(TARN_E_TYPE, wrong_type(found, type));
      bytes = {argument_, handle_.size};
    } else {
      detail::check(::tarn_get_typed(open_client(), handle_, type, &bytes));
      keep_one_pin();
    }
    return {static_cast<const char*>(bytes.data), bytes.size};
  }

  // The label that its maker gave it, "" if none, and the metadata, in place: valid for as long as
  // this object refers to them. A slice has those of the whole. Since 0.1.
  [[nodiscard]] std::string_view label() const& {
    if (argument_ != nullptr) return argument_details().label;
    const char* label;
    detail::check(::tarn_object_get_label(open_client(), handle_, &label));
    keep_one_pin();
    return label;
  }
  [[nodiscard]] std::string_view metadata() const& {
    tarn_bytes bytes{};
    if (argument_ != nullptr) {
      bytes = argument_details().metadata;
    } else {
      detail::check(::tarn_object_get_metadata(open_client(), handle_, &bytes));
      keep_one_pin();
    }
    return {static_cast<const char*>(bytes.data), bytes.size};
  }

  // The tag that its maker gave it, TARN_TYPE_* or the program's own; TARN_TYPE_NONE if none. A slice
  // has that of the whole. Does not block. Since 0.1.
  [[nodiscard]] std::uint32_t type() const {
    return argument_ != nullptr ? argument_details().type : info().type;
  }

  // Whether this can be used: not if it was moved from, its client was closed, or it was shared by a
  // writer that was dropped. Does not block. Since 0.1.
  [[nodiscard]] bool exists() const {
    if (argument_ != nullptr) return true;
    tarn_client* client = detail::client_of(session_);
    return client != nullptr && detail::check(::tarn_object_exists(client, handle_)) != 0;
  }

  // Waits until the writer that shared this has sealed it; returns at once if it is sealed. Sleeps
  // meanwhile. Throws error (TARN_E_NO_OBJECT) if the writer is dropped instead. Since 0.1.
  void wait() const { static_cast<void>(wait_for(forever)); }

  // The same, for `timeout` at most: false if it passed. Throws as wait(), and bad_argument for a
  // negative time that is not `forever`. Since 0.1.
  [[nodiscard]] bool wait_for(nanoseconds timeout) const {
    if (argument_ != nullptr) return true;  // a task does not begin before
    const int result = ::tarn_object_wait(open_client(), handle_, timeout.count());
    if (result == TARN_E_TIMED_OUT) return false;
    detail::check(result);
    return true;
  }

  // Whether this is all of the object, and not a slice of it. Since 0.1.
  [[nodiscard]] bool is_whole() const {
    if (argument_ != nullptr) return handle_.size == argument_details().bytes;
    return handle_.size == info().bytes;
  }

  // The bytes of an object that is about to go would go with it.
  std::string_view view() && = delete;
  std::string_view view(std::uint32_t type) && = delete;
  std::string_view label() && = delete;
  std::string_view metadata() && = delete;
  template <detail::plain T>
  std::span<const T> view() && = delete;

  // Returns `size` bytes from `offset`, by default all that follow, as an object. No copy.
  // Throws bad_argument if they do not lie inside this one. Since 0.1.
  [[nodiscard]] object slice(std::size_t offset, std::size_t size = std::string_view::npos) const {
    if (size == std::string_view::npos) size = handle_.size - std::min(offset, handle_.size);
    if (argument_ != nullptr) return slice_of_argument(offset, size);
    tarn_object part;
    detail::check(::tarn_object_slice(open_client(), handle_, offset, size, &part));
    return object(*session_, part);
  }

  // What this process knows about the object, in the C interface's words. Throws error
  // (TARN_E_NOT_IN_TASK) for the argument of a task: a worker keeps no such record of it. Since 0.1.
  [[nodiscard]] tarn_object_details info() const {
    if (argument_ != nullptr) {
      detail::raise(
          TARN_E_NOT_IN_TASK,
          "info() is not for the argument of a task; ask for its size(), type(), label(), "
          "metadata() and is_whole()");
    }
    tarn_object_details details{};
    details.size = sizeof details;
    detail::check(::tarn_object_info(open_client(), handle_, &details));
    return details;
  }

  // A reference of this process's own to the same bytes: of the argument of a task, or a slice of it,
  // one that may outlive the call. No copy, unless the argument was a value. Does not block, but for
  // memory. Throws as client.put. Since 0.1.
  [[nodiscard]] object keep() const {
    if (argument_ == nullptr) return *this;
    tarn_client* client = call_ != nullptr ? ::tarn_call_client(call_) : nullptr;
    if (client == nullptr) {
      detail::raise(TARN_E_NOT_IN_TASK, "this argument cannot be kept: its worker holds no objects");
    }
    tarn_object whole;
    detail::check(::tarn_call_arg_object(call_, index_, &whole));
    const object argument(session::of_worker(client), whole);
    const auto* begin = static_cast<const char*>(::tarn_call_arg(call_, index_).data);
    const auto offset = static_cast<std::size_t>(static_cast<const char*>(argument_) - begin);
    return handle_.size == 0 ? argument.slice(0, 0) : argument.slice(offset, handle_.size);
  }

  // For calls of the C interface; the reference stays this object's. The argument of a task has none
  // before keep(). Since 0.1.
  [[nodiscard]] tarn_object handle() const noexcept { return handle_; }
  [[nodiscard]] bool is_argument() const noexcept { return argument_ != nullptr; }

 private:
  friend class client;  // for many at once

  object slice_of_argument(std::size_t offset, std::size_t size) const {
    if (offset > handle_.size || size > handle_.size - offset) {
      detail::raise(TARN_E_ARGUMENT, std::to_string(size) + " bytes from " +
                                         std::to_string(offset) + " do not lie inside " +
                                         std::to_string(handle_.size) + " bytes");
    }
    return of_argument({static_cast<const char*>(argument_) + offset, size}, call_, index_);
  }

  tarn_bytes get() const {
    if (argument_ != nullptr) return {argument_, handle_.size};
    tarn_bytes bytes;
    detail::check(::tarn_get(open_client(), handle_, &bytes));
    keep_one_pin();
    return bytes;
  }

  // One for all that was got of this object: each call of the C interface adds one.
  void keep_one_pin() const {
    if (std::exchange(is_pinned_, true))
      detail::check(::tarn_object_unpin(open_client(), handle_));
  }

  // What the object says of which this is an argument; nothing if it is in no call.
  [[nodiscard]] tarn_arg_details argument_details() const {
    tarn_arg_details details{};
    details.size = sizeof details;
    details.bytes = handle_.size;
    details.label = "";
    if (call_ != nullptr) detail::check(::tarn_call_arg_info(call_, index_, &details));
    return details;
  }

  static std::string wrong_type(std::uint32_t found, std::uint32_t wanted) {
    return "the argument's type is " + std::to_string(found) + ", not " + std::to_string(wanted) +
           " (TARN_TYPE_*)";
  }

  [[nodiscard]] tarn_client* open_client() const {
    return detail::open_client_of(session_, "object", TARN_E_NO_OBJECT);
  }

  const session* session_ = nullptr;
  tarn_object handle_{};
  const void* argument_ = nullptr;   // the bytes, if this is the argument of a task
  const tarn_call* call_ = nullptr;  // then: which one of which call
  std::size_t index_ = 0;
  mutable bool is_pinned_ = false;
};

namespace detail {

// An unsealed object and its memory; dropped unless it is sealed, also for those that share it.
template <plain T>
class unsealed {
 public:
  unsealed(const session& session, tarn_object handle, std::span<T> elements) noexcept
      : session_(&session), handle_(handle), elements_(elements) {}
  unsealed(unsealed&& other) noexcept
      : session_(std::exchange(other.session_, nullptr)),
        handle_(std::exchange(other.handle_, {})),
        elements_(std::exchange(other.elements_, {})) {}
  unsealed& operator=(unsealed&&) = delete;
  ~unsealed() {
    tarn_client* client = client_of(session_);
    if (client == nullptr) return;
    // Dropped for all: who waits for the seal is told that it never comes. Not so an argument.
    if (::tarn_object_abort(client, handle_) == TARN_E_STATE) ::tarn_release(client, handle_);
  }

  [[nodiscard]] std::span<T> elements() const noexcept { return elements_; }

  [[nodiscard]] object share() const {
    check(::tarn_object_ref(open_client_of(session_, "writer", TARN_E_NO_OBJECT), handle_));
    return object(*session_, handle_);
  }

  void abort() && {
    check(::tarn_object_abort(open_client_of(session_, "writer", TARN_E_NO_OBJECT), handle_));
    session_ = nullptr;
  }

  object seal() && {
    tarn_client* client = open_client_of(session_, "writer", TARN_E_NO_OBJECT);
    check(::tarn_object_seal(client, handle_));
    check(::tarn_object_unpin(client, handle_));  // nobody can write through it any more
    return object(*std::exchange(session_, nullptr), handle_);
  }

 private:
  const session* session_;
  tarn_object handle_;
  std::span<T> elements_;
};

}  // namespace detail

// An object whose every element has a value, and that only its maker sees, until it is sealed.
template <detail::plain T>
class filled {
 public:
  // The elements, to be read and changed until the object is sealed. Since 0.1.
  [[nodiscard]] std::span<T> data() & noexcept { return memory_.elements(); }

  // Makes the object readable by all and writable by nobody. Does not block, whatever the size.
  // Since 0.1.
  [[nodiscard]] object seal() && { return std::move(memory_).seal(); }

  // As those of writer. Since 0.1.
  [[nodiscard]] object share() const { return memory_.share(); }
  void abort() && { std::move(memory_).abort(); }

 private:
  template <detail::plain U>
  friend class writer;
  explicit filled(detail::unsealed<T>&& memory) noexcept : memory_(std::move(memory)) {}

  detail::unsealed<T> memory_;
};

// Memory of the object store, on loan to be filled. Dropping it gives it back.
template <detail::plain T>
class writer {
 public:
  // Takes over `handle`, an unsealed object of the C interface whose memory is `elements`. Since
  // 0.1.
  writer(const session& session, tarn_object handle, std::span<T> elements) noexcept
      : memory_(session, handle, elements) {}

  // How many elements there are. Since 0.1.
  [[nodiscard]] std::size_t size() const noexcept { return memory_.elements().size(); }

  // Calls fill(std::span<T>), which gives every element a value, in place. Since 0.1.
  template <std::invocable<std::span<T>> Fill>
  [[nodiscard]] filled<T> fill(Fill&& fill) && {
    std::invoke(std::forward<Fill>(fill), memory_.elements());
    return filled<T>(std::move(memory_));
  }

  // A reference to the object before it is sealed, for another thread, which reads it after wait().
  // If this is dropped unsealed, the object is gone for all. Since 0.1.
  [[nodiscard]] object share() const { return memory_.share(); }

  // Drops the object now, as the end of this does, and says if that cannot be: throws error
  // (TARN_E_STATE) if a task has it as an argument. Does not block. Since 0.1.
  void abort() && { std::move(memory_).abort(); }

  // Gives every element the same value. Since 0.1.
  [[nodiscard]] filled<T> fill(const T& value) && {
    std::uninitialized_fill(memory_.elements().begin(), memory_.elements().end(), value);
    return filled<T>(std::move(memory_));
  }

 private:
  detail::unsealed<T> memory_;
};

// Cuts `text` into at most `count` objects of about the same size, each of which ends with the end
// of a line or of `text`; none is empty. No copy; reads no more than the lines that it cuts behind.
// Since 0.1.
[[nodiscard]] inline std::vector<object> split_lines(const object& text, std::size_t count) {
  if (count == 0)
    detail::raise(TARN_E_ARGUMENT, "split_lines: the count is 0; ask for one or more");
  const std::string_view bytes = text.view();
  std::vector<object> parts;
  parts.reserve(count);
  std::size_t start = 0;
  for (std::size_t i = 1; start < bytes.size(); ++i) {
    // The quotient first: the product of size and count may not fit.
    const std::size_t aim =
        i < count ? bytes.size() / count * i + bytes.size() % count * i / count : bytes.size();
    if (aim <= start) continue;  // a line reached beyond the next cut
    const std::size_t newline = bytes.find('\n', aim - 1);
    const std::size_t end = newline == std::string_view::npos ? bytes.size() : newline + 1;
    parts.push_back(text.slice(start, end - start));
    start = end;
  }
  return parts;
}

}  // namespace tarn
