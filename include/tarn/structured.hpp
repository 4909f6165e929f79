// structured.hpp: maps, vectors and strings that are built inside an object and used there.
//
//   using Index = tarn::structure::map<tarn::structure::string, tarn::structure::vector<int>>;
//
//   tarn::object built = tarn::structured<Index>(client, 1 << 20, [](Index& index) {
//     index[tarn::structure::string("word", index.get_allocator())].push_back(7);
//   });
//
//   int count(const tarn::object& argument) {  // a task
//     const Index& index = tarn::view_structured<Index>(argument);
//     const auto found = index.find("word");
//     ...
//   }
//
// The containers are those of Boost.Container, with an allocator that takes memory from the object
// alone and links it by offsets, so that they are the same at every address. Nothing is encoded,
// decoded or copied. Needs the headers of Boost 1.74 or later, which tarn.hpp does not.
//
// The bytes: a head of 64 bytes, the value, and from the next multiple of 64 the memory of a
// managed_external_buffer of Boost.Interprocess, which has no lock. The head's magic is written
// last, by the seal: from then on an allocation throws, in every process. A value is never
// destroyed; its memory goes with the object.
//
// The head tells mistakes, not malice: an object is trusted like the program that made it. Types of
// one name, size and alignment count as the same.
//
// Thread safety: a value is built by one thread; once sealed, any number of threads may read it.
#pragma once

#include <tarn/tarn.hpp>

#include <boost/container/map.hpp>
#include <boost/container/scoped_allocator.hpp>
#include <boost/container/set.hpp>
#include <boost/container/string.hpp>
#include <boost/container/vector.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/offset_ptr.hpp>
#include <boost/version.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

static_assert(BOOST_VERSION >= 107400, "tarn: structured.hpp needs Boost 1.74 or later");

namespace tarn {
namespace detail {

// ---- The head of the bytes ----------------------------------------------------------------------

inline constexpr std::uint64_t kStructuredMagic = 0x6375727473726174;  // "tarstruc" as bytes
inline constexpr std::uint32_t kStructuredVersion = 1;
inline constexpr std::size_t kStructuredAlignment = 64;  // of the object, the value and the memory

struct structured_head {
  std::uint64_t magic;    // 0 until the object is sealed
  std::uint32_t version;  // of this layout
  std::uint32_t boost;    // BOOST_VERSION: another one may lay out its containers differently
  std::uint64_t size;     // of the object, in bytes
  std::uint64_t type;     // structured_type_word of the value's type
  std::uint64_t memory;   // where the managed memory begins, in bytes from here
  std::uint64_t reserved[3];
};
static_assert(sizeof(structured_head) == kStructuredAlignment);
static_assert(std::has_unique_object_representations_v<structured_head>);

using structured_buffer = boost::interprocess::managed_external_buffer;
using structured_manager = structured_buffer::segment_manager;

// Where the managed memory of a value of `size` bytes begins.
constexpr std::size_t structured_memory_at(std::size_t size) noexcept {
  const std::size_t end = sizeof(structured_head) + size;
  return (end + kStructuredAlignment - 1) / kStructuredAlignment * kStructuredAlignment;
}

inline structured_manager& structured_manager_of(structured_head& head) noexcept {
  return *reinterpret_cast<structured_manager*>(reinterpret_cast<std::byte*>(&head) + head.memory);
}

// Throws what an allocation gets that finds no room.
[[noreturn]] inline void raise_no_room(structured_head& head, std::size_t wanted) {
  raise(TARN_E_TOO_LARGE, "structured: no room for " + std::to_string(wanted) + " bytes more: " +
                              std::to_string(structured_manager_of(head).get_free_memory()) +
                              " of " + std::to_string(head.size) +
                              " bytes are free, in pieces; ask for a larger capacity");
}

inline void* structured_allocate(structured_head& head, std::size_t size, std::size_t alignment) {
  if (head.magic != 0) {
    raise(TARN_E_STATE,
          "structured: this object is sealed, and its containers can only be read; copy into those "
          "of std");
  }
  structured_manager& manager = structured_manager_of(head);
  // The manager adds to the size before it compares it with what it has.
  if (size > head.size) raise_no_room(head, size);
  void* place = alignment <= alignof(std::max_align_t)
                    ? manager.allocate(size, std::nothrow)
                    : manager.allocate_aligned(size, alignment, std::nothrow);
  if (place == nullptr) raise_no_room(head, size);
  return place;
}

// The allocator of one object, without what boost::container::scoped_allocator_adaptor adds.
template <class T>
class structured_allocator {
 public:
  using value_type = T;
  using pointer = boost::interprocess::offset_ptr<T>;
  using const_pointer = boost::interprocess::offset_ptr<const T>;
  using void_pointer = boost::interprocess::offset_ptr<void>;
  using const_void_pointer = boost::interprocess::offset_ptr<const void>;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;

