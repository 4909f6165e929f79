// task.hpp: functions as tasks.
//
// TARN_TASK(f) defines f under the name written there. It stands in a source file after f, at
// namespace scope, so that it runs before main() in the client and in every worker.
//
// In a worker, task<f>::run turns the arguments' bytes into f's parameters, calls it, and turns the
// result into bytes; an exception becomes the task's error, with its type and text. In the client,
// the same types turn the arguments into bytes.
//
// Thread safety: tasks are defined before main() and only read afterwards.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/future.hpp>
#include <tarn/object.hpp>
#include <tarn/results.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace tarn {

template <class T>
class yielder;  // stream.hpp

// A worker process and where it runs.
struct slot {
  unsigned number;           // from 0, as `tarn slots` shows it
  int pid;                   // of the worker
  int core;                  // the first of its cores
  int node;                  // its NUMA node
  std::uint64_t tasks_done;  // by this worker process, since it started
};

namespace detail {

inline slot to_slot(const tarn_slot_info& info) noexcept {
  return {info.slot, info.pid, info.core, info.node, info.tasks_done};
}

inline thread_local constinit const tarn_call* current_call = nullptr;

inline const tarn_call* require_call() {
  if (current_call == nullptr) raise(TARN_E_STATE, "no task is running in this thread");
  return current_call;
}

}  // namespace detail

// What a task can ask about the run that it is in. Outside of a task these throw error
// (TARN_E_STATE).
namespace this_task {

// The worker that runs it. Since 0.1.
[[nodiscard]] inline tarn::slot slot() {
  tarn_slot_info info{};
  info.size = sizeof info;
  detail::check(::tarn_call_get_slot(detail::require_call(), &info));
  return detail::to_slot(info);
}

// Which attempt this is, from 1. Since 0.1.
[[nodiscard]] inline std::uint32_t attempt() {
  return ::tarn_call_attempt(detail::require_call());
}

// Whether nobody wants its result any more: it was cancelled, or its time is over. Costs a load.
// Since 0.1.
[[nodiscard]] inline bool is_cancelled() {
  return ::tarn_call_cancelled(detail::require_call()) != 0;
}

// Throws `cancelled`, which ends the task, if it is. Since 0.1.
inline void end_if_cancelled() {
  if (is_cancelled()) detail::raise(TARN_E_CANCELLED, "the task saw that it was cancelled");
}

}  // namespace this_task

namespace detail {

// ---- Which tasks there are ----------------------------------------------------------------------

using any_function = void (*)();

struct task_entry {
  any_function function;
  tarn_task id;
  std::uint32_t signature;
  const char* name;
  tarn_task map_id;  // runs it for many elements (map_chunk.hpp); 0: there is no such task
};

// Every task of this program, ordered by function.
class task_table {
 public:
  static task_table& instance() {
    static task_table table;
    return table;
  }

  // Cannot throw before main(): a refusal is kept for tarn::init. `map_body` may be NULL.
  void add(const char* name, any_function function, tarn_task_fn body, std::uint32_t signature,
           tarn_task_fn map_body) {
    const auto at = lower_bound(function);
    const tarn_task id = ::tarn_task_id(name);
    if (at != entries_.end() && at->function == function && at->id == id) return;  // from a header
    if (::tarn_task_define_typed(name, body, signature, nullptr) < 0) {
      if (refusal_.empty()) refusal_ = ::tarn_last_error();
      return;
    }
    entries_.insert(at, {function, id, signature, name, add_map(name, map_body, signature)});
  }

  [[nodiscard]] const task_entry& find(any_function function) {
    const auto at = lower_bound(function);
    if (at == entries_.end() || at->function != function) {
      raise(TARN_E_NO_TASK, "this function is no task; write TARN_TASK(...) after it");
    }
    return *at;
  }

  void throw_refusal() const {
    if (!refusal_.empty()) raise(TARN_E_ARGUMENT, refusal_);
  }

