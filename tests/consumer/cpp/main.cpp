// A user's C++ program, outside the tree: it counts words in a worker process.

#include <unistd.h>

#include <cstdint>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <tarn/tarn.hpp>

std::int64_t count_words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  std::int64_t count = 0;
  for (std::string word; stream >> word;) ++count;
  return count;
}
TARN_TASK(count_words);

std::int64_t process_id() { return ::getpid(); }
TARN_TASK(process_id);

int main(int argc, char** argv) {
  tarn::client tarn = tarn::init(argc, argv);
  tarn::future<std::int64_t> words = tarn.submit(count_words, std::string_view("tasks, actors and shared objects"));
  tarn::future<std::int64_t> pid = tarn.submit(process_id);
  const std::int64_t count = words.get();
  std::cout << count << " by " << (pid.get() == ::getpid() ? "myself" : "a worker") << '\n';
}