  // Of no object: has no room at all.
  structured_allocator() noexcept = default;
  explicit structured_allocator(structured_head& head) noexcept : head_(&head) {}
  template <class U>
  structured_allocator(const structured_allocator<U>& other) noexcept : head_(other.head_) {}

  pointer allocate(size_type count) {
    if (head_ == nullptr) {
      raise(TARN_E_STATE,
            "structured: this container lies in no object; give it the get_allocator() of one that "
            "does");
    }
    if (count > SIZE_MAX / sizeof(T)) raise_no_room(*head_, SIZE_MAX);
    return pointer(static_cast<T*>(structured_allocate(*head_, count * sizeof(T), alignof(T))));
  }
  void deallocate(const pointer& place, size_type) noexcept {
    structured_manager_of(*head_).deallocate(place.get());
  }
  [[nodiscard]] size_type max_size() const noexcept { return PTRDIFF_MAX / sizeof(T); }

  // Makes an element. A container passes the allocator on to types that take it; an aggregate cannot
  // take it, and one that is made without a value would hold containers that lie in no object.
  template <class U, class... Args>
  void construct(U* place, Args&&... args);

  template <class U>
  bool operator==(const structured_allocator<U>& other) const noexcept {
    return head_ == other.head_;
  }

 private:
  template <class U>
  friend class structured_allocator;

  boost::interprocess::offset_ptr<structured_head> head_;
};

}  // namespace detail

// The containers of structured objects, and what makes others.
namespace structure {

// Takes memory of one object, and hands itself on to the elements of a container: strings in a
// vector need not be given it. An aggregate of containers that is made without a value has it, too:
// by map[key], try_emplace(key), emplace_back(), resize(n). Given as a value, `Entry{}`, it brings
// containers of its own, which lie in no object unless each was given the allocator, and throw error
// (TARN_E_STATE) when they need memory. A class that holds containers says
// `using allocator_type = tarn::structure::allocator<char>` and takes one as the last argument of
// its constructors. Allocating throws over_limit (TARN_E_TOO_LARGE) when the capacity is used up,
// and error (TARN_E_STATE) once the object is sealed. Since 0.1.
template <class T>
using allocator = boost::container::scoped_allocator_adaptor<detail::structured_allocator<T>>;

// Orders as < does, and text of every type as std::string_view: a key can be found by a literal or
// a std::string. Readers depend on it, for in a sealed object there is no room for a key to compare
// with. Since 0.1.
struct less {
  using is_transparent = void;

  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return seen(a) < seen(b);
  }

 private:
  template <class T>
  static decltype(auto) seen(const T& value) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return std::string_view(value);
    } else if constexpr (requires { std::string_view(value.data(), value.size()); }) {
      return std::string_view(value.data(), value.size());
    } else {
      return (value);
    }
  }
};

// Since 0.1.
using string = boost::container::basic_string<char, std::char_traits<char>, allocator<char>>;
template <class T>
using vector = boost::container::vector<T, allocator<T>>;
template <class Key, class Value, class Less = less>
using map = boost::container::map<Key, Value, Less, allocator<std::pair<const Key, Value>>>;
template <class Key, class Less = less>
using set = boost::container::set<Key, Less, allocator<Key>>;

// The characters, in place: valid for as long as the object. Since 0.1.
[[nodiscard]] inline std::string_view text(const string& value) noexcept {
  return {value.data(), value.size()};
}
std::string_view text(const string&& value) = delete;

}  // namespace structure

