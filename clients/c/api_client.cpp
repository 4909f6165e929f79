// tarn_init and what belongs to the session as a whole.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <span>

#include "base/error.hpp"
#include "base/options.hpp"
#include "client.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "os/stack.hpp"
#include "shm/word.hpp"
#include "task/executor.hpp"
#include "task/registry.hpp"
#include "wire/messages.hpp"

using namespace tarn;

namespace {

constexpr int64_t kInitTimeoutNs = 10'000'000'000;
constexpr size_t kStackSize = size_t{256} << 20;  // of a worker, for tasks within tasks; docs/limits.md
constexpr const char* kWorkerVariable = "TARN_WORKER_FD";

// Sessions that are open in process `sessions_pid`: a forked child begins anew.
std::mutex sessions_mutex;
uint32_t open_sessions = 0;
pid_t sessions_pid = 0;

void count_session(int change) {
  std::lock_guard lock(sessions_mutex);
  if (sessions_pid != getpid()) open_sessions = 0;
  sessions_pid = getpid();
  if (change > 0 || open_sessions > 0) open_sessions += static_cast<uint32_t>(change);
}

bool is_worker_process = false;  // set before the first task runs

// A task runs in this process; not so in a process that a task forked.
bool in_worker() { return is_worker_process && os::fork_count == 0; }

int not_in_task() {
  return fail(TARN_E_NOT_IN_TASK, "this is a worker process: a task has the client of its worker, from tarn_call_client "
                                  "(tarn::this_task::client() in C++), and no other");
}

// What is asked for, or the environment says.
int read_output_option(uint32_t& output) {
  constexpr const char* kNames[] = {"prefixed", "plain", "raw", "none"};
  if (output > TARN_OUTPUT_NONE) return fail(TARN_E_ARGUMENT, "tarn_options: output is %u; see enum tarn_output", output);
  const char* text = output == 0 ? secure_getenv("TARN_OUTPUT") : nullptr;
  if (text == nullptr || *text == '\0') return 0;
  for (uint32_t i = 0; i < std::size(kNames); ++i)
    if (strcmp(text, kNames[i]) == 0) output = i + 1;
  return output != 0 ? 0 : fail(TARN_E_ARGUMENT, "TARN_OUTPUT is '%s'; it must be prefixed, plain, raw or none", text);
}

// Options of tarn_init as given, with the defaults filled in.
int read_options(const tarn_options* given, tarn_options& options) {
  options = {};
  options.size = sizeof options;
  if (given != nullptr) {
    if (int r = check_options(given, given->size, sizeof options, "tarn_options"); r < 0) return r;
    options = *given;
  }
  if ((options.flags & ~uint32_t{TARN_INIT_NO_WORKERS}) != 0)
    return fail(TARN_E_ARGUMENT, "tarn_options: flags %#x has unknown bits", options.flags);
  uint64_t reserved = options.reserved2;
  for (uint64_t value : options.reserved) reserved |= value;
  if (reserved != 0) return fail(TARN_E_ARGUMENT, "tarn_options: reserved must be zero");
  if (int r = read_output_option(options.output); r < 0) return r;
  if (options.timeout_ns < -1)
    return fail(TARN_E_ARGUMENT,
                "tarn_options: timeout_ns is %lld; 0 is 10 s, and -1 waits for ever",
                static_cast<long long>(options.timeout_ns));
  if (options.timeout_ns == 0) options.timeout_ns = kInitTimeoutNs;
  if (options.address == nullptr) options.address = secure_getenv("TARN_ADDRESS");
  if (options.address == nullptr || *options.address == '\0') options.address = "auto";
  if (options.workers == 0) {
    if (const char* text = secure_getenv("TARN_WORKERS"); text != nullptr && *text != '\0') {
      char* end;
      errno = 0;
      unsigned long workers = strtoul(text, &end, 10);
      if (*end != '\0' || errno != 0 || workers == 0 || workers > UINT32_MAX)
        return fail(TARN_E_ARGUMENT, "TARN_WORKERS is '%s'; it must be a number from 1", text);
      options.workers = static_cast<uint32_t>(workers);
    }
  }
  constexpr uint32_t kWorkersMax = shm::kMembersMax - shm::kFirstWorker;
  if (options.workers > kWorkersMax)
    return fail(TARN_E_UNSATISFIABLE, "%u workers were asked for; a session may have %u", options.workers, kWorkersMax);
  return 0;
}

void prepare_process() {
  static const bool once = [] {
    if (os::membarrier_register()) shm::fences_are_symmetric = false;
    os::count_forks();
    client::Fetcher::define_task();
    return true;
  }();
  (void)once;
}

int ref_of_argument(void* context, const tarn_object& handle, shm::ObjectRef& out) {
  return client::object_ref(*static_cast<tarn_client*>(context), handle, out);
}

// What follows the WELCOME, in clients and workers alike.
int set_up(tarn_client& client) {
  const wire::Welcome& welcome = client.session.welcome();
  client.pid = getpid();
  client.origin = uint64_t{static_cast<uint32_t>(welcome.daemon_pid)} << 32 | welcome.session;
  client.submitter.set_object_of(ref_of_argument, &client);
  client.graphs.set_object_of(ref_of_argument, &client);
  client.graphs.set_workers(welcome.workers);
  client.store.set_keep_free(uint64_t{welcome.keep_free_mib} << 20);
  if (int r = client.store.init(welcome.member, welcome.session, client.session.view().own()); r < 0) return r;
  return client.submitter.init();
}

// A worker process: serves until tarnd is gone, and ends.
[[noreturn]] void serve(void* socket) {
  is_worker_process = true;
  auto client = std::unique_ptr<tarn_client>(new (std::nothrow) tarn_client);
  int r = client == nullptr ? fail(TARN_E_NO_MEMORY, "no memory for a worker") : 0;
  if (r == 0) {
    client->is_worker = true;
    client->thread = pthread_self();
    r = client->session.open_worker(Fd{*static_cast<int*>(socket)}, {&client->store, nullptr, nullptr, nullptr});
  }
  if (r == 0) {
    const wire::Welcome& welcome = client->session.welcome();
    r = set_up(*client);
    if (r == 0) {
      task::Executor executor(client->session.view(), client->store, welcome.slot, welcome.core, welcome.node);
      // Members whose bit there is not cannot hold what they would need to.
      if (store::holder_bit(welcome.member) != 0) r = executor.set_submitter(client->submitter, client.get());
      if (r == 0 && welcome.output_is_read != 0) r = executor.mark_output();
      executor.set_seat(welcome.seat, welcome.rank);
      client->session.set_executor(&executor);
      client->store.set_maker(executor);
      if (r == 0) r = client->session.say_ready();
      if (r == 0) r = executor.serve();
    }
  }
  if (r == TARN_E_DAEMON_GONE) _exit(0);
  fprintf(stderr, "tarn: worker %d: %s\n", static_cast<int>(getpid()), last_error());
  _exit(1);
}

// A program with more rights than its user (setuid, capabilities) is never a worker, nor told by the environment whom
// to trust: secure_getenv, here and everywhere in libtarn.
int worker_fd(int& fd) {
  const char* text = secure_getenv(kWorkerVariable);
  if (text == nullptr) return 0;
  char* end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < 0 || value > INT_MAX)
    return fail(TARN_E_ARGUMENT, "%s is '%s'; it is set by the spawn service and by nobody else", kWorkerVariable,
                text);
  // Processes that the worker starts are not workers.
  unsetenv(kWorkerVariable);
  fd = static_cast<int>(value);
  // Nor do programs that a task becomes or starts have its connection: it is how tarnd sees that the worker is no more.
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
    return fail_errno(TARN_E_ARGUMENT, "%s is '%s', which is no open descriptor", kWorkerVariable, text);
  return 1;
}

