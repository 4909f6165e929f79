// tarn_client: what a program holds of one session. The api_*.cpp files are its functions.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include "base/error.hpp"
#include "events.hpp"
#include "fetcher.hpp"
#include "os/process.hpp"
#include "session.hpp"
#include "store/store.hpp"
#include "task/graphs.hpp"
#include "task/submitter.hpp"
#include "tarn/tarn.h"

struct tarn_client {
  tarn_client()
      : store(session), submitter(session.view(), store), graphs(session.view(), store, submitter), fetcher(submitter) {}

  bool is_worker = false;  // the one that tasks have, of their worker,
  pthread_t thread{};      // and the thread that runs them
  pid_t pid = 0;
  uint64_t origin = 0;  // of its objects, as their handles name it
  tarn::client::Events events;
  tarn::client::Session session;
  tarn::store::Store store;
  tarn::task::Submitter submitter;
  tarn::task::Graphs graphs;
  tarn::client::Fetcher fetcher;
};

namespace tarn::client {

// Nearly always: a client that the program opened itself, in the process that opened it.
inline bool is_plain(const tarn_client* client) {
  return client != nullptr && os::fork_count == 0 && !client->is_worker;
}

// Whether `client` may be used here. Every function that takes a client begins with it.
[[nodiscard]] int check_unusual_client(const tarn_client* client);
[[nodiscard]] inline int check_client(const tarn_client* client) {
  return is_plain(client) ? 0 : check_unusual_client(client);
}

// And those that a task cannot use.
[[nodiscard]] int check_unusual_outside(const tarn_client* client);
[[nodiscard]] inline int check_outside(const tarn_client* client) {
  return is_plain(client) ? 0 : check_unusual_outside(client);
}

// Whether a task may still be defined: not while a session is open, nor in a worker.
[[nodiscard]] int check_before_init(const char* task);

// Between the handles of tarn.h and the references of the store.
[[nodiscard]] int object_ref(const tarn_client& client, const tarn_object& handle, shm::ObjectRef& out);
[[nodiscard]] tarn_object object_handle(const tarn_client& client, const shm::ObjectRef& ref);

// Whether an argument of that name is there, and whether a struct of the caller's is as large as this library fills or reads.
inline int check_pointer(const void* pointer, const char* name) {
  return pointer != nullptr ? 0 : fail(TARN_E_ARGUMENT, "%s is NULL", name);
}
template <class Struct>
int check_struct(const Struct* given, const char* name, const char* type) {
  if (int r = check_pointer(given, name); r < 0) return r;
  if (given->size >= sizeof *given) return 0;
  return fail(TARN_E_ARGUMENT, "%s->size is %zu; set it to sizeof(%s), here %zu", name, given->size, type, sizeof *given);
}
// Whether `size` bytes, of an argument of that name, can be read.
inline int check_bytes(const void* data, size_t size, const char* name, const char* size_name) {
  if (data != nullptr || size == 0) return 0;
  return fail(TARN_E_ARGUMENT, "%s is NULL, but %s is %zu", name, size_name, size);
}

// Makes an object; once more if there was no room and results of futures that were released early can go by now.
template <class Make>
int make_with_room(tarn_client& client, Make make) {
  ErrorGuard guard;  // also for what the store was refused before it asked for less
  int r = make();
  bool is_full = r == TARN_E_STORE_FULL || r == TARN_E_QUOTA;
  if (is_full) client.graphs.tidy();
  return guard.end(is_full && client.submitter.reap_all() != 0 ? make() : r);
}

// What the options of a new object of `size` bytes say, in place; nothing for NULL.
[[nodiscard]] int object_meta(const tarn_object_options* options, uint64_t size, store::ObjectMeta& out,
                              store::Placement& placement);

}  // namespace tarn::client
