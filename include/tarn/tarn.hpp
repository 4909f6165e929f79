// tarn.hpp: the C++ interface of Tarn, header-only over tarn.h.
//
//   std::int64_t count_errors(std::string_view lines) { ... }
//   TARN_TASK(count_errors);
//
//   int main(int argc, char** argv) {
//     tarn::client tarn = tarn::init(argc, argv);  // in a worker: serves tasks, does not return
//     tarn::object log = tarn.from_file("app.log");
//     std::vector<tarn::future<std::int64_t>> counts;
//     for (const tarn::object& part : tarn::split_lines(log, 100))
//       counts.push_back(tarn.submit(count_errors, part));
//     for (auto& count : counts) total += count.get();
//   }
//
// It turns handles into owners, codes into exceptions and bytes into types, and adds no behaviour:
// what tarn.h says of a function holds for the one of that name here. The nouns have a header each:
//
//   codec.hpp    which types can be arguments and results, and the hook for others
//   object.hpp   object, object_options, writer, filled, split_lines
//   array.hpp    array_view, array_writer: arrays of several dimensions
//   future.hpp   future, wait, wait_any, when_all
//   task.hpp     TARN_TASK, this_task
//   session.hpp  what keeps those that outlive their client out of harm
//   error.hpp    error and its kinds, task_error
//
// structured.hpp, for maps and strings inside objects, needs Boost, and is included by itself.
//
// Objects, writers and futures can be used for as long as their client.
//
// Thread safety: a client may be used by several threads at once, other things by one at a time.
#pragma once

#if __cplusplus < 202002L
#error "tarn.hpp needs C++20: compile with -std=c++20 or later"
#endif

#include <tarn/tarn.h>
#include <tarn/array.hpp>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/future.hpp>
#include <tarn/object.hpp>
#include <tarn/session.hpp>
#include <tarn/task.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tarn {

// What init is asked for. What is left out has the default of tarn_options.
struct options {
  std::string address = {};  // "auto", "private", "unix:PATH"; "": $TARN_ADDRESS or "auto"
  std::string name = {};     // shown by the tools; "": the program's name
  unsigned workers = 0;      // worker processes; 0: $TARN_WORKERS or one per slot
  bool no_workers = false;   // join without workers of one's own
  nanoseconds timeout{0};    // for connecting and starting; 0: 10 s
};

// How a file becomes an object.
enum class file : std::uint32_t {
  map = TARN_FILE_MAP,   // no copy; changes if somebody writes the file
  copy = TARN_FILE_COPY  // immutable from then on
};

// How a task is run.
struct task_options {
  std::int32_t retries = 0;  // after a crash of the worker; -1: never, 0: the default of 3
};

// An object that this process holds, as the C interface names and describes it.
struct held_object {
  tarn_object handle;
  tarn_object_details details;
};

// A session with a daemon, that of the host or a private one. Ends with this object.
class client {
 public:
  // Takes over `handle` of the C interface. Since 0.1.
  explicit client(tarn_client* handle) : session_(&session::open(handle)) {}

  client(client&& other) noexcept : session_(std::exchange(other.session_, nullptr)) {}
  client& operator=(client&& other) noexcept {
    client taken(std::move(other));
    std::swap(session_, taken.session_);
    return *this;
  }
  ~client() { close(); }

  // Ends the session now: unfinished tasks are dropped, and what was handed out in place becomes
  // invalid. Objects, writers and futures that are left can only go away. Since 0.1.
  void close() noexcept {
    if (session_ != nullptr) session_->close();
  }

  // ---- Tasks ----

  // Runs `task` in a worker. Each argument is what a plain call would take, or, without a copy and
  // without waiting: an object, where the task takes bytes or elements; a future of the parameter's
  // type. Does not block. Values are copied now; use objects beyond 1 MiB. Throws over_limit,
  // store_full, daemon_gone; error (TARN_E_NO_TASK) without TARN_TASK(task). Since 0.1.
  template <class R, class... Ps, class... As>
  future<std::remove_cvref_t<R>> submit(R (*task)(Ps...), As&&... arguments)  //
      requires detail::arguments_for<std::tuple<Ps...>, As...> {
    return submit(task_options{}, task, std::forward<As>(arguments)...);
  }

  // The same, run as the options say. Since 0.1.
  template <class R, class... Ps, class... As>
  future<std::remove_cvref_t<R>> submit(const task_options& options, R (*task)(Ps...),
                                        As&&... arguments)  //
      requires detail::arguments_for<std::tuple<Ps...>, As...> {
    const detail::task_entry& entry =
        detail::task_table::instance().find(reinterpret_cast<detail::any_function>(task));
    return {opened(), detail::submit(handle(), entry, options.retries,
                                     detail::send<Ps>(std::forward<As>(arguments))...)};
  }