void on_broken(void* context, int code, const char* text) {
  auto& submitter = static_cast<tarn_client*>(context)->submitter;
  code == 0 ? submitter.mend() : submitter.set_broken(code, text, false);
}

void on_event(void* context, const wire::Event& event) { static_cast<tarn_client*>(context)->events.add(event); }

// For the tools only; names that do not fit are shown as numbers.
int tell_task_names(client::Session& session) {
  static char names[wire::kTaskNamesSizeMax];
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  return session.say_task_names(std::span<const char>(names).first(task::copy_task_names(names)));
}

}  // namespace

int client::check_unusual_client(const tarn_client* client) {
  if (client == nullptr && in_worker()) return not_in_task();
  if (client == nullptr) return fail(TARN_E_NOT_INITIALISED, "the client is NULL; call tarn_init first");
  if (os::fork_count != 0 && client->pid != getpid())
    return fail(TARN_E_FORKED, "the client belongs to process %d, this is %d, forked from it; call tarn_init here",
                static_cast<int>(client->pid), static_cast<int>(getpid()));
  // Whoever waits runs what he waits for, and only the task's own thread can: another one would wait for ever beside an idle worker.
  if (client->is_worker && pthread_equal(pthread_self(), client->thread) == 0) [[unlikely]]
    return fail(TARN_E_NOT_IN_TASK, "this is another thread than the task's; submit, wait and use objects in that one");
  return 0;
}

int client::check_unusual_outside(const tarn_client* client) {
  if (int r = check_client(client); r < 0) return r;
  return client->is_worker ? fail(TARN_E_NOT_IN_TASK, "a task waits by tarn_wait and tarn_result; it has no descriptor, callbacks or events") : 0;
}

int client::check_before_init(const char* task) {
  std::lock_guard lock(sessions_mutex);
  if (!in_worker() && (open_sessions == 0 || sessions_pid != getpid())) return 0;
  return fail(
      TARN_E_STATE,
      "task '%s' is defined after tarn_init, whose workers may not have it; define tasks before",
      task == nullptr ? "" : task);
}

