// Every byte and descriptor that tarnd lends is charged to somebody and given back, whatever way the
// thing that was paid for ends; a budget that is full says who has what.
#include "ledger.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

struct Ledger {
  Budget host{"the host", "bytes", 100, TARN_E_STORE_FULL, nullptr};
  Budget tenant{"user 7", "bytes", 60, TARN_E_QUOTA, &host};
  Budget session{"session 1", "bytes", 60, TARN_E_STORE_FULL, &tenant};
};

TEST(Ledger, ListsTheLargestHolders) {
  EXPECT_EQ(list_largest({}), "");
  EXPECT_EQ(list_largest({{0, "nobody"}, {5000, "a"}, {3u << 20, "b"}}), "b 3 MiB, a 4 KiB");
  EXPECT_EQ(list_largest({{1 << 20, "a"}, {2 << 20, "b"}, {3 << 20, "c"}, {4 << 20, "d"}, {1, "e"}}),
            "d 4 MiB, c 3 MiB, b 2 MiB, 2 more");
}

TEST(Ledger, ChargesAllTheWayUpAndGivesBackInTheDestructor) {
  Ledger ledger;
  {
    Charge charge;
    ASSERT_EQ(Charge::take(ledger.session, 40, charge), 0);
    EXPECT_EQ(ledger.session.used(), 40u);
    EXPECT_EQ(ledger.tenant.used(), 40u);
    EXPECT_EQ(ledger.host.used(), 40u);
    Charge moved = std::move(charge);
    EXPECT_EQ(moved.amount(), 40u);
    EXPECT_EQ(charge.amount(), 0u);
    EXPECT_EQ(ledger.host.used(), 40u);
  }
  EXPECT_EQ(ledger.host.used(), 0u);
}

TEST(Ledger, JoinsWhatWasTakenLater) {
  Ledger ledger;
  Charge all;
  for (uint64_t amount : {10u, 20u}) {
    Charge more;
    ASSERT_EQ(Charge::take(ledger.session, amount, more), 0);
    all.join(std::move(more));
  }
  all.join(Charge{});
  EXPECT_EQ(all.amount(), 30u);
  EXPECT_EQ(ledger.host.used(), 30u);
  all.reset();
  EXPECT_EQ(ledger.host.used(), 0u);
}

TEST(Ledger, RefusesWithTheCodeAndTheNumbersOfTheBudgetThatIsFull) {
  Ledger ledger;
  Charge first;
  Charge second;
  ASSERT_EQ(Charge::take(ledger.tenant, 50, first), 0);
  EXPECT_EQ(Charge::take(ledger.session, 20, second), TARN_E_QUOTA);
  std::string text = last_error();
  for (const char* part : {"20 B", "user 7", "has 50 B", "of the 60 B", "that its limit allows"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  // Nothing was taken from those that had room.
  EXPECT_EQ(ledger.session.used(), 0u);
  EXPECT_EQ(ledger.host.used(), 50u);
  // What fits exactly fits, and a sum that would wrap round does not.
  EXPECT_EQ(Charge::take(ledger.session, 10, second), 0);
  Charge third;
  EXPECT_LT(Charge::take(ledger.session, UINT64_MAX, third), 0);
}

TEST(Ledger, AChargeGrowsAndShrinks) {
  Ledger ledger;
  Charge charge;
  ASSERT_EQ(Charge::take(ledger.session, 10, charge), 0);
  EXPECT_EQ(charge.add(50), 0);
  EXPECT_LT(charge.add(1), 0);
  EXPECT_EQ(charge.amount(), 60u);
  charge.give_back(20);
  EXPECT_EQ(ledger.host.used(), 40u);
  Charge other;
  ASSERT_EQ(Charge::take(ledger.session, 5, other), 0);
  charge = std::move(other);  // what it had is given back
  EXPECT_EQ(ledger.host.used(), 5u);
}

TEST(Ledger, SaysWhichBudgetIsFull) {
  Ledger ledger;
  Budget other("another session", "bytes", 60, TARN_E_STORE_FULL, &ledger.host);
  EXPECT_EQ(ledger.session.full_for(60), nullptr);
  EXPECT_EQ(ledger.session.full_for(61), &ledger.session);
  Charge charge;
  ASSERT_EQ(Charge::take(other, 60, charge), 0);
  EXPECT_EQ(ledger.session.full_for(60), &ledger.host) << "the nearest of those that are full";
}

// Whoever waits for memory hears of each that comes back, also of a part, and only then.
TEST(Ledger, TellsWhenSomethingWasGivenBack) {
  Ledger ledger;
  int told = 0;
  uint64_t used = 0;
  ledger.host.on_given_back([&] {
    ++told;
    used = ledger.host.used();
  });
  {
    Charge charge;
    ASSERT_EQ(Charge::take(ledger.session, 30, charge), 0);
    EXPECT_EQ(told, 0);
    charge.give_back(10);
    EXPECT_EQ(told, 1);
    EXPECT_EQ(used, 20u);
    charge.give_back(0);
    EXPECT_EQ(told, 1);
  }
  EXPECT_EQ(told, 2);
  EXPECT_EQ(used, 0u);
}

TEST(Ledger, ThereIsSomeMemoryForUs) {
  uint64_t half = memory_for_us(0.5);
  EXPECT_GT(half, uint64_t{16} << 20);
  EXPECT_LE(half, memory_for_us(1.0));
}

}  // namespace
}  // namespace tarn::daemon