namespace detail {

// ---- Which types can lie in a structured object -------------------------------------------------

// The name of T as the compiler writes it, the same in all processes of one build.
template <class T>
consteval std::string_view type_name() {
  std::string_view name = __PRETTY_FUNCTION__;
  name.remove_prefix(name.find("T = ") + 4);
  return name.substr(0, std::min(name.find(';'), name.rfind(']')));
}

template <class T>
inline constexpr bool is_offset_ptr_v = false;
template <class T, class D, class O, std::size_t A>
inline constexpr bool is_offset_ptr_v<boost::interprocess::offset_ptr<T, D, O, A>> = true;

template <class T, class... Outer>
consteval bool stays_in_place();

template <class Types, class... Outer>
inline constexpr bool all_stay_in_place_v = false;
template <class... T, class... Outer>
inline constexpr bool all_stay_in_place_v<std::tuple<T...>, Outer...> =
    (stays_in_place<std::remove_reference_t<T>, Outer...>() && ...);

// Whether all of T lies where its bytes do, or is linked to them by offsets. `Outer` are the types
// that hold T. A type that cannot be looked into is taken at its word.
template <class T, class... Outer>
consteval bool stays_in_place() {
  using U = std::remove_cv_t<std::remove_all_extents_t<T>>;
  if constexpr ((std::is_same_v<U, Outer> || ...) || is_offset_ptr_v<U>) {
    return true;
  } else if constexpr (is_pointer_like_v<U> || std::is_polymorphic_v<U> || std::is_reference_v<T>) {
    return false;
  } else if constexpr (!std::is_void_v<typename parts<U>::types>) {
    return all_stay_in_place_v<typename parts<U>::types, U, Outer...>;
  } else if constexpr (type_name<U>().starts_with("std::")) {
    // Some of its containers keep plain pointers whatever their allocator says.
    return std::is_trivially_copyable_v<U>;
  } else if constexpr (requires {
                         typename U::allocator_type::pointer;
                         typename U::value_type;
                       }) {
    return !std::is_pointer_v<typename U::allocator_type::pointer> &&
           stays_in_place<typename U::value_type, U, Outer...>();
  } else if constexpr (listable<U>) {
    return all_stay_in_place_v<member_types_t<U>, U, Outer...>;
  } else {
    return true;
  }
}

template <class T>
inline constexpr bool takes_allocator_v = requires {
  typename T::allocator_type;
}
&&std::is_constructible_v<T, const structure::allocator<char>&>;

template <class Types>
inline constexpr bool any_takes_allocator_v = false;

// Whether T, or a member of it, is to be made with the allocator.
template <class T>
consteval bool wants_allocator() {
  if constexpr (takes_allocator_v<T>) {
    return true;
  } else if constexpr (std::is_void_v<typename parts<T>::types> && listable<T>) {
    return any_takes_allocator_v<member_types_t<T>>;
  } else {
    return false;
  }
}

template <class... M>
inline constexpr bool any_takes_allocator_v<std::tuple<M...>> =
    (wants_allocator<std::remove_cvref_t<M>>() || ...);

template <class T>
T make_structured(const structure::allocator<char>& allocator);

// A member of an aggregate on its way into it: made where it will lie.
template <class T, class... M>
T make_structured_of(const structure::allocator<char>& allocator, std::tuple<M...>*) {
  static_assert((!std::is_array_v<std::remove_reference_t<M>> && ...),
                "tarn: beside containers write std::array for an array");
  return T{make_structured<std::remove_reference_t<M>>(allocator)...};
}

// An empty T, whose containers use the allocator.
template <class T>
T make_structured(const structure::allocator<char>& allocator) {
  if constexpr (takes_allocator_v<T>) {
    return T(allocator);
  } else if constexpr (wants_allocator<T>()) {
    return make_structured_of<T>(allocator, static_cast<member_types_t<T>*>(nullptr));
  } else {
    static_assert(std::is_default_constructible_v<T>,
                  "tarn: a structured object begins empty; give this type a default constructor, "
                  "or an allocator_type and a constructor that takes it");
    return T();
  }
}

template <class T>
template <class U, class... Args>
void structured_allocator<T>::construct(U* place, Args&&... args) {
  if constexpr (sizeof...(Args) == 0 && wants_allocator<U>() && !takes_allocator_v<U>) {
    ::new (static_cast<void*>(place))
        U(make_structured<U>(structure::allocator<char>(structured_allocator<char>(*this))));
  } else {
    ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
  }
}

// A number made from the name, the size and the alignment of T.
template <class T>
consteval std::uint64_t structured_type_word() {
  std::uint64_t hash = 14695981039346656037u;
  const auto add = [&hash](std::uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
  for (const char c : type_name<T>()) add(static_cast<unsigned char>(c));
  add(sizeof(T));
  add(alignof(T));
  return hash;
}

template <class T>
consteval void check_structured() {
  static_assert(std::is_object_v<T> && !std::is_array_v<T> && !std::is_const_v<T>,
                "tarn: a structured object holds a value: no reference, no array, not const");
  static_assert(
      stays_in_place<T>(),
      "tarn: this type keeps data elsewhere (pointers, views, containers of std); build it "
      "of tarn::structure::string, vector, map, set and offset_ptr");
  static_assert(alignof(T) <= kStructuredAlignment, "tarn: objects are aligned to 64 bytes");
}

// Builds a value in `memory`, head and all.
template <class T, class Fill>
void build_structured(std::span<std::byte> memory, Fill&& fill) {
  constexpr std::size_t memory_at = structured_memory_at(sizeof(T));
  const std::size_t least = memory_at + structured_manager::get_min_size();
  if (memory.size() < least) {
    raise(TARN_E_TOO_LARGE, "structured: " + std::to_string(memory.size()) +
                                " bytes have no room for an empty " + std::string(type_name<T>()) +
                                "; ask for a capacity of at least " + std::to_string(least));
  }
  auto* head = ::new (memory.data()) structured_head{};
  head->version = kStructuredVersion;
  head->boost = BOOST_VERSION;
  head->size = memory.size();
  head->type = structured_type_word<T>();
  head->memory = memory_at;
  const structured_buffer buffer(boost::interprocess::create_only, memory.data() + memory_at,
                                 memory.size() - memory_at);
  const structure::allocator<char> allocator(structured_allocator<char>{*head});
  T* value = ::new (memory.data() + sizeof(structured_head)) T(make_structured<T>(allocator));
  std::invoke(std::forward<Fill>(fill), *value);
  head->magic = kStructuredMagic;
}

// Returns where the value lies. Throws type_error if it is none, or not of the type.
inline const void* find_structured(std::string_view bytes, std::uint64_t type,
                                   std::string_view name) {
  structured_head head{};
  if (bytes.size() >= sizeof head) std::memcpy(&head, bytes.data(), sizeof head);
  if (head.magic != kStructuredMagic) {
    raise(TARN_E_TYPE, "these " + std::to_string(bytes.size()) +
                           " bytes are no structured object; make one with tarn::structured");
  }
  if (head.version != kStructuredVersion || head.boost != BOOST_VERSION) {
    raise(TARN_E_TYPE, "this structured object was made by another version of Tarn or Boost");
  }
  if (head.size != bytes.size()) {
    raise(TARN_E_TYPE, "these " + std::to_string(bytes.size()) +
                           " bytes are a slice of a structured object of " +
                           std::to_string(head.size) + " bytes; it can only be used whole");
  }
  if (head.type != type) {
    raise(TARN_E_TYPE, "this structured object is no " + std::string(name));
  }
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % kStructuredAlignment != 0) {
    raise(TARN_E_TYPE, "a structured object lies at a multiple of 64 bytes, and these do not");
  }
  return bytes.data() + sizeof head;
}

}  // namespace detail