int tarn_init(tarn_client** client, int* argc, char*** argv, const tarn_options* options) {
  prepare_process();
  if (in_worker()) return not_in_task();
  int fd = -1;
  int is_worker = worker_fd(fd);
  if (is_worker < 0) return is_worker;
  set_kill_role(is_worker > 0 ? "worker" : "client");
  if (is_worker > 0) os::run_on_large_stack(kStackSize, serve, &fd);

  if (client == nullptr) return fail(TARN_E_ARGUMENT, "client is NULL");
  ErrorGuard guard;  // that nobody answers at the host's address is no failure of `auto`
  tarn_options complete;
  if (int r = read_options(options, complete); r < 0) return r;
  auto made = std::unique_ptr<tarn_client>(new (std::nothrow) tarn_client);
  if (made == nullptr) return fail(TARN_E_NO_MEMORY, "no memory for a client");
  if (int r = made->session.open(complete, complete.address, argc != nullptr ? *argc : 0,
                                 argv != nullptr ? *argv : nullptr, {&made->store, on_broken, on_event, made.get()},
                                 os::deadline_after(complete.timeout_ns));
      r < 0)
    return r;
  made->events.set_event_fd(made->session.event_fd());
  if (int r = set_up(*made); r < 0) return r;
  made->store.set_maker(made->fetcher);
  if (int r = tell_task_names(made->session); r < 0) return r;
  if ((complete.flags & TARN_INIT_NO_WORKERS) != 0)
    made->submitter.set_broken(TARN_E_UNSATISFIABLE,
                               "this session has no workers (TARN_INIT_NO_WORKERS); submit with a client that has some", true);
  count_session(1);
  *client = made.release();
  return guard.end(0);
}

void tarn_close(tarn_client* client) {
  if (client == nullptr || client->is_worker || client->pid != getpid()) return;
  count_session(-1);
  ErrorGuard guard;  // nobody is told what a session that ends could not say any more
  client->session.close();
  delete client;
  (void)guard.end(0);
}

int tarn_client_fd(tarn_client* client) {
  if (int r = client::check_outside(client); r < 0) return r;
  return client->session.poll_fd().get();
}

int tarn_client_dispatch(tarn_client* client) {
  if (int r = client::check_outside(client); r < 0) return r;
  // First what tarnd has to say, then the futures and what happened here: those are served, tarnd or not. Futures before
  // events: they clear the event descriptor that an event sets.
  ErrorGuard guard;
  int gone = client->session.poll();
  client->graphs.tidy();
  if (guard.end(gone) < 0) guard.exchange();  // callbacks see what there was before, and what they are told themselves stays
  int called = client->submitter.dispatch(client, client->session.event_fd());
  called += client->events.dispatch(*client);
  if (called != 0 || gone >= 0) return called;
  guard.exchange();
  return gone;
}

int tarn_client_get_info(tarn_client* client, tarn_client_info* info) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_struct(info, "info", "tarn_client_info"); r < 0) return r;
  const wire::Welcome& welcome = client->session.welcome();
  info->workers = welcome.workers;
  info->is_private = welcome.is_private;
  info->daemon_pid = welcome.daemon_pid;
  info->session = welcome.session;
  return 0;
}

namespace {

// The worker lines are written by workers of this user; whatever they say is shown, nothing follows.
void read_slot(shm::WorkerLine& line, tarn_slot_info* info) {
  info->slot = line.slot.load(shm::kRelaxed);
  info->pid = static_cast<int32_t>(line.pid.load(shm::kAcquire));
  info->core = static_cast<int32_t>(line.core.load(shm::kRelaxed));
  info->node = static_cast<int32_t>(line.node.load(shm::kRelaxed));
  info->tasks_done = line.tasks_done.load(shm::kRelaxed);
}

}  // namespace

int tarn_client_get_slot(tarn_client* client, uint32_t index, tarn_slot_info* info) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_struct(info, "info", "tarn_slot_info"); r < 0) return r;
  uint32_t workers = client->session.welcome().workers;
  if (index >= workers) return fail(TARN_E_ARGUMENT, "there is no worker %u; the session has %u", index, workers);
  // Learn of workers that started since; without tarnd, what is known has to do.
  ErrorGuard guard;
  (void)client->session.poll();
  client->graphs.tidy();
  (void)guard.end(0);
  task::SessionView& view = client->session.view();
  uint32_t number = 0;
  for (uint32_t member = shm::kFirstWorker; member < view.members_end; ++member) {
    if (view.segments[member] == nullptr || view.board->workers[member].pid.load(shm::kAcquire) == 0) continue;
    if (number++ != index) continue;
    read_slot(view.board->workers[member], info);
    return 0;
  }
  return fail(TARN_E_STATE, "worker %u has not started yet", index);
}

int tarn_call_get_slot(const tarn_call* call, tarn_slot_info* info) {
  if (int r = client::check_pointer(call, "call"); r < 0) return r;
  if (int r = client::check_struct(info, "info", "tarn_slot_info"); r < 0) return r;
  read_slot(call->view->board->workers[call->view->self], info);
  return 0;
}
