// SPDX-License-Identifier: Apache-2.0
#include "region/core/query_protocol.h"

#include <gtest/gtest.h>

namespace vmferry::region {
namespace {

Call FormCall(std::string_view form) {
  Call call;
  call.method = "POST";
  call.payload.memory = std::string(form);
  return call;
}

TEST(QueryParameters, ReadsFormAndLists) {
  auto parameters = QueryParameters::Parse(
      FormCall("Action=DescribeInstances&Version=2016-11-15&InstanceId.2=i-2&InstanceId.1=i-1"
               "&Filter.1.Name=tag%3AName&Filter.1.Value.1=a+b&Filter.1.Value.10=z"));
  ASSERT_TRUE(parameters);
  EXPECT_EQ(parameters->Action(), "DescribeInstances");
  EXPECT_EQ(parameters->List("InstanceId"), (std::vector<std::string>{"i-1", "i-2"}));
  EXPECT_EQ(parameters->Indices("Filter"), (std::vector<std::uint64_t>{1}));
  EXPECT_EQ(parameters->Member("Filter", 1, "Name"), "tag:Name");
  EXPECT_EQ(parameters->List("Filter.1.Value"), (std::vector<std::string>{"a b", "z"}));
}

TEST(QueryParameters, RefusesBadEscapesAndTooMany) {
  EXPECT_FALSE(QueryParameters::Parse(FormCall("Action=%zz")));
  std::string many;
  for (int i = 0; i < 20'001; ++i) many += "a." + std::to_string(i) + "=&";
  auto parameters = QueryParameters::Parse(FormCall(many));
  ASSERT_FALSE(parameters);
  EXPECT_EQ(parameters.error().reason(), "region.malformed_form");
}

TEST(QueryAnswers, EscapeTexts) {
  const Answer answer = Ec2ErrorAnswer(400, "InvalidParameterValue", "<&>", "id");
  EXPECT_NE(answer.body.find("<Message>&lt;&amp;&gt;</Message>"), std::string::npos);
}

}  // namespace
}  // namespace vmferry::region