// Makes an object of `capacity` bytes, puts an empty T into it, calls fill(T&) to fill it in place,
// and seals it: from then on every process can use it in place, and a write by another one kills the
// writer. The containers take their memory from the object alone, which keeps all of its capacity;
// fill must not keep references to them. T is a container of tarn::structure, an aggregate of such, or a type with such an
// allocator_type. If fill throws, the object is dropped.
// Throws over_limit (TARN_E_TOO_LARGE) if the capacity does not suffice, with what was free;
// otherwise as client.create, and what fill throws. Since 0.1.
template <class T, std::invocable<T&> Fill>
[[nodiscard]] object structured(client& client, std::size_t capacity, Fill&& fill) {
  detail::check_structured<T>();
  static_assert(std::is_void_v<std::invoke_result_t<Fill, T&>>,
                "tarn: structured fills the value that it hands out; return nothing");
  return client.create<std::byte>(capacity)
      .fill([&fill](std::span<std::byte> memory) {
        detail::build_structured<T>(memory, std::forward<Fill>(fill));
      })
      .seal();
}

// Returns the value of a structured object, in place: valid for as long as `object` refers to it,
// as an argument until the task returns. Reads the head and nothing else; does not block. To look
// something up takes no memory, to copy a container does: copy into those of std.
// Throws type_error if the object is no structured one, is a slice of one, or holds another type;
// otherwise as object.view. Thread-safe for one object that nobody changes. Since 0.1.
template <class T>
[[nodiscard]] const T& view_structured(const object& object) {
  detail::check_structured<T>();
  return *std::launder(static_cast<const T*>(detail::find_structured(
      object.view(), detail::structured_type_word<T>(), detail::type_name<T>())));
}

// The value of an object that is about to go would go with it.
template <class T>
const T& view_structured(const object&& object) = delete;

}  // namespace tarn
