// graph.hpp: graphs of tasks, described once and run as often as wanted.
//
//   tarn::graph graph(client);
//   auto size = graph.parameter<int>();
//   auto left = graph.add(make_matrix, size, 1);         // node<matrix>
//   auto right = graph.add(make_matrix, size, 2);
//   auto product = graph.add(multiply, left, right);     // follows both; their results are its arguments
//   graph.set(size, 100);
//   graph.run();                                         // begins, and waits
//   matrix m = graph.get(product);
//
// The types of a node's arguments are checked when the program is compiled, as those of submit are.
//
// Thread safety: a graph is used by one thread at a time, except that any thread may cancel its run.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/future.hpp>
#include <tarn/object.hpp>
#include <tarn/session.hpp>
#include <tarn/task.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace tarn {

class client;
class graph;

// One of several results of a task in a graph, an argument for others. Two numbers, copied freely.
template <class T>
struct node_part {
  tarn_node number = TARN_GRAPH_ANY;
  std::uint32_t index = 0;
};

// A task in a graph, whose result is an R. A number, copied freely.
template <class R>
struct node {
  tarn_node number = TARN_GRAPH_ANY;

  // One of its several results. Since 0.1.
  template <std::size_t I>
  [[nodiscard]] node_part<std::tuple_element_t<I, R>> part()
      const noexcept requires detail::is_results_v<R> {
    return {number, I};
  }
};

// What a run of a graph is given. A number, copied freely.
template <class T>
struct parameter {
  std::uint32_t number = 0;
};

// How a node is run, and what it is called in errors.
struct node_options {
  std::string name = {};      // "": the task's
  std::int32_t priority = 0;  // TARN_PRIORITY_MIN to TARN_PRIORITY_MAX, the most urgent
  std::uint32_t cost = 1;     // in a unit of your choice: what lies on the longest way is run first
};

struct graph_options {
  std::int32_t retries = 0;  // of a node whose worker died; -1: never, 0: the default of 3
};

// The nodes of an inner graph as nodes of the outer one.
class included {
 public:
  included(tarn_node first, node<void> end) : first_(first), end_(end) {}

  // The outer graph's node for one of the inner graph. Since 0.1.
  template <class R>
  [[nodiscard]] node<R> operator[](node<R> inner) const noexcept {
    return {first_ + inner.number};
  }
  // Follows all of them. Since 0.1.
  [[nodiscard]] node<void> end() const noexcept { return end_; }

 private:
  tarn_node first_;
  node<void> end_;
};

namespace detail {

template <class R, class P>
inline constexpr bool future_fits_v<node<R>, P> = same_bytes<R, P>;
template <raw R>
inline constexpr bool future_fits_v<node<R>, object> = true;
template <class R, class P>
inline constexpr bool future_fits_v<node_part<R>, P> = same_bytes<R, P>;
template <raw R>
inline constexpr bool future_fits_v<node_part<R>, object> = true;
template <class T, class P>
inline constexpr bool future_fits_v<parameter<T>, P> = same_bytes<T, P>;
template <class P>
requires(raw<P> || std::is_same_v<P, object>)  //
    inline constexpr bool future_fits_v<parameter<object>, P> = true;

template <class A>
inline constexpr bool is_node_v = false;
template <class R>
inline constexpr bool is_node_v<node<R>> = true;
template <class A>
inline constexpr bool is_node_part_v = false;
template <class R>
inline constexpr bool is_node_part_v<node_part<R>> = true;
template <class A>
inline constexpr bool is_parameter_v = false;
template <class T>
inline constexpr bool is_parameter_v<parameter<T>> = true;

template <class Parameter, class A>
auto send_to_node(A&& argument) {
  using given = std::remove_cvref_t<A>;
  if constexpr (is_node_v<given>) {
    return sent_handle{::tarn_arg_node(argument.number)};
  } else if constexpr (is_node_part_v<given>) {
    return sent_handle{::tarn_arg_node_part(argument.number, argument.index)};
  } else if constexpr (is_parameter_v<given>) {
    return sent_handle{::tarn_arg_parameter(argument.number)};
  } else {
    return send<Parameter>(std::forward<A>(argument));
  }
}

}  // namespace detail

class graph {
 public:
  // An empty graph of that client. Since 0.1.
  inline explicit graph(const client& of, const graph_options& options = {});

  graph(graph&& other) noexcept
      : session_(std::exchange(other.session_, nullptr)),
        graph_(std::exchange(other.graph_, nullptr)),
        nodes_(other.nodes_),
        values_(std::move(other.values_)) {}
  graph& operator=(graph&& other) noexcept {
    graph taken(std::move(other));
    std::swap(session_, taken.session_);
    std::swap(graph_, taken.graph_);
    std::swap(nodes_, taken.nodes_);
    std::swap(values_, taken.values_);
    return *this;
  }
  // A run that goes on is cancelled. Since 0.1.
  ~graph() {
    if (graph_ != nullptr && detail::client_of(session_) != nullptr) ::tarn_graph_free(graph_);
  }

