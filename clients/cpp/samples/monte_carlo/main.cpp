// monte_carlo: simulates the price of a share over a year of trading days, ten thousand times.
//
// Each simulation has a seed of its own, so that the result is the same on any number of workers.
// One takes some microseconds: the map makes chunks of them that are worth sending.

#include <tarn/tarn.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <vector>

namespace {

struct Share {
  double price = 100;        // at the start
  int days = 252;            // of trading in a year
  double volatility = 0.02;  // standard deviation of a day's relative change
};

double final_price(std::uint32_t seed, const Share& share) {
  std::mt19937 random(seed);
  std::normal_distribution<double> change(0, share.volatility);
  double price = share.price;
  for (int day = 1; day < share.days; ++day) price = std::max(0.0, price * (1 + change(random)));
  return price;
}
TARN_TASK(final_price);

}  // namespace

int main(int argc, char** argv) try {
  tarn::client tarn = tarn::init(argc, argv);

  std::vector<double> prices = tarn.map(final_price, tarn::indices(10'000), Share{});
  std::ranges::sort(prices);
  const double mean =
      std::accumulate(prices.begin(), prices.end(), 0.0) / static_cast<double>(prices.size());
  std::printf("%zu simulations: the mean final price is %.2f, and one in twenty ends below %.2f.\n",
              prices.size(), mean, prices[prices.size() / 20]);
} catch (const std::exception& e) {
  std::fprintf(stderr, "monte_carlo: %s\n", e.what());
  return 1;
}
