// Shares: that sessions come to what they are entitled to, whatever they do to get more. The kernel is played here: it deals out
// a slot by thread, each weighted by its nice value, and knows nothing else.
#include "shares.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace tarn::daemon {
namespace {

constexpr int64_t kPeriod = 50'000'000;

// A session as the kernel sees it.
struct Program {
  Share share;
  int threads = 1;       // that always want to run
  double wish = 1;       // or only for this part of the time
  int64_t had_ns = 0;
};

// Deals out one period, or what others of the host leave of it; what somebody does not want the others get.
void deal(std::vector<Program>& programs, double part_left = 1) {
  double left = part_left * kPeriod;
  std::vector<double> got(programs.size(), 0.0);
  for (int round = 0; round < 8 && left > 1; ++round) {
    double weights = 0;
    for (size_t i = 0; i < programs.size(); ++i)
      if (got[i] < programs[i].wish * kPeriod) weights += programs[i].threads * std::pow(1.25, -programs[i].share.nice);
    if (weights == 0) break;
    double dealt = 0;
    for (size_t i = 0; i < programs.size(); ++i) {
      double room = programs[i].wish * kPeriod - got[i];
      if (room <= 0) continue;
      double part = std::min(room, left * programs[i].threads * std::pow(1.25, -programs[i].share.nice) / weights);
      got[i] += part;
      dealt += part;
    }
    left -= dealt;
  }
  std::vector<Share*> shares;
  for (size_t i = 0; i < programs.size(); ++i) {
    programs[i].share.used_ns = static_cast<int64_t>(got[i]);
    programs[i].share.wants = programs[i].wish > got[i] / kPeriod;
    programs[i].had_ns += static_cast<int64_t>(got[i]);
    shares.push_back(&programs[i].share);
  }
  settle(shares, kPeriod);
}

// The part that each had of one second, after `seconds`.
std::vector<double> parts(std::vector<Program>& programs, int seconds = 2, double part_left = 1) {
  for (int i = 0; i < seconds * 20; ++i) deal(programs, part_left);
  for (Program& program : programs) program.had_ns = 0;
  double all = 0;
  for (int i = 0; i < 20; ++i) deal(programs, part_left);
  for (const Program& program : programs) all += static_cast<double>(program.had_ns);
  std::vector<double> parts;
  for (const Program& program : programs) parts.push_back(static_cast<double>(program.had_ns) / all);
  return parts;
}

Program program(uid_t tenant, uint32_t weight = kWeightUsual, int threads = 1) {
  Program made;
  made.share.tenant = tenant;
  made.share.weight = weight;
  made.threads = threads;
  return made;
}

TEST(Shares, SessionsOfOneTenantHaveEqualParts) {
  std::vector<Program> four(4, program(1));
  for (double part : parts(four, 0)) EXPECT_NEAR(part, 0.25, 0.001);
  for (const Program& each : four) EXPECT_EQ(each.share.nice, 0);
}

TEST(Shares, ManyThreadsGetNoMoreThanOne) {
  std::vector<Program> two = {program(1, kWeightUsual, 8), program(1)};
  EXPECT_NEAR(parts(two)[0], 0.5, 0.02);
  EXPECT_GT(two[0].share.nice, 5);
  EXPECT_EQ(two[1].share.nice, 0) << "nobody gets in front of what else runs on the host";
}

// What the session of one thread gets is too little to be seen by itself.
TEST(Shares, TheyShareWhatOthersOfTheHostLeaveThem) {
  std::vector<Program> two = {program(1, kWeightUsual, 8), program(1)};
  EXPECT_NEAR(parts(two, 10, 0.1)[0], 0.5, 0.03);
}

TEST(Shares, TenantsShareByWeightHoweverManySessionsTheyHave) {
  std::vector<Program> some = {program(1, 300), program(2), program(2), program(2)};
  std::vector<double> had = parts(some);
  EXPECT_NEAR(had[0], 0.75, 0.02);
  for (size_t i : {1u, 2u, 3u}) EXPECT_NEAR(had[i], 0.25 / 3, 0.01);
}

TEST(Shares, TheFirstLookGoesByTheWeights) {
  std::vector<Program> two = {program(1, 300), program(2)};
  deal(two);
  EXPECT_EQ(two[0].share.nice, 0);
  EXPECT_GE(two[1].share.nice, 5);
}

// One that wants less leaves the rest; and has saved up nothing when it wants more.
TEST(Shares, NobodySavesUp) {
  std::vector<Program> two = {program(1), program(1)};
  two[0].wish = 0.1;
  for (int i = 0; i < 400; ++i) deal(two);
  EXPECT_EQ(two[0].share.owed_ns, 0);
  EXPECT_GE(two[1].share.owed_ns, -kOwedPerNice) << "nor does it pay for what nobody wanted";
  two[0].wish = 1;
  EXPECT_NEAR(parts(two, 0)[0], 0.5, 0.02);
  two[0].wish = 0;
  for (uint32_t i = 0; i <= kQuietLooks; ++i) deal(two);
  EXPECT_FALSE(two[0].share.is_active());
  EXPECT_EQ(two[0].share.owed_ns, 0);
  EXPECT_EQ(two[1].share.nice, 0) << "it is alone";
  two[0].wish = 1;
  EXPECT_NEAR(parts(two, 0)[0], 0.5, 0.05);
}

TEST(Shares, ASessionThatDoesNextToNothingWantsNoCore) {
  std::vector<Program> two = {program(1), program(1)};
  two[0].wish = 0.01;
  for (int i = 0; i < 20; ++i) deal(two);
  EXPECT_FALSE(two[0].share.is_active());
  EXPECT_TRUE(two[1].share.is_active());
  EXPECT_EQ(two[1].share.entitled, 1);
}

TEST(Shares, ExtremeWeightsStayWithinWhatTheKernelKnows) {
  std::vector<Program> two = {program(1, kWeightMax), program(2, 1)};
  parts(two);
  EXPECT_EQ(two[0].share.nice, 0);
  EXPECT_EQ(two[1].share.nice, kNiceMax);
}

// A stopped process uses nothing: the others have the slot, and it begins anew.
TEST(Shares, AStoppedSessionHoldsUpNobody) {
  std::vector<Program> three = {program(1), program(1), program(1)};
  parts(three);
  three[0].wish = 0;
  std::vector<double> had = parts(three, 1);
  EXPECT_EQ(had[0], 0);
  EXPECT_NEAR(had[1], 0.5, 0.02);
  three[0].wish = 1;
  EXPECT_NEAR(parts(three)[0], 1.0 / 3, 0.02);
}

}  // namespace
}  // namespace tarn::daemon