  // ---- Describing ----

  // Something that each run is given, by `set`. Since 0.1.
  template <class T>
  [[nodiscard]] tarn::parameter<T> parameter() {
    static_assert(std::is_same_v<T, object> || serializable<T>,
                  "tarn: a parameter of this type cannot travel between processes; give it a tarn::codec");
    values_.emplace_back();
    return {static_cast<std::uint32_t>(values_.size() - 1)};
  }

  // Adds a run of `task`. Each argument is what submit takes, a node whose result is of the parameter's
  // type, and which the new one then follows, or a parameter of that type; but no future. Throws error
  // (TARN_E_NO_TASK) without TARN_TASK(task), error (TARN_E_STATE) once it has run, over_limit. Since 0.1.
  template <class R, class... Ps, class... As>
  node<std::remove_cvref_t<R>> add(R (*task)(Ps...), As&&... arguments)  //
      requires detail::arguments_for<std::tuple<Ps...>, As...> {
    return add(node_options{}, task, std::forward<As>(arguments)...);
  }
  template <class R, class... Ps, class... As>
  node<std::remove_cvref_t<R>> add(const node_options& options, R (*task)(Ps...), As&&... arguments)  //
      requires detail::arguments_for<std::tuple<Ps...>, As...> {
    static_assert(((!detail::is_future_v<std::remove_cvref_t<As>> &&
                    !detail::is_part_v<std::remove_cvref_t<As>>)&&...),
                  "tarn: a graph runs many times, and a future is there once; make it a parameter");
    const detail::task_entry& entry =
        detail::task_table::instance().find(reinterpret_cast<detail::any_function>(task));
    return {add(entry.id, options, detail::send_to_node<Ps>(std::forward<As>(arguments))...)};
  }

  // Arguments that do not fit: too few, too many, or of another type. Deleted, so that the compiler
  // names the task's type and what was given.
  template <class R, class... Ps, class... As>
  void add(R (*task)(Ps...), As&&... arguments_that_do_not_fit_the_task) = delete;
  template <class R, class... Ps, class... As>
  void add(const node_options& options, R (*task)(Ps...), As&&... arguments_that_do_not_fit_the_task) = delete;

  // Has `after` begin when `before` has ended. Since 0.1.
  template <class A, class B>
  void add_edge(node<A> before, node<B> after) {
    detail::check(::tarn_graph_add_edge(opened(), before.number, after.number));
  }

  // Adds all of `inner`; its parameters, in the order in which they were made, become `arguments`: nodes
  // and parameters of this graph, values and objects, each of the very type. Since 0.1.
  template <class... As>
  included add_graph(const graph& inner, As&&... arguments) {
    if (sizeof...(As) != inner.values_.size()) {
      detail::raise(TARN_E_ARGUMENT, std::to_string(sizeof...(As)) + " arguments for an inner graph with " +
                                         std::to_string(inner.values_.size()) + " parameters");
    }
    return include(inner, detail::send_to_node<std::remove_cvref_t<As>>(std::forward<As>(arguments))...);
  }

  // Checks the graph as a whole, and fixes it. The first run does so as well. Throws error
  // (TARN_E_STUCK_GRAPH) that names the nodes that wait for one another. Since 0.1.
  void instantiate() { detail::check(::tarn_graph_instantiate(opened())); }

  // ---- Running ----

  // What the next runs are given. Since 0.1.
  template <class T, class A>
  void set(tarn::parameter<T> parameter, A&& value) requires detail::value_for<A, T> {
    const detail::sent_value<A&&, T> sent(std::forward<A>(value));
    const tarn_arg arg = sent.arg();
    const auto* data = static_cast<const std::byte*>(arg.u.value.data);
    value_at(parameter.number).bytes.assign(data, data + arg.u.value.size);
    value_at(parameter.number).is_set = true;
  }
  void set(tarn::parameter<object> parameter, const object& value) {
    value_at(parameter.number).held = value;
    value_at(parameter.number).is_object = true;
    value_at(parameter.number).is_set = true;
  }

  // Begins a run. Results of the one before, and views of them, become invalid. Throws error
  // (TARN_E_STATE) while it runs, bad_argument if a parameter was never set. Since 0.1.
  void start() {
    std::vector<tarn_arg> args;
    args.reserve(values_.size());
    for (const given& each : values_) {
      if (!each.is_set) {
        detail::raise(TARN_E_ARGUMENT, "parameter " + std::to_string(args.size()) +
                                           " of the graph was never set; call graph::set before it runs");
      }
      args.push_back(each.is_object ? ::tarn_arg_object(each.held.handle())
                                    : ::tarn_arg_value(each.bytes.data(), each.bytes.size()));
    }
    tarn_graph_info info{};
    info.size = sizeof info;
    detail::check(::tarn_graph_get_info(opened(), &info));
    args.resize(std::min<std::size_t>(args.size(), info.parameters));  // those behind are of no node
    detail::check(::tarn_graph_run(opened(), args.data(), args.size()));
  }

