// EXPECT_HOLDS: a model's report as a test, with the schedule that broke it.
#pragma once

#include <gtest/gtest.h>

#include "explorer.hpp"

#define EXPECT_HOLDS(call)                       \
  do {                                           \
    Report report = (call);                      \
    EXPECT_TRUE(report.holds()) << report.trace; \
  } while (false)