 private:
  // Tools show it under that name. One that cannot be had, for the name is too long, is missed by
  // map alone.
  static tarn_task add_map(const char* name, tarn_task_fn body, std::uint32_t signature) {
    const std::string map_name = std::string("map(") + name + ")";
    if (body == nullptr ||
        ::tarn_task_define_typed(map_name.c_str(), body, signature, nullptr) < 0) {
      return 0;
    }
    return ::tarn_task_id(map_name.c_str());
  }

  std::vector<task_entry>::iterator lower_bound(any_function function) {
    return std::lower_bound(entries_.begin(), entries_.end(), function,
                            [](const task_entry& entry, any_function wanted) {
                              return std::less<>()(entry.function, wanted);
                            });
  }

  std::vector<task_entry> entries_;
  std::string refusal_;
};

// ---- In the worker ------------------------------------------------------------------------------

inline std::string readable(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return name != nullptr ? name.get() : mangled;
}

// Ends a task with the exception that is being handled; the type comes from the runtime, because
// programs without RTTI throw, too.
inline int fail_with_current(tarn_call* call, int code, const char* what) noexcept {
  const std::type_info* type = abi::__cxa_current_exception_type();
  const std::string name = type != nullptr ? readable(type->name()) : "";
  return ::tarn_call_fail(call, code, name.c_str(), "%s", what);
}

// Calls `body`, within the call as this_task sees it, and makes an exception that leaves it the
// task's error.
template <class Body>
int run_guarded(tarn_call* call, Body body) {
  const auto run = [call, &body]() -> int {
    try {
      return body();
    } catch (const error& e) {
      return fail_with_current(call, e.code(), e.what());
    } catch (const std::exception& e) {
      return fail_with_current(call, TARN_E_TASK_FAILED, e.what());
    } catch (const char* text) {
      return fail_with_current(call, TARN_E_TASK_FAILED, text != nullptr ? text : "");
    } catch (const std::string& text) {
      return fail_with_current(call, TARN_E_TASK_FAILED, text.c_str());
    } catch (...) {
      return fail_with_current(call, TARN_E_TASK_FAILED, "an exception without a text");
    }
  };
  const tarn_call* outer = std::exchange(current_call, call);
  const int code = run();
  current_call = outer;
  return code;
}

template <class P>
P decode_argument(tarn_call* call, std::size_t index) try {
  const tarn_bytes bytes = ::tarn_call_arg(call, index);
  if constexpr (std::is_same_v<P, object>) {
    return object::of_argument(bytes, call, index);
  } else {
    return decode_whole<P>(bytes);
  }
} catch (const type_error& e) {
  throw type_error(e.code(), "argument " + std::to_string(index + 1) + ": " + e.what());
}

template <class R>
void return_result(tarn_call* call, const R& result) {
  if constexpr (is_results_v<R>) {
    return_parts(call, result);
  } else if constexpr (raw<R>) {
    const tarn_bytes bytes = bytes_of(result);
    check(::tarn_call_return(call, bytes.data, bytes.size));
  } else {
    void* place;
    check(::tarn_call_return_buffer(call, encoded_size(result), &place));
    encoder(static_cast<std::byte*>(place)).write(result);
  }
}

// What can be said of a task's type alone. Its name is in the type, and so in every message.
template <auto Function, class Type = decltype(Function)>
struct task {
  static_assert(
      !std::is_class_v<Type>,
      "tarn: a lambda cannot be a task, for it has no name in the worker; write a function");
  static_assert(
      !std::is_member_function_pointer_v<Type>,
      "tarn: a member function cannot be a task; write a function that takes the object's "
      "data");
  static_assert(std::is_class_v<Type> || std::is_member_function_pointer_v<Type>,
                "tarn: TARN_TASK takes the name of a function");
};

template <class T>
inline constexpr bool is_yielder_v = false;
template <class T>
inline constexpr bool is_yielder_v<yielder<T>> = true;

template <class... Ps>
struct parameters {
  // The code of a task whose body is `use`, called with the arguments of `call`.
  template <class Use>
  static int pass(tarn_call* call, Use use) {
    return run_guarded(call, [call, use] {
      if (::tarn_call_arg_count(call) != sizeof...(Ps)) {
        return ::tarn_call_fail(call, TARN_E_TYPE, nullptr, "%zu arguments for %zu parameters",
                                ::tarn_call_arg_count(call), sizeof...(Ps));
      }
      decode(call, use, std::index_sequence_for<Ps...>());
      return 0;
    });
  }