  // Waits until the run is over. Throws task_error for the first node that failed by itself,
  // cancelled, timed_out. Since 0.1.
  void wait(nanoseconds timeout = forever) { finish(::tarn_graph_wait(opened(), timeout.count())); }

  // start() and wait(). Since 0.1.
  void run(nanoseconds timeout = forever) {
    start();
    wait(timeout);
  }

  // Has the run end early; wait() then throws `cancelled`. False if it does not run. Since 0.1.
  bool cancel() {
    const int code = ::tarn_graph_cancel(opened());
    if (code == TARN_E_STATE) return false;
    detail::check(code);
    return true;
  }

  // ---- Results, after the run ----

  // A copy; views come as std::string or std::vector. Throws task_error if the node failed. Since 0.1.
  template <class R>
  detail::owner_t<R> get(node<R> of) {
    const tarn_bytes bytes = result(of.number);
    if constexpr (!std::is_void_v<R>) return detail::decode_result<detail::owner_t<R>>(bytes);
  }
  // In place: valid until the next run. Since 0.1.
  template <class R>
  [[nodiscard]] auto get_view(node<R> of) requires detail::array_shaped<R> {
    return detail::decode_whole<detail::view_t<R>>(result(of.number));
  }
  // As an object, which outlives the graph. Since 0.1.
  template <class R>
  [[nodiscard]] object get_object(node<R> of) requires detail::raw<R> {
    tarn_object handle;
    finish(::tarn_graph_result_object(opened(), of.number, &handle), of.number);
    return object(*session_, handle);
  }

  // For calls of the C interface; the graph stays this one's. Since 0.1.
  [[nodiscard]] tarn_graph* handle() const noexcept { return graph_; }

 private:
  struct given {
    std::vector<std::byte> bytes = {};
    object held = {};
    bool is_object = false;
    bool is_set = false;
  };

  tarn_graph* opened() const {
    if (graph_ == nullptr || detail::client_of(session_) == nullptr)
      detail::raise(TARN_E_NOT_INITIALISED, "the graph was moved from, or its client is closed");
    return graph_;
  }

  given& value_at(std::uint32_t number) {
    if (number >= values_.size())
      detail::raise(TARN_E_ARGUMENT, "the parameter is none of this graph");
    return values_[number];
  }

  template <class... Sent>
  tarn_node add(tarn_task task, const node_options& options, const Sent&... sent) {
    const std::array<tarn_arg, sizeof...(Sent)> args{sent.arg()...};
    tarn_node_options how{};
    how.size = sizeof how;
    how.name = options.name.c_str();
    how.priority = options.priority;
    how.cost = options.cost;
    tarn_node made;
    detail::check(::tarn_graph_add(opened(), task, args.data(), args.size(), &how, &made));
    nodes_ = made + 1;
    return made;
  }

  template <class... Sent>
  included include(const graph& inner, const Sent&... sent) {
    const std::array<tarn_arg, sizeof...(Sent)> args{sent.arg()...};
    tarn_graph_info info{};
    info.size = sizeof info;
    detail::check(::tarn_graph_get_info(inner.opened(), &info));
    tarn_node made;
    detail::check(::tarn_graph_add_graph(opened(), inner.opened(), args.data(),
                                         std::min<std::size_t>(args.size(), info.parameters), nullptr, &made));
    const tarn_node first = nodes_;
    nodes_ = made + 1;
    return included(first, node<void>{made});
  }

  tarn_bytes result(tarn_node of) {
    tarn_bytes bytes{};
    finish(::tarn_graph_result(opened(), of, &bytes), of);
    return bytes;
  }

  // Throws what happened to a node, if that is why the call failed.
  void finish(int code, tarn_node of = TARN_GRAPH_ANY) {
    if (code >= 0) return;
    if (code == TARN_E_TASK_FAILED || code == TARN_E_WORKER_CRASHED || code == TARN_E_DEPENDENCY ||
        code == TARN_E_NO_TASK || code == TARN_E_FILE_CHANGED) {
      tarn_task_error error{};
      error.size = sizeof error;
      if (::tarn_graph_error(opened(), of, &error) == 0) throw task_error(error);
    }
    detail::raise_last(code);
  }

  const session* session_ = nullptr;
  tarn_graph* graph_ = nullptr;
  tarn_node nodes_ = 0;
  std::vector<given> values_;
};

}  // namespace tarn
