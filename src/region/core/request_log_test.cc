// SPDX-License-Identifier: Apache-2.0
#include "region/core/request_log.h"

#include <gtest/gtest.h>

#include "sys/clock.h"
#include "testing/temp_dir.h"
#include "text/json.h"

namespace vmferry::region {
namespace {

std::vector<std::string> LinesOf(const std::filesystem::path& path) {
  const auto content = sys::ReadWholeFile(path, kMiB);
  std::vector<std::string> lines;
  if (!content) return lines;
  for (std::size_t start = 0; start < content->size();) {
    const std::size_t end = content->find('\n', start);
    lines.push_back(content->substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

TEST(RequestLog, IsBoundedAndKeepsTheLatest) {
  testing::TempDir folder;
  sys::SystemClock clock;
  const std::filesystem::path path = folder.path() / "requests.jsonl";
  Call call;
  call.method = "GET";
  call.raw_path = "/";
  for (const int first : {0, 100}) {  // across a restart, too
    auto log = RequestLog::Open(path, clock, 4096);
    ASSERT_TRUE(log) << log.error().ToString();
    for (int i = first; i < first + 100; ++i) {
      call.request_id = std::to_string(i);
      (*log)->Write(call, {}, std::chrono::microseconds(1), "");
    }
  }
  std::vector<std::string> lines = LinesOf(path.string() + ".1");
  const std::vector<std::string> latest = LinesOf(path);
  lines.insert(lines.end(), latest.begin(), latest.end());
  ASSERT_GT(lines.size(), 20U);
  EXPECT_LE(std::filesystem::file_size(path), 4096U);
  EXPECT_LE(std::filesystem::file_size(path.string() + ".1"), 4096U);
  int expected = 199;
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const auto json = text::Json::Parse(*line);
    ASSERT_TRUE(json) << *line;
    EXPECT_EQ((*json)["request_id"].AsString(), std::to_string(expected--));
  }
}

TEST(RequestLog, CutsOffAnUnfinishedLine) {
  testing::TempDir folder;
  sys::SystemClock clock;
  const std::filesystem::path path = folder.path() / "requests.jsonl";
  ASSERT_TRUE(sys::WriteWholeFile(path, "{\"request_id\": \"1\"}\n{\"reques"));
  {
    auto log = RequestLog::Open(path, clock);
    ASSERT_TRUE(log);
    Call call;
    call.request_id = "2";
    (*log)->Write(call, {}, std::chrono::microseconds(1), "");
  }
  const auto lines = LinesOf(path);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_NE(lines[1].find("\"2\""), std::string::npos);
}

}  // namespace
}  // namespace vmferry::region
