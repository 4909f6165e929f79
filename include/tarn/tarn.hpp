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
//   array.hpp    array_view, array_writer, array_options: arrays of several dimensions
//   future.hpp   future, wait, wait_any, when_all
//   results.hpp  results, part: tasks with several results
//   completion.hpp  as_completed, when_any
//   async.hpp    async, run, all: coroutines, where the compiler has them
//   graph.hpp    graph, node, parameter
//   stream.hpp   yielder, stream, window: tasks that yield
//   task.hpp     TARN_TASK, this_task
//   map.hpp      indices, slices, rows, map_error: what client.map maps
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
#include <tarn/async.hpp>
#include <tarn/codec.hpp>
#include <tarn/completion.hpp>
#include <tarn/error.hpp>
#include <tarn/future.hpp>
#include <tarn/graph.hpp>
#include <tarn/map.hpp>
#include <tarn/object.hpp>
#include <tarn/results.hpp>
#include <tarn/session.hpp>
#include <tarn/stream.hpp>
#include <tarn/task.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tarn {

// What becomes of what workers print: enum tarn_output. Since 0.1.
enum class output : std::uint32_t {
  standard = 0,                     // $TARN_OUTPUT, or prefixed
  prefixed = TARN_OUTPUT_PREFIXED,  // to stdout and stderr of the client, each line with its task
  plain = TARN_OUTPUT_PLAIN,        // the same without that
  raw = TARN_OUTPUT_RAW,            // workers have the client's own descriptors
  none = TARN_OUTPUT_NONE           // only kept, for `tarn logs` and for errors
};

// What init is asked for. What is left out has the default of tarn_options.
struct options {
  std::string address = {};  // "auto", "private", "unix:PATH"; "": $TARN_ADDRESS or "auto"
  std::string name = {};     // shown by the tools; "": the program's name
  unsigned workers = 0;      // worker processes; 0: $TARN_WORKERS or one per slot
  bool no_workers = false;   // a session of this process alone: objects, and no tasks
  nanoseconds timeout{0};    // for connecting and starting; 0: 10 s
  output prints = output::standard;  // where what tasks print goes
  std::string resources = {};  // of a private daemon: "NAME=COUNT,NAME=COUNT"; "": $TARN_RESOURCES
};

// How a file becomes an object.
enum class file : std::uint32_t {
  map = TARN_FILE_MAP,   // no copy; changes if somebody writes the file
  copy = TARN_FILE_COPY  // immutable from then on
};

// That a task which throws, or returns a negative code, is run again after a while:
//
//   tarn.submit({.on_error = tarn::retry(5).first(20ms).longest(1s)}, fetch, name);
//
// tarn_retry says what holds. Since 0.1.
class retry {
 public:
  // Not at all. Since 0.1.
  retry() noexcept = default;
  // At most so often, 1 to 200. Since 0.1.
  explicit retry(std::uint32_t times) noexcept { c_.times = times; }

  // Only after these codes, at most 16; TARN_E_TASK_FAILED is that of an exception which is no tarn::error. Since 0.1.
  retry& after(std::vector<std::int32_t> codes) {
    codes_ = std::move(codes);
    return *this;
  }
  // What passes before the first time; without it, 10 ms. Since 0.1.
  retry& first(nanoseconds time) noexcept {
    c_.first_ns = time.count();
    return *this;
  }
  // How many times as long the next time; without it, 2. Since 0.1.
  retry& factor(double times) noexcept {
    c_.factor = times;
    return *this;
  }
  // What passes at most; without it, 10 s. Since 0.1.
  retry& longest(nanoseconds time) noexcept {
    c_.max_ns = time.count();
    return *this;
  }

  // For calls of the C interface, while this lives and is not changed; nullptr: not at all. Since 0.1.
  [[nodiscard]] const tarn_retry* get() const noexcept {
    if (c_.times == 0) return nullptr;
    c_.size = sizeof c_;
    c_.codes = codes_.empty() ? nullptr : codes_.data();
    c_.code_count = static_cast<std::uint32_t>(codes_.size());
    return &c_;
  }

 private:
  mutable tarn_retry c_{};
  std::vector<std::int32_t> codes_;
};