 private:
  template <class Use, std::size_t... I>
  static void decode([[maybe_unused]] tarn_call* call, const Use& use, std::index_sequence<I...>) {
    std::tuple<std::remove_cvref_t<Ps>...> arguments{
        decode_argument<std::remove_cvref_t<Ps>>(call, I)...};
    use(static_cast<Ps&&>(std::get<I>(arguments))...);
  }
};

template <auto Function, class R, class... Ps>
struct task<Function, R (*)(Ps...)> {
  using result = std::remove_cvref_t<R>;

  static_assert((!is_yielder_v<std::remove_cvref_t<Ps>> && ...),
                "tarn: a task that yields returns nothing, and takes tarn::yielder<T>& first");
  static_assert(((!std::is_lvalue_reference_v<Ps> ||
                  std::is_const_v<std::remove_reference_t<Ps>>)&&...),
                "tarn: a task cannot change its arguments; take them by value or const reference");
  static_assert(
      ((std::is_same_v<std::remove_cvref_t<Ps>, object> || serializable<Ps>)&&...),
      "tarn: a parameter of this task cannot travel between processes; give it a tarn::codec");
  static_assert((!is_results_v<std::remove_cvref_t<Ps>> && ...),
                "tarn: a parameter cannot be tarn::results; take the parts that are needed");
  static_assert(
      std::is_void_v<result> || serializable<result>,
      "tarn: the result of this task cannot travel between processes; give it a tarn::codec");
  static_assert(std::is_void_v<result> || can_be_returned_v<result>,
                "tarn: a result cannot hold views; return std::string or std::vector in there");

  static constexpr std::uint32_t signature = signature_of<result, Ps...>();

  static int run(tarn_call* call) {
    return parameters<Ps...>::pass(call, [&](Ps&&... arguments) {
      if constexpr (std::is_void_v<result>) {
        Function(static_cast<Ps&&>(arguments)...);
      } else {
        return_result<result>(call, Function(static_cast<Ps&&>(arguments)...));
      }
    });
  }
};

template <auto Function, class R, class... Ps>
struct task<Function, R (*)(Ps...) noexcept> : task<Function, R (*)(Ps...)> {};

// The task that runs it for many elements, NULL for functions that cannot be mapped: map_chunk.hpp.
template <auto Function>
tarn_task_fn map_body() noexcept;

template <auto Function>
bool define(const char* name) {
  using types = task<Function>;
  if constexpr (requires { types::signature; }) {
    task_table::instance().add(name, reinterpret_cast<any_function>(Function), &types::run,
                               types::signature, map_body<Function>());
  }
  return true;
}

// ---- In the client ------------------------------------------------------------------------------

template <class A>
inline constexpr bool is_object_v = std::is_same_v<std::remove_cvref_t<A>, object>;

template <class A, class P>
inline constexpr bool future_fits_v = false;
template <class R, class P>
inline constexpr bool future_fits_v<future<R>, P> = same_bytes<R, P>;
template <raw R>
inline constexpr bool future_fits_v<future<R>, object> = true;
template <class R, class P>
inline constexpr bool future_fits_v<part<R>, P> = same_bytes<R, P>;
template <raw R>
inline constexpr bool future_fits_v<part<R>, object> = true;

// A value that can be passed for a parameter: it converts as in a plain call.
template <class A, class P>
concept value_for =
    !std::is_same_v<P, object> && (std::convertible_to<A, view_t<P>> || std::convertible_to<A, P>);

// An object where bytes are wanted, the future or part of the very type, or a value.
template <class A, class Parameter, class P = std::remove_cvref_t<Parameter>>
concept argument_for = (is_object_v<A> && (raw<P> || std::is_same_v<P, object>)) ||
                       future_fits_v<std::remove_cvref_t<A>, P> || value_for<A, P>;

// Whether arguments of types As can be passed for the parameters in the tuple.
template <class Parameters, class... As>
inline constexpr bool arguments_fit_v = false;
template <class... Ps, class... As>
requires(sizeof...(Ps) ==
         sizeof...(As)) inline constexpr bool arguments_fit_v<std::tuple<Ps...>, As...> =
    (argument_for<As, Ps> && ...);

template <class Parameters, class... As>
concept arguments_for = arguments_fit_v<Parameters, As...>;

// How a value is kept while it is sent: in place where it can be.
template <class A, class P>
using held_t =
    std::conditional_t<array_shaped<P> && std::convertible_to<A, view_t<P>>, view_t<P>,
                       std::conditional_t<std::is_same_v<std::remove_cvref_t<A>, P>, const P&, P>>;

// A value on its way into the C interface.
template <class A, class P>
class sent_value {
 public:
  explicit sent_value(A&& value) : value_(static_cast<A&&>(value)) {
    if constexpr (!raw<P>) {
      encoded_.resize(encoded_size<P>(value_));
      encoder(encoded_.data()).write<P>(value_);
    }
  }

