// SPDX-License-Identifier: Apache-2.0
#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace vmferry {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) {
    return Error(ErrorCode::kInvalidArgument, "test.odd", "the value is odd").With("value", 3);
  }
  return value / 2;
}

Result<int> Quarter(int value) {
  VMFERRY_ASSIGN_OR_RETURN(const int half, Half(value));
  VMFERRY_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Result<void> Check(int value) {
  VMFERRY_RETURN_IF_ERROR(Half(value).has_value() ? Result<void>() : Half(value).error());
  return {};
}

TEST(Result, CarriesValueThroughMacros) { EXPECT_EQ(*Quarter(8), 2); }

TEST(Result, CarriesErrorThroughMacros) {
  const auto result = Quarter(6);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason(), "test.odd");
  EXPECT_FALSE(Check(3));
}

TEST(Result, HoldsMoveOnlyValues) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  std::unique_ptr<int> value = std::move(result).value();
  EXPECT_EQ(*value, 5);
}

TEST(Error, FindsFactsOfItsCauses) {
  const Error error =
      Error(ErrorCode::kUnavailable, "outer", "cannot upload")
          .CausedBy(Error(ErrorCode::kUnavailable, "inner", "cut").With("request_id", "R1"));
  ASSERT_NE(error.FindFact("request_id"), nullptr);
  EXPECT_EQ(*error.FindFact("request_id"), "R1");
  EXPECT_EQ(error.ToString(), "cannot upload [outer]: cut [inner]");
}

}  // namespace
}  // namespace vmferry