// Where a task is to run. Since 0.1.
struct place {
  std::uint32_t where = TARN_ANYWHERE;
  std::int32_t number = 0;
  bool is_strict = false;
};

// In the slot, or a slot on the NUMA node, of that number; elsewhere while all workers there are busy
// and another is not.
[[nodiscard]] constexpr place on_slot(std::int32_t number) { return {TARN_ON_SLOT, number, false}; }
[[nodiscard]] constexpr place on_node(std::int32_t number) { return {TARN_ON_NODE, number, false}; }
// There and nowhere else: submit throws tarn::error (TARN_E_UNSATISFIABLE) if this session has none there.
[[nodiscard]] constexpr place only_on_slot(std::int32_t number) { return {TARN_ON_SLOT, number, true}; }
[[nodiscard]] constexpr place only_on_node(std::int32_t number) { return {TARN_ON_NODE, number, true}; }

// How a task is run.
struct task_options {
  std::int32_t retries = 0;  // after a crash of the worker; -1: never, 0: the default of 3
  nanoseconds timeout{0};    // for each run; 0: none
  nanoseconds deadline{0};   // from the submission until it is done; 0: none
  std::int32_t priority = 0; // TARN_PRIORITY_MIN to TARN_PRIORITY_MAX, the most urgent
  retry on_error = {};       // whether it is run again after an error
  std::string labels = {};   // "KEY=VALUE,KEY=VALUE", for people and tools
  bool repeatable = false;   // the same arguments give the same bytes: see TARN_TASK_REPEATABLE
  tarn::window window = {};  // of a task that yields
  place at = {};              // where it runs
  std::string resources = {}; // "NAME=COUNT,NAME=COUNT": what it has to itself of what the host counts
  std::uint32_t cores = 0;   // at the same time, of one NUMA node; 0: those of its slot
  std::uint64_t memory = 0;  // bytes that a run may take for itself beside objects; 0: no limit
};

// An object that this process holds, as the C interface names and describes it.
struct held_object {
  tarn_object handle;
  tarn_object_details details;
};

class client;