  [[nodiscard]] tarn_arg arg() const noexcept {
    if constexpr (raw<P>) {
      const tarn_bytes bytes = bytes_of(value_);
      return ::tarn_arg_value(bytes.data, bytes.size);
    } else {
      return ::tarn_arg_value(encoded_.data(), encoded_.size());
    }
  }

 private:
  struct nothing {};

  held_t<A, P> value_;
  [[no_unique_address]] std::conditional_t<raw<P>, nothing, std::vector<std::byte>> encoded_;
};

// A future on its way: it goes by its handle.
struct sent_handle {
  tarn_arg handle;
  [[nodiscard]] tarn_arg arg() const noexcept { return handle; }
};

// An object on its way. What is an argument of the task that sends it gets a handle for that long.
class sent_object {
 public:
  explicit sent_object(const object& sent) : handle_(sent.handle()) {
    if (!sent.is_argument()) return;
    kept_ = sent.keep();
    handle_ = kept_.handle();
  }
  [[nodiscard]] tarn_arg arg() const noexcept { return ::tarn_arg_object(handle_); }

 private:
  object kept_;
  tarn_object handle_;
};

template <class Parameter, class A>
auto send(A&& argument) {
  if constexpr (is_object_v<A>) {
    return sent_object(argument);
  } else if constexpr (is_future_v<std::remove_cvref_t<A>>) {
    return sent_handle{::tarn_arg_future(argument.handle())};
  } else if constexpr (is_part_v<std::remove_cvref_t<A>>) {
    return sent_handle{argument.arg()};
  } else {
    return sent_value<A&&, std::remove_cvref_t<Parameter>>(std::forward<A>(argument));
  }
}

// Submits with arguments that live until this returns.
template <class... Sent>
tarn_future submit(tarn_client* client, const task_entry& task, tarn_submit_options& options,
                   const Sent&... sent) {
  const std::array<tarn_arg, sizeof...(Sent)> args{sent.arg()...};
  options.signature = task.signature;
  tarn_future handle;
  check(::tarn_submit(client, task.id, args.data(), args.size(), &options, &handle));
  return handle;
}

}  // namespace detail
}  // namespace tarn

#include <tarn/map_chunk.hpp>

// Defines the function named in the parentheses as a task; its name is what stands there. After the
// function, at namespace scope: TARN_TASK(count_lines); TARN_TASK(stats::mean<double>); Since 0.1.
#define TARN_TASK(...)                                                \
  [[maybe_unused]] static const bool TARN_DETAIL_UNIQUE(tarn_task_) = \
      ::tarn::detail::define<(__VA_ARGS__)>(#__VA_ARGS__)

#define TARN_DETAIL_UNIQUE(prefix) TARN_DETAIL_UNIQUE_AT(prefix, __COUNTER__)
#define TARN_DETAIL_UNIQUE_AT(prefix, number) TARN_DETAIL_JOIN(prefix, number)
#define TARN_DETAIL_JOIN(prefix, number) prefix##number