  // Chosen when the arguments do not fit the parameters of the task: wrong in type or in number.
  template <class R, class... Ps, class... As>
  void submit(R (*task)(Ps...), As&&... arguments_that_do_not_fit_the_task) = delete;
  template <class R, class... Ps, class... As>
  void submit(const task_options& options, R (*task)(Ps...),
              As&&... arguments_that_do_not_fit_the_task) = delete;

  // ---- Objects ----

  // Copies `value` into a new object: its characters, its elements, or its own bytes. Since 0.1.
  template <class T>
  [[nodiscard]] object put(const T& value) {
    return put_value(value, nullptr);
  }

  // The same, with a type, a label, metadata or a placement. Throws bad_argument, over_limit.
  // Since 0.1.
  template <class T>
  [[nodiscard]] object put(const T& value, const object_options& options) {
    return put_value(value, &options);
  }

  // Makes an object of `count` elements that the caller fills in place. No copy. Since 0.1.
  template <detail::plain T>
  [[nodiscard]] writer<T> create(std::size_t count) {
    return create_elements<T>(count, nullptr);
  }

  // The same, with a type, a label, metadata or a placement. Throws bad_argument, over_limit.
  // Since 0.1.
  template <detail::plain T>
  [[nodiscard]] writer<T> create(std::size_t count, const object_options& options) {
    return create_elements<T>(count, &options);
  }

  // Makes an array with that many elements along each dimension, at most 32 of them, that the
  // caller fills in place, as an array_writer<T>; `placement` is TARN_PLACE_*. No copy. Read it by
  // array_view<T>. Throws over_limit. Since 0.1.
  template <class T>
  [[nodiscard]] auto create_array(const std::vector<std::uint64_t>& shape, order in = order::c,
                                  const std::string& label = {},
                                  std::uint32_t placement = TARN_PLACE_NEAR) {
    // As a constraint, not every compiler would name it.
    static_assert(array_element<T>,
                  "tarn: the elements of an array are bool, numbers or complex numbers of fixed size");
    tarn_array_layout layout{};
    layout.size = sizeof layout;
    std::uint64_t bytes;
    detail::check(::tarn_array_contiguous(
        detail::dtype_of<T>(),
        static_cast<std::uint32_t>(std::min<std::size_t>(shape.size(), 1000)), shape.data(),
        static_cast<std::uint32_t>(in), &layout, &bytes));
    char metadata[TARN_ARRAY_METADATA_MAX];
    std::size_t size;
    detail::check(::tarn_array_describe(&layout, bytes, metadata, sizeof metadata, &size));
    return array_writer<T>(
        create<T>(bytes / sizeof(T), {TARN_TYPE_ARRAY, label, {metadata, size}, placement}),
        layout);
  }

  // The objects that this process holds, each once and as a whole, with what is known about it:
  // what is there and should not be was not released. Takes no references. Since 0.1.
  [[nodiscard]] std::vector<held_object> objects() const {
    std::vector<tarn_object> handles;
    std::vector<tarn_object_details> details;
    std::size_t count;
    // Other threads may make more of them meanwhile.
    for (detail::check(::tarn_object_list(opened().handle(), nullptr, nullptr, 0, &count));
         count > handles.size();) {
      handles.resize(count + 64);
      details.resize(handles.size());
      details[0].size = sizeof details[0];
      detail::check(::tarn_object_list(opened().handle(), handles.data(), details.data(),
                                       handles.size(), &count));
    }
    std::vector<held_object> objects(count);
    for (std::size_t i = 0; i < count; ++i) objects[i] = {handles[i], details[i]};
    return objects;
  }

  // Makes an object of the regular file at `path`. Throws file_error, denied. Since 0.1.
  [[nodiscard]] object from_file(const std::string& path, file how = file::map) {
    tarn_object object;
    detail::check(::tarn_object_from_file(opened().handle(), path.c_str(),
                                          static_cast<std::uint32_t>(how), &object));
    return tarn::object(opened(), object);
  }

  // ---- The session ----

  // Becomes readable (poll, epoll, select) when dispatch() has something to do. Since 0.1.
  [[nodiscard]] int fd() const { return detail::check(::tarn_client_fd(opened().handle())); }

  // Resumes the coroutines whose futures are done, and calls what on_event was given for the events
  // that wait, in this thread, and arms fd() again; call it once before the first poll. Does not
  // block. Returns how many it resumed and called. Since 0.1.
  int dispatch() { return detail::check(::tarn_client_dispatch(opened().handle())); }

  // Has dispatch() call function(event) for each event whose kind is in `mask`, a sum of
  // TARN_EVENT_*; tarn_client_on_event says what each means and which can be lost. Replaces what was
  // given before. It must not throw: an exception that leaves it ends the program. Does not block.
  // Throws bad_argument, daemon_gone. Since 0.1.
  void on_event(std::uint32_t mask, std::function<void(const tarn_event&)> function) {
    static_cast<void>(opened());
    if (mask == 0 || !function) return stop_events();
    static_cast<void>(session_->exchange_event_function(
        std::make_shared<session::event_function>(std::move(function))));
    detail::check(::tarn_client_on_event(handle(), mask, &session::call_event_function, session_));
  }