namespace this_task {

// The client of this worker, to submit tasks of this one's own, wait for them, and make objects; the
// same for all tasks of the worker, and for the task's own thread only. tarn_call_client says what
// holds for them. Outside of a task throws error (TARN_E_STATE). Since 0.1.
[[nodiscard]] tarn::client& client();

}  // namespace this_task

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
  // type, or a part of one (results.hpp). Does not block. Values are copied now; use objects beyond 1 MiB. Throws over_limit,
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
    tarn_needs needs;
    tarn_submit_options how = to_c(options, needs);
    return {opened(),
            detail::submit(handle(), entry, how, detail::send<Ps>(std::forward<As>(arguments))...)};
  }

  // The same for a task that yields: what it yields, while it runs. Throws as submit. Since 0.1.
  template <class T, class... Ps, class... As>
  stream<T> submit(void (*task)(yielder<T>&, Ps...), As&&... arguments)  //
      requires detail::arguments_for<std::tuple<Ps...>, As...> {
    return submit(task_options{}, task, std::forward<As>(arguments)...);
  }
  template <class T, class... Ps, class... As>
  stream<T> submit(const task_options& options, void (*task)(yielder<T>&, Ps...),
                   As&&... arguments)  //
      requires detail::arguments_for<std::tuple<Ps...>, As...> {
    const detail::task_entry& entry =
        detail::task_table::instance().find(reinterpret_cast<detail::any_function>(task));
    task_options without = options;
    without.window = {};
    tarn_needs needs;
    tarn_submit_options how = to_c(without, needs);
    return {opened(), detail::submit_stream(handle(), entry, how, options.window,
                                            detail::send<Ps>(std::forward<As>(arguments))...)};
  }

  // Runs `task`, which takes one argument, for each element of the container `values`, and returns
  // the futures in their order; the options hold for each, and a deadline counts from this call. An
  // element is what submit takes: a value, an object, or a future. Does not block. Throws as submit,
  // for the first that fails: the tasks of those before it run, and their results go. Since 0.1.
  template <class R, class P, class Values>
  [[nodiscard]] std::vector<future<std::remove_cvref_t<R>>> submit_many(R (*task)(P),
                                                                        const Values& values) {
    return submit_many(task_options{}, task, values);
  }
  template <class R, class P, class Values>
  [[nodiscard]] std::vector<future<std::remove_cvref_t<R>>> submit_many(
      const task_options& options, R (*task)(P), const Values& values) {
    static_assert(std::is_lvalue_reference_v<decltype(*std::begin(values))>,
                  "tarn: submit_many reads the elements where they are; give it a container of them");
    using element = decltype(*std::begin(values));
    static_assert(detail::argument_for<element, P>,
                  "tarn: the elements do not fit the parameter of the task");
    const detail::task_entry& entry =
        detail::task_table::instance().find(reinterpret_cast<detail::any_function>(task));
    // What goes by its bytes is kept until it has been copied.
    std::vector<decltype(detail::send<P>(std::declval<element>()))> sent;
    std::vector<tarn_arg> args;
    const auto count =
        static_cast<std::size_t>(std::distance(std::begin(values), std::end(values)));
    sent.reserve(count);
    args.reserve(count);
    for (const auto& value : values) args.push_back(sent.emplace_back(detail::send<P>(value)).arg());
    tarn_needs needs;
    tarn_submit_options how = to_c(options, needs);
    how.signature = entry.signature;
    std::vector<tarn_future> handles(count);
    std::size_t done = 0;
    const int result = ::tarn_submit_batch(opened().handle(), entry.id, args.data(), 1, count, &how,
                                           handles.data(), &done);
    std::vector<future<std::remove_cvref_t<R>>> futures;
    futures.reserve(count);
    for (std::size_t i = 0; i < done; ++i) futures.emplace_back(opened(), handles[i]);
    detail::check(result);
    return futures;
  }

  // Runs `task` for each element of `source`, cut into chunks so that all workers are busy whatever
  // an element costs, and returns what came of them, in their order: a std::vector, or nothing.
  // `source` is tarn::indices(n), for a task that takes a number; an object, whose elements it
  // takes; tarn::slices(object, n) or tarn::rows<T>(object), for one that takes a span, text or an
  // object; or a container of values. The other arguments are those of each call: what submit
  // takes, and const in the task.
  //
  // Waits until all is done. Also in a task, with its client. If an element fails throws map_error,
  // which says which; those that have not begun never do. An element whose worker dies is run again
  // as the options say, and those that were in a chunk with it as well: with retries = -1 the map
  // fails instead, and knows only the chunk. A deadline is for all of the map; a timeout is
  // refused. Throws also as submit and put. Since 0.1.
  template <class R, class P, class... Ps, class Source, class... As>
  auto map(R (*task)(P, Ps...), const Source& source, As&&... others)  //
      requires detail::mapped_source<Source, P> && detail::arguments_for<std::tuple<Ps...>, As...> {
    return map(task_options{}, task, source, std::forward<As>(others)...);
  }
  template <class R, class P, class... Ps, class Source, class... As>
  auto map(const task_options& options, R (*task)(P, Ps...), const Source& source,
           As&&... others)  //
      requires detail::mapped_source<Source, P> && detail::arguments_for<std::tuple<Ps...>, As...> {
    using element = std::remove_cvref_t<P>;
    using result = std::remove_cvref_t<R>;
    static_assert(detail::is_mappable_v<R (*)(P, Ps...)>,
                  "tarn: this task cannot be mapped: its parameters and its result must travel "
                  "inside of other values");
    const detail::task_entry& entry =
        detail::task_table::instance().find(reinterpret_cast<detail::any_function>(task));
    if (entry.map_id == 0) {
      detail::raise(TARN_E_NO_TASK, std::string("the task ") + entry.name +
                                        " cannot be mapped: its name is too long");
    }
    if (options.timeout != nanoseconds(0)) {
      detail::raise(
          TARN_E_ARGUMENT,
          "map: a timeout is for one run, and elements have none of their own; use a deadline");
    }
    if (options.repeatable) {
      detail::raise(TARN_E_ARGUMENT,
                    "map: how many elements a run takes is a matter of time, so none is repeatable");
    }
    tarn_needs needs;
    tarn_submit_options how = to_c(options, needs);
    how.signature = entry.signature;
    detail::map_collection<result> results;
    detail::map_input input = detail::make_input<element>(*this, source);
    if (input.count != 0) {
      [&](const auto&... sent) {
        detail::map_run run(handle(), entry, how, input.order,
                            {tarn_arg{}, input.argument, sent.arg()...});
        run.run(input.count,
                [&](auto first, auto count, auto bytes) { results.take(first, count, bytes); });
      }(detail::send<Ps>(std::forward<As>(others))...);
    }
    return results.all(input.count);
  }

  // Chosen when `source` has no elements that the task takes (indices are for numbers, an object as
  // it is for plain values, slices and rows for spans, text and objects), or the others do not fit
  // its other parameters.
  template <class R, class... Ps, class Source, class... As>
  void map(R (*task)(Ps...), const Source& elements_or_arguments_that_do_not_fit_the_task,
           As&&... others) = delete;
  template <class R, class... Ps, class Source, class... As>
  void map(const task_options& options, R (*task)(Ps...),
           const Source& elements_or_arguments_that_do_not_fit_the_task, As&&... others) = delete;
  // Chosen for a container of objects or futures, each of which is worth a task of its own.
  template <class R, class... Ps, detail::handle_container Source, class... As>
  void map(R (*task)(Ps...), const Source& for_objects_and_futures_there_is_submit_many,
           As&&... others) = delete;
  template <class R, class... Ps, detail::handle_container Source, class... As>
  void map(const task_options& options, R (*task)(Ps...),
           const Source& for_objects_and_futures_there_is_submit_many, As&&... others) = delete;

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
    return put_bytes(bytes_to_put(value), nullptr);
  }

  // The same, with a type, a label, metadata or a placement. Throws bad_argument, over_limit.
  // Since 0.1.
  template <class T>
  [[nodiscard]] object put(const T& value, const object_options& options) {
    return put_bytes(bytes_to_put(value), &options);
  }

  // Puts each element of the container `values`, which is what put takes, into an object of its own,
  // in their order; the options hold for each. Blocks as put does. Throws as put; then none of the
  // objects is left. Since 0.1.
  template <class Values>
  [[nodiscard]] std::vector<object> put_many(const Values& values,
                                             const object_options& options = {}) {
    static_assert(std::is_lvalue_reference_v<decltype(*std::begin(values))>,
                  "tarn: put_many reads the elements where they are; give it a container of them");
    std::vector<tarn_bytes> data;
    for (const auto& value : values) data.push_back(bytes_to_put(value));
    std::vector<tarn_object> handles(data.size());
    std::vector<object> objects;
    objects.reserve(data.size());
    const tarn_object_options c = detail::to_c(options);
    std::size_t done = 0;
    const int result =
        ::tarn_put_many(opened().handle(), data.data(), data.size(), &c, handles.data(), &done);
    for (std::size_t i = 0; i < done; ++i) objects.emplace_back(opened(), handles[i]);
    detail::check(result);
    return objects;
  }

  // The bytes of each, in their order and in place: as object.view() of each, and valid as long.
  // Blocks only for those that come back from disk. Throws as view(), for the first that fails;
  // those before it are as if they had been viewed. Since 0.1.
  [[nodiscard]] std::vector<std::string_view> get_many(std::span<const object> objects) const {
    std::vector<tarn_object> handles;
    handles.reserve(objects.size());
    for (const object& one : objects) {
      static_cast<void>(one.open_client());  // says why it cannot be
      handles.push_back(one.handle());
    }
    std::vector<tarn_bytes> bytes(objects.size());
    std::vector<std::string_view> views;
    views.reserve(objects.size());
    std::size_t done = 0;
    const int result =
        ::tarn_get_many(opened().handle(), handles.data(), handles.size(), bytes.data(), &done);
    for (std::size_t i = 0; i < done; ++i) {
      objects[i].keep_one_pin();
      views.emplace_back(static_cast<const char*>(bytes[i].data), bytes[i].size);
    }
    detail::check(result);
    return views;
  }
  // The bytes of objects that are about to go would go with them.
  std::vector<std::string_view> get_many(std::vector<object>&&) const = delete;

  // Gives the references of all back, in their order, and leaves them empty; those that are empty
  // stay so. Does not block. Throws error for the first that is not this client's: those before it
  // are empty, and no view is valid any more. Since 0.1.
  void release_many(std::span<object> objects) {
    static_cast<void>(opened());
    std::vector<tarn_object> handles;
    std::vector<object*> held;
    for (object& one : objects) {
      if (one.session_ == nullptr) continue;
      if (one.session_ == session_) one.unpin();
      held.push_back(&one);
      handles.push_back(one.handle());
    }
    std::size_t done = 0;
    const int result = ::tarn_release_many(handle(), handles.data(), handles.size(), &done);
    for (std::size_t i = 0; i < done; ++i) {
      held[i]->session_ = nullptr;  // the reference is gone
      held[i]->handle_ = {};
    }
    detail::check(result);
  }

  // Whether this process holds the object that `handle`, of this client, stands for: one of
  // objects() may be gone by now. Does not block. Since 0.1.
  [[nodiscard]] bool exists(tarn_object handle) const {
    return detail::check(::tarn_object_exists(opened().handle(), handle)) != 0;
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
    return create_array<T>(shape, array_options{.in = in, .label = label, .placement = placement});
  }

  // The same, with strides, an offset, a label or a placement: the object has as many bytes as that takes. Throws
  // bad_argument if an element would lie before the object, or where a T cannot, or if the strides
  // are not as many as the dimensions; over_limit. Elements may share their place. Since 0.1.
  template <class T>
  [[nodiscard]] auto create_array(const std::vector<std::uint64_t>& shape,
                                  const array_options& options) {
    // As a constraint, not every compiler would name it.
    static_assert(array_element<T>,
                  "tarn: the elements of an array are bool, numbers or complex numbers of fixed size");
    tarn_array_layout layout{};
    layout.size = sizeof layout;
    std::uint64_t bytes;
    detail::check(::tarn_array_contiguous(
        detail::dtype_of<T>(),
        static_cast<std::uint32_t>(std::min<std::size_t>(shape.size(), 1000)), shape.data(),
        static_cast<std::uint32_t>(options.in), &layout, &bytes));
    bytes = detail::place_array(layout, options, sizeof(T));
    if (!detail::lies_aligned<T>(layout)) {
      detail::raise(TARN_E_ARGUMENT,
                    "the offset and the strides of the array must be multiples of " +
                        std::to_string(alignof(T)) + " bytes");
    }
    bytes = (bytes + sizeof(T) - 1) / sizeof(T) * sizeof(T);
    char metadata[TARN_ARRAY_METADATA_MAX];
    std::size_t size;
    detail::check(::tarn_array_describe(&layout, bytes, metadata, sizeof metadata, &size));
    return array_writer<T>(
        create<T>(bytes / sizeof(T),
                  {TARN_TYPE_ARRAY, options.label, {metadata, size}, options.placement}),
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
    detail::check(::tarn_object_from_file(opened().handle(), detail::c_text(path, "the path"),
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
  friend client& this_task::client();

  explicit client(session& opened) : session_(&opened) {}

  // Refers to `options` and `needs`, which it sets.
  static tarn_submit_options to_c(const task_options& options, tarn_needs& needs) {
    if (options.window.items != 0 || options.window.bytes != 0) {
      detail::raise(TARN_E_ARGUMENT, "task_options: window is for tasks that yield");
    }
    tarn_submit_options how{};
    how.size = sizeof how;
    how.retries = options.retries;
    how.timeout_ns = options.timeout.count();
    how.deadline_ns = options.deadline.count();
    how.priority = options.priority;
    how.retry_on_error = options.on_error.get();
    how.labels = detail::c_text(options.labels, "the labels");
    needs = {};
    needs.size = sizeof needs;
    needs.memory = options.memory;
    needs.cores = options.cores;
    needs.where = options.at.where;
    needs.where_number = options.at.number;
    needs.is_strict = options.at.is_strict ? 1 : 0;
    needs.resources = options.resources.empty() ? nullptr : detail::c_text(options.resources, "the resources");
    how.needs = &needs;
    how.flags = options.repeatable ? std::uint32_t{TARN_TASK_REPEATABLE} : 0;
    return how;
  }

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

  // Where the bytes of `value` are: in it, or where it refers to.
  template <class T>
  static tarn_bytes bytes_to_put(const T& value) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return detail::bytes_of(std::string_view(value));
    } else if constexpr (detail::raw<T>) {
      return detail::bytes_of(value);
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
          return detail::bytes_of(std::span(std::data(value), std::size(value)));
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

inline client& this_task::client() {
  tarn_client* handle = ::tarn_call_client(detail::require_call());
  if (handle == nullptr) {
    detail::raise(TARN_E_NOT_IN_TASK, "this worker cannot hold objects, and so not submit tasks; see docs/limits.md");
  }
  // For as long as the process: it is not this task's.
  static tarn::client& of_worker = *new tarn::client(session::of_worker(handle));
  return of_worker;
}

template <class P, class Values>
detail::map_input detail::packed_input(tarn::client& client, const Values& values) {
  map_input input;
  if constexpr (plain<P>) {
    std::vector<std::byte> bytes;
    for (const auto& value : values) {
      const P element = value;
      const auto* begin = reinterpret_cast<const std::byte*>(&element);
      bytes.insert(bytes.end(), begin, begin + sizeof element);
      ++input.count;
    }
    input.order.source = map_source::slices;
    input.order.stride = sizeof(P);
    input.order.end = bytes.size();
    take_object(input, client.put(bytes));
  } else {
    const auto encode = [](const auto& value) {
      const auto sent = send<P>(value);
      const tarn_bytes bytes = sent.arg().u.value;
      const auto* begin = static_cast<const std::byte*>(bytes.data);
      return std::vector<std::byte>(begin, begin + bytes.size);
    };
    input.order.source = map_source::packed;
    input.count = static_cast<std::uint64_t>(std::distance(std::begin(values), std::end(values)));
    std::vector<std::uint64_t> table;
    std::vector<std::byte> encoded;
    for (const auto& value : values) {
      const std::vector<std::byte> bytes = encode(value);
      encoded.resize((encoded.size() + 7) / 8 * 8);
      table.push_back(input.count * 16 + encoded.size());
      encoded.insert(encoded.end(), bytes.begin(), bytes.end());
      table.push_back(input.count * 16 + encoded.size());
    }
    const std::size_t table_size = table.size() * sizeof table[0];
    take_object(input, client.create<std::byte>(table_size + encoded.size())
                           .fill([&](std::span<std::byte> memory) {
                             if (input.count == 0) return;
                             std::memcpy(memory.data(), table.data(), table_size);
                             std::memcpy(memory.data() + table_size, encoded.data(),
                                         encoded.size());
                           })
                           .seal());
  }
  return input;
}

inline graph::graph(const client& of, const graph_options& options) : session_(&of.opened()) {
  tarn_graph_options how{};
  how.size = sizeof how;
  how.retries = options.retries;
  detail::check(::tarn_graph_create(of.handle(), &how, &graph_));
}

// In the program as the user started it: connects to a daemon, starting a private one if need be,
// and starts workers. In a worker process: serves tasks and does not return. `argc` and `argv` are
// those of main. Throws no_daemon, denied, timed_out, bad_argument (also for a task that was
// defined twice). Since 0.1.
[[nodiscard]] inline client init(int argc, char** argv, const options& options = {}) {
  detail::task_table::instance().throw_refusal();
  tarn_options c{};
  c.size = sizeof c;
  c.address = options.address.empty() ? nullptr : detail::c_text(options.address, "the address");
  c.name = options.name.empty() ? nullptr : detail::c_text(options.name, "the name");
  c.workers = options.workers;
  c.output = static_cast<std::uint32_t>(options.prints);
  c.flags = options.no_workers ? TARN_INIT_NO_WORKERS : 0;
  c.timeout_ns = options.timeout.count();
  c.resources = options.resources.empty() ? nullptr : detail::c_text(options.resources, "the resources");
  tarn_client* handle = nullptr;
  detail::check(::tarn_init(&handle, &argc, &argv, &c));
  return client(handle);
}

}  // namespace tarn