  // No events any more. Since 0.1.
  void stop_events() {
    detail::check(::tarn_client_on_event(opened().handle(), 0, nullptr, nullptr));
    static_cast<void>(session_->exchange_event_function(nullptr));
  }

  // What is known about the session, in the C interface's words. Since 0.1.
  [[nodiscard]] tarn_client_info info() const {
    tarn_client_info info{};
    info.size = sizeof info;
    detail::check(::tarn_client_get_info(opened().handle(), &info));
    return info;
  }

  // The workers of this session that have started, and where they run. Since 0.1.
  [[nodiscard]] std::vector<slot> slots() const {
    std::vector<slot> slots;
    const std::uint32_t workers = info().workers;
    for (std::uint32_t i = 0; i < workers; ++i) {
      tarn_slot_info info{};
      info.size = sizeof info;
      const int result = ::tarn_client_get_slot(opened().handle(), i, &info);
      if (result == TARN_E_STATE) break;  // this one and those after it have not started
      detail::check(result);
      slots.push_back(detail::to_slot(info));
    }
    return slots;
  }

  // For calls of the C interface; the session stays this client's. Since 0.1.
  [[nodiscard]] tarn_client* handle() const noexcept { return detail::client_of(session_); }

  // What its objects and futures refer to, for making them of handles of the C interface.
  // Throws error (TARN_E_NOT_INITIALISED) if this was moved from or closed. Since 0.1.
  [[nodiscard]] const session& opened() const {
    if (session_ == nullptr) detail::raise(TARN_E_NOT_INITIALISED, "this client was moved from");
    if (session_->handle() == nullptr) {
      detail::raise(TARN_E_NOT_INITIALISED, "the client was closed");
    }
    return *session_;
  }

 private:
  template <detail::plain T>
  writer<T> create_elements(std::size_t count, const object_options* options) {
    static_assert(alignof(T) <= 64, "tarn: objects are aligned to 64 bytes");
    if (count > SIZE_MAX / sizeof(T)) {
      detail::raise(TARN_E_TOO_LARGE, std::to_string(count) + " elements of " +
                                          std::to_string(sizeof(T)) + " bytes are too many");
    }
    tarn_object object;
    void* data;
    const tarn_object_options c =
        options != nullptr ? detail::to_c(*options) : tarn_object_options{};
    detail::check(::tarn_object_create_with(opened().handle(), count * sizeof(T),
                                            options != nullptr ? &c : nullptr, &object, &data));
    return writer<T>(opened(), object, {static_cast<T*>(data), count});
  }

  template <class T>
  object put_value(const T& value, const object_options* options) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return put_bytes(detail::bytes_of(std::string_view(value)), options);
    } else if constexpr (detail::raw<T>) {
      return put_bytes(detail::bytes_of(value), options);
    } else {
      constexpr bool is_range = requires {
        std::span(std::data(value), std::size(value));
      };
      static_assert(is_range,
                    "tarn: put takes text, elements or a plain value; encode others first");
      if constexpr (is_range) {
        using element = std::remove_cvref_t<decltype(*std::data(value))>;
        static_assert(detail::plain<element>,
                      "tarn: put copies bytes, and these elements hold their data elsewhere (like "
                      "std::string); put each, or their text joined");
        if constexpr (detail::plain<element>) {
          return put_bytes(detail::bytes_of(std::span(std::data(value), std::size(value))),
                           options);
        }
      }
    }
  }

  object put_bytes(tarn_bytes bytes, const object_options* options) {
    tarn_object object;
    if (options == nullptr) {
      detail::check(::tarn_put(opened().handle(), bytes.data, bytes.size, &object));
    } else {
      const tarn_object_options c = detail::to_c(*options);
      detail::check(::tarn_put_with(opened().handle(), bytes.data, bytes.size, &c, &object));
    }
    return tarn::object(opened(), object);
  }

  session* session_;
};

// In the program as the user started it: connects to a daemon, starting a private one if need be,
// and starts workers. In a worker process: serves tasks and does not return. `argc` and `argv` are
// those of main. Throws no_daemon, denied, timed_out, bad_argument (also for a task that was
// defined twice). Since 0.1.
[[nodiscard]] inline client init(int argc, char** argv, const options& options = {}) {
  detail::task_table::instance().throw_refusal();
  tarn_options c{};
  c.size = sizeof c;
  c.address = options.address.empty() ? nullptr : options.address.c_str();
  c.name = options.name.empty() ? nullptr : options.name.c_str();
  c.workers = options.workers;
  c.flags = options.no_workers ? TARN_INIT_NO_WORKERS : 0;
  c.timeout_ns = options.timeout.count();
  tarn_client* handle = nullptr;
  detail::check(::tarn_init(&handle, &argc, &argv, &c));
  return client(handle);
}

}  // namespace tarn
